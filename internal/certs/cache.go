package certs

import (
	"crypto/tls"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// entry is a parsed certificate, with its leaf, ready for handshakes. Only the
// atomic fields change.
type entry struct {
	cert     tls.Certificate
	notAfter time.Time
	renewAt  time.Time
	issuer   string // directory URL
	fence    uint64 // of the stored record

	unsaved atomic.Bool  // the store has not taken it
	stale   atomic.Bool  // the store has another one
	used    atomic.Bool  // since the cache last looked for one to evict
	nextTry atomic.Int64 // no renewal is begun before, in Unix nanoseconds
}

// renewPause is the least time between two renewals begun for one entry: a busy
// host in its renewal period costs its handshakes no more than a comparison.
const renewPause = time.Minute

// valid reports whether the certificate can be served. NotBefore is not looked
// at: a CA backdates it, and our clock may be the one that is wrong.
func (e *entry) valid(now time.Time) bool { return now.Before(e.notAfter) }

// due reports whether the certificate should be renewed.
func (e *entry) due(now time.Time) bool { return !now.Before(e.renewAt) }

// claim reports whether the caller is to begin a renewal: one caller a renewPause.
func (e *entry) claim(now time.Time) bool {
	next := e.nextTry.Load()
	return now.UnixNano() >= next && e.nextTry.CompareAndSwap(next, now.Add(renewPause).UnixNano())
}

// renewalTime is when a third of the lifetime is left, or a half when the whole
// is under ten days.
func renewalTime(notBefore, notAfter time.Time) time.Time {
	life := notAfter.Sub(notBefore)
	if life < 10*24*time.Hour {
		return notAfter.Add(-life / 2)
	}
	return notAfter.Add(-life / 3)
}

// cache holds at most a fixed number of entries, the recently used ones.
type cache struct {
	seed      maphash.Seed
	shards    []shard
	shardSize int
}

type shard struct {
	mu      sync.RWMutex
	entries map[string]*entry
}

const (
	maxShards    = 64
	evictionSpan = 8 // entries looked at to find one that can go
)

func newCache(size int) *cache {
	n := min(size, maxShards)
	c := &cache{seed: maphash.MakeSeed(), shards: make([]shard, n), shardSize: size / n}
	for i := range c.shards {
		c.shards[i].entries = map[string]*entry{}
	}
	return c
}

func (c *cache) shard(host string) *shard {
	return &c.shards[maphash.String(c.seed, host)%uint64(len(c.shards))]
}

// get returns host's entry, which may have expired, or nil.
func (c *cache) get(host string) *entry {
	s := c.shard(host)
	s.mu.RLock()
	e := s.entries[host]
	s.mu.RUnlock()
	if e != nil && !e.used.Load() { // a write would move the cache line between cores each time
		e.used.Store(true)
	}
	return e
}

// put keeps e, unless a certificate issued later is there already: a slow read
// of the store must not undo a renewal.
func (c *cache) put(host string, e *entry) {
	s := c.shard(host)
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.entries[host]
	if ok && old.cert.Leaf.NotBefore.After(e.cert.Leaf.NotBefore) {
		return
	}
	if !ok && len(s.entries) >= c.shardSize {
		s.evict()
	}
	s.entries[host] = e
}

func (c *cache) remove(host string) {
	s := c.shard(host)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, host)
}

// evict removes one entry that was not used since the last look, or, when a few
// all were, one of them. Map order is random, which is what we want.
func (s *shard) evict() {
	looked := 0
	for host, e := range s.entries {
		looked++
		if !e.used.Swap(false) || looked == evictionSpan || looked == len(s.entries) {
			delete(s.entries, host)
			return
		}
	}
}
