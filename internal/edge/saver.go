package edge

import (
	"log/slog"
	"time"

	"github.com/shingle-proxy/shingle"
)

// How often a table that changes is written: not more than every five seconds,
// and at 256 KiB a second in the long run, which is once in two minutes for a
// million domains. What a killed edge has not written comes by the feed; without
// a store it does without.
const (
	saveEvery = 5 * time.Second
	saveRate  = 256 << 10 // bytes a second
	saveAgain = time.Minute
)

// saver keeps the snapshot in step with the table. Its methods are for the
// goroutine that changes the table; the writing is done in another.
type saver struct {
	file snapshotFile
	log  *slog.Logger

	saved   shingle.Cursor // of what is in the file
	next    time.Time      // no writing before
	running chan saving    // gets the result of the writing under way; nil when there is none
}

// saving is a writing that has ended.
type saving struct {
	cursor shingle.Cursor
	size   int64
	err    error
}

// offer has the table written if it changed and it is time. The cursor is where
// the feed goes on.
func (s *saver) offer(t *table, cursor shingle.Cursor) {
	s.collect()
	if s.file.path == "" || s.running != nil || cursor == s.saved || time.Now().Before(s.next) {
		return
	}
	p, done := t.picture(), make(chan saving, 1)
	s.running = done
	go func() { done <- s.write(p, cursor) }()
}

// close waits for the writing under way, and writes what changed since.
func (s *saver) close(t *table, cursor shingle.Cursor) {
	if s.file.path == "" {
		return
	}
	if s.running != nil {
		s.end(<-s.running)
	}
	if cursor != s.saved {
		s.end(s.write(t.picture(), cursor))
	}
}

func (s *saver) collect() {
	select {
	case done := <-s.running:
		s.end(done)
	default:
	}
}

func (s *saver) write(p *picture, cursor shingle.Cursor) saving {
	size, err := s.file.write(p, snapshotHead{Cursor: cursor, Written: time.Now().UTC()})
	return saving{cursor, size, err}
}

func (s *saver) end(done saving) {
	s.running = nil
	if done.err != nil {
		s.log.Error("snapshot of the domain table not written", "path", s.file.path, "error", done.err)
		s.next = time.Now().Add(saveAgain)
		return
	}
	s.saved = done.cursor
	s.next = time.Now().Add(max(saveEvery, time.Duration(done.size)*time.Second/saveRate))
}
