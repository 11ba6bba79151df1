package files

import (
	"context"
	"errors"
	"os"
	"time"
)

// lock is held by one writer of one process. The file is the turn between
// processes, the channel that within ours.
type lock struct {
	file *os.File
	turn chan struct{}
}

var errClosed = errors.New("the store is closed")

// The pauses between two looks at a lock that another process holds. A write
// takes some milliseconds.
const (
	firstPause = 200 * time.Microsecond
	maxPause   = 10 * time.Millisecond
)

func openLock(path string) (*lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return &lock{file: f, turn: make(chan struct{}, 1)}, nil
}

// acquire waits for the lock until ctx ends.
func (l *lock) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := l.lockFile(ctx); err != nil {
		<-l.turn
		return err
	}
	return nil
}

// lockFile takes the lock from other processes.
func (l *lock) lockFile(ctx context.Context) error {
	if l.file == nil {
		return errClosed
	}
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		ok, err := tryLock(l.file)
		if ok || err != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *lock) release() {
	unlock(l.file)
	<-l.turn
}

// close waits for its turn, and refuses all that follow.
func (l *lock) close() error {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
