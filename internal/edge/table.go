package edge

import (
	"hash/maphash"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/shingle-proxy/shingle"
)

const tableShards = 1024

// table is the edge's picture of all domains. Look-ups take no lock: a change
// copies the one shard that it touches and swaps it in.
type table struct {
	seed   maphash.Seed
	plain  *site // shared by every domain without settings of its own
	port   int   // the public HTTPS port
	shards [tableShards]atomic.Pointer[map[string]*site]
	mu     sync.Mutex // held by a writer
}

// site is what the edge does for one domain. It is shared and never changed.
type site struct {
	target   *target
	redirect string // the host to send visitors to; empty: none
	paused   bool
}

// served reports whether the edge answers for the site. A nil site is unknown.
func (s *site) served() bool { return s != nil && !s.paused }

func newTable(target shingle.Origin, publicPort int) *table {
	t := &table{seed: maphash.MakeSeed(), port: publicPort}
	t.plain = &site{target: newTarget(target, publicPort)}
	return t
}

// lookup returns the site for a normalised host, or nil.
func (t *table) lookup(host string) *site {
	if m := t.shard(host).Load(); m != nil {
		return (*m)[host]
	}
	return nil
}

// set adds or replaces a domain.
func (t *table) set(d *shingle.Domain) {
	s := t.site(d)
	t.change(d.Host, func(m map[string]*site) { m[d.Host] = s })
}

// remove forgets a domain.
func (t *table) remove(host string) {
	t.change(host, func(m map[string]*site) { delete(m, host) })
}

// replace takes in a whole picture, which belongs to the table afterwards.
func (t *table) replace(all [tableShards]map[string]*site) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range all {
		t.shards[i].Store(&all[i])
	}
}

func (t *table) change(host string, edit func(map[string]*site)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	shard := t.shard(host)
	m := map[string]*site{}
	if old := shard.Load(); old != nil {
		m = maps.Clone(*old)
	}
	if m == nil {
		m = map[string]*site{}
	}
	edit(m)
	shard.Store(&m)
}

func (t *table) shard(host string) *atomic.Pointer[map[string]*site] {
	return &t.shards[t.index(host)]
}

func (t *table) index(host string) int {
	return int(maphash.String(t.seed, host) % tableShards)
}

// site returns the site for a row. A row whose origin cannot be read, which no
// store should hold, is served by nobody.
func (t *table) site(d *shingle.Domain) *site {
	if d.Origin == "" && d.Redirect == "" && !d.Paused {
		return t.plain
	}
	s := &site{target: t.plain.target, redirect: d.Redirect, paused: d.Paused}
	if d.Origin != "" {
		o, err := shingle.ParseOrigin(d.Origin)
		if err != nil {
			s.paused = true
			return s
		}
		s.target = newTarget(o, t.port)
	}
	return s
}
