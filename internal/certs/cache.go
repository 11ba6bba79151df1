package certs

import (
	"crypto/sha256"
	"hash/maphash"
	"strings"
	"sync"
)

// cache holds entries up to a number of bytes, the recently used ones. A look-up
// is that of one map, under a lock that only other writers of a thirty-second of
// the entries hold.
type cache struct {
	seed   maphash.Seed
	shards [cacheShards]cacheShard
}

// cacheShard is a part of the entries, with the intermediates that they share.
type cacheShard struct {
	max int64 // bytes

	mu      sync.RWMutex
	entries map[string]*entry
	order   sieve
	chains  chains
	bytes   int64 // of the entries; those of the chains are theirs
}

const cacheShards = 32

func newCache(bytes int64) *cache {
	c := &cache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i] = cacheShard{max: bytes / cacheShards, entries: map[string]*entry{}, chains: chains{held: map[[sha256.Size]byte]*intermediate{}}}
	}
	return c
}

func (c *cache) shard(host string) *cacheShard {
	return &c.shards[maphash.String(c.seed, host)%cacheShards]
}

// peek is get without making the entry one that is used.
func (c *cache) peek(host string) *entry {
	s := c.shard(host)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.entries[host]
}

// get returns host's entry, which may have expired, or nil.
func (c *cache) get(host string) *entry {
	e := c.peek(host)
	if e != nil && e.marks.Load() != used|visited { // a write would move the cache line between cores each time
		e.marks.Store(used | visited)
	}
	return e
}

// put keeps e, unless one that was stored later is there already, by its fencing
// token: a slow read of the store must not undo a renewal. When they were issued
// does not count, for the operator may bring one that is older. No one else reads an entry before it was
// put for the first time: its intermediates are exchanged for shared ones.
func (c *cache) put(host string, e *entry) {
	s := c.shard(host)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.entries[host]
	if old == e || old != nil && old.fence > e.fence {
		return
	}
	if old != nil {
		s.drop(old)
		e.marks.Store(old.marks.Load())
		e.score = old.score
	}
	e.host = strings.Clone(host) // it may be a part of something larger
	s.chains.share(e)
	s.bytes += e.bytes()
	for s.bytes+s.chains.bytes > s.max && len(s.entries) > 0 {
		s.drop(s.order.victim())
	}
	s.order.push(e)
	s.entries[e.host] = e
}

func (c *cache) remove(host string) {
	s := c.shard(host)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[host]; e != nil {
		s.drop(e)
	}
}

// size returns how many entries there are, and their bytes.
func (c *cache) size() (entries int, bytes int64) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		entries += len(s.entries)
		bytes += s.bytes + s.chains.bytes
		s.mu.RUnlock()
	}
	return entries, bytes
}

func (s *cacheShard) drop(e *entry) {
	delete(s.entries, e.host)
	s.order.remove(e)
	s.bytes -= e.bytes()
	s.chains.release(e)
}
