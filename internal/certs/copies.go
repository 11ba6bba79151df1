package certs

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// CopiedCertificates begins the keys of the records of which [Config.Copy] may
// lose the oldest. What else is copied is little, and needed with each.
const CopiedCertificates = "certs/"

// copies keeps the records by which visitors are served on this machine's disk,
// as they are in the store, so sealed. They are read only when the store does not
// answer. The methods may be called on nil, which keeps nothing.
type copies struct {
	blobs shingle.Blobs
	log   *slog.Logger

	mu      sync.Mutex
	pending map[string][]byte // to be written; nil: to be removed
	wake    chan struct{}     // receives when pending is not empty
}

const (
	// maxPending bounds what waits to be written. What finds no place is copied
	// when it is read again; the sweep comes by once a day.
	maxPending  = 1000
	copyTimeout = 5 * time.Second
	copyEnd     = 2 * time.Second // for what is pending at the end
)

func newCopies(blobs shingle.Blobs, log *slog.Logger) *copies {
	if blobs == nil {
		return nil
	}
	return &copies{blobs: blobs, log: log, pending: map[string][]byte{}, wake: make(chan struct{}, 1)}
}

// isCopied reports whether visitors are served by the record at key.
func isCopied(key string) bool {
	return strings.HasPrefix(key, CopiedCertificates) || strings.HasPrefix(key, keysPrefix) ||
		key == ticketRecord || key == accountKeyRecord
}

// keep has value written, the record at key as the store has it; nil: it has
// none. The value must not be changed afterwards.
func (c *copies) keep(key string, value []byte) {
	if c == nil || !isCopied(key) {
		return
	}
	c.mu.Lock()
	if _, ok := c.pending[key]; ok || len(c.pending) < maxPending {
		c.pending[key] = value
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default: // it has not taken the last one yet
	}
}

// get returns the copy of the record at key. It reports false when there is
// none, which says nothing about the store.
func (c *copies) get(ctx context.Context, key string) ([]byte, bool) {
	if c == nil || !isCopied(key) {
		return nil, false
	}
	c.mu.Lock()
	value, ok := c.pending[key]
	c.mu.Unlock()
	if ok {
		return value, value != nil
	}
	b, err := c.blobs.Get(ctx, key)
	if err != nil && !errors.Is(err, shingle.ErrNotFound) {
		c.log.Warn("local copy not read", "record", key, "error", err)
	}
	return b.Value, err == nil
}

// run writes what is pending until ctx ends, and for a moment after that.
func (c *copies) run(ctx context.Context) {
	failing := false
	for {
		select {
		case <-c.wake:
			err := c.flush(ctx)
			if err != nil && !failing && ctx.Err() == nil {
				c.log.Error("local copies not written", "error", err)
			}
			failing = err != nil
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), copyEnd)
			defer cancel()
			_ = c.flush(last) // what is missing is copied when it is read again
			return
		}
	}
}

// flush writes all that is pending. It goes on behind one that fails, and returns
// its error.
func (c *copies) flush(ctx context.Context) error {
	var failed error
	for ctx.Err() == nil {
		key, value, ok := c.first()
		if !ok {
			break
		}
		if err := c.write(ctx, key, value); err != nil {
			failed = err
		}
		c.mu.Lock()
		if now, ok := c.pending[key]; ok && same(now, value) {
			delete(c.pending, key)
		}
		c.mu.Unlock()
	}
	return failed
}

func (c *copies) first() (key string, value []byte, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, value = range c.pending {
		return key, value, true
	}
	return "", nil, false
}

// same reports whether a and b are the same memory.
func same(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// write makes the copy what the store has.
func (c *copies) write(ctx context.Context, key string, value []byte) error {
	ctx, cancel := context.WithTimeout(ctx, copyTimeout)
	defer cancel()
	old, err := c.blobs.Get(ctx, key)
	switch {
	case err != nil && !errors.Is(err, shingle.ErrNotFound):
		return err
	case value != nil:
		_, err = c.blobs.Put(ctx, key, value, old.Version) // the same again tells that it is in use
		return err
	case err == nil:
		return c.blobs.Delete(ctx, key, old.Version)
	}
	return nil
}
