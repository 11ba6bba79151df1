package certs

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// copySync keeps the local copies in step with the store, whoever visits: it
// reads again what there is news of, and once a day each certificate that is
// copied, in case this process was away when it was deleted. Reading updates the
// copy.
type copySync struct {
	store *store

	mu     sync.Mutex
	wanted map[string]bool // keys of which there is news
	wake   chan struct{}

	page    []string // keys to be swept next
	after   string   // where the page after that begins
	partial bool     // this sweep did not begin at the beginning
	again   time.Time
}

// Paces of reading the store, each the same however many certificates there are.
const (
	newsPace   = 50 * time.Millisecond
	sweepPace  = 2 * time.Second
	sweepPage  = 100
	sweepAgain = 24 * time.Hour
)

func newCopySync(s *store) *copySync {
	// The sweep begins anywhere, so that restarts do not keep it from the end.
	after := CopiedCertificates + string(rune('a'+rand.IntN(26)))
	return &copySync{store: s, wanted: map[string]bool{}, wake: make(chan struct{}, 1), after: after, partial: true}
}

// want has the record at key read again.
func (y *copySync) want(key string) {
	if y.store.copies == nil {
		return
	}
	y.mu.Lock()
	if len(y.wanted) < maxNews {
		y.wanted[key] = true
	}
	y.mu.Unlock()
	select {
	case y.wake <- struct{}{}:
	default: // it has not taken the last one yet
	}
}

// run works until ctx ends.
func (y *copySync) run(ctx context.Context) {
	tick := time.NewTicker(sweepPace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-y.wake:
			y.readWanted(ctx)
		case <-tick.C:
			y.sweep(ctx, time.Now())
		}
	}
}

func (y *copySync) readWanted(ctx context.Context) {
	for pace := newsPace; ; pace = newsPace {
		key, ok := y.take()
		if !ok {
			return
		}
		if !y.read(ctx, key) {
			y.giveBack(key)
			pace = probeEvery
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pace):
		}
	}
}

// read has the record at key copied and, if it is a certificate, the data key that
// opens it. It reports whether the store has answered.
func (y *copySync) read(ctx context.Context, key string) bool {
	b, err := y.store.read(ctx, key)
	if err != nil {
		return errors.Is(err, shingle.ErrNotFound)
	}
	var r record
	if y.store.decode(b, &r) != nil || !strings.HasPrefix(r.Key.KeyID, dataKeyPrefix) {
		return true // it is copied as it is
	}
	dataKey := dataKeyRecord(r.Key.KeyID)
	if _, ok := y.store.copies.get(ctx, dataKey); ok {
		return true
	}
	_, err = y.store.read(ctx, dataKey)
	return err == nil || errors.Is(err, shingle.ErrNotFound)
}

func (y *copySync) take() (key string, ok bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for key = range y.wanted {
		delete(y.wanted, key)
		return key, true
	}
	return "", false
}

func (y *copySync) giveBack(key string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.wanted[key] = true
}

// sweep reads the next certificate that is copied. One that the store does not
// tell of now is the next again.
func (y *copySync) sweep(ctx context.Context, now time.Time) {
	if len(y.page) == 0 && !y.turn(ctx, now) {
		return
	}
	if y.read(ctx, y.page[0]) {
		y.page = y.page[1:]
	}
}

// turn turns the page. It reports false when there is none now.
func (y *copySync) turn(ctx context.Context, now time.Time) bool {
	if now.Before(y.again) {
		return false
	}
	if y.after == "" {
		y.wantDataKeys(ctx)
	}
	page, err := y.store.copies.blobs.List(ctx, CopiedCertificates, y.after, sweepPage)
	if err != nil {
		return false
	}
	if len(page) == 0 { // the end: begin again tomorrow, or now, with what was left out
		if !y.partial {
			y.again = now.Add(sweepAgain)
		}
		y.after, y.partial = "", false
		return false
	}
	y.page, y.after = page, page[len(page)-1]
	return true
}

// wantDataKeys has the copied data keys read again: those that were wrapped by
// another master key while this process was away would open no more.
func (y *copySync) wantDataKeys(ctx context.Context) {
	keys, err := y.store.copies.blobs.List(ctx, dataKeyRecord(dataKeyPrefix), "", keyPage)
	if err != nil {
		return
	}
	for _, key := range keys {
		y.want(key)
	}
}
