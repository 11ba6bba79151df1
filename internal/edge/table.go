package edge

import (
	"hash/maphash"
	"iter"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/shingle-proxy/shingle"
)

// tableShards is such that a shard of a million domains has 61 names: to copy
// it for a change, or to search it, is a matter of nanoseconds.
const (
	shardBits   = 14
	tableShards = 1 << shardBits
)

// table is the edge's picture of all domains. Look-ups take no lock: a change
// copies the one shard that it touches and swaps it in.
type table struct {
	seed   maphash.Seed
	plain  *site // of every domain without settings of its own
	port   int   // the public HTTPS port
	shards [tableShards]atomic.Pointer[shard]
	count  atomic.Int64 // of domains
	book   *rulebook

	mu sync.Mutex // held by a writer

	making sync.Mutex
	alike  map[settings]weak.Pointer[site] // sites made of late, to be shared by domains with equal settings
}

// site is what the edge does for one domain. It is shared and never changed.
type site struct {
	target   *target
	redirect string // the host to send visitors to; empty: none
	paused   bool
	rules    *rules // nil: none
}

// settings is what a row says about a site.
type settings struct {
	origin, redirect string
	paused           bool
	more             shingle.SettingsText // as [forEdge] returns it
}

// maxAlike bounds how many sites are remembered to be shared.
const maxAlike = 4096

// manyNames is from where a picture leaves much behind in the making.
const manyNames = 100_000

// served reports whether the edge answers for the site. A nil site is unknown.
func (s *site) served() bool { return s != nil && !s.paused }

// servesHTTP3 reports whether visitors of the site may come by HTTP/3.
func (s *site) servesHTTP3() bool { return s.rules == nil || !s.rules.noHTTP3 }

func newTable(target shingle.Origin, publicPort int, book *rulebook) *table {
	t := &table{seed: maphash.MakeSeed(), port: publicPort, book: book, alike: map[settings]weak.Pointer[site]{}}
	t.plain = &site{target: newTarget(target, publicPort)}
	return t
}

// key is a domain's name in the table. A wildcard's is what follows its asterisk,
// which is a part of every host that it covers, and no host itself.
func key(domain string) string { return strings.TrimPrefix(domain, "*") }

// wildcardOver returns the wildcard that covers a normalised host.
func wildcardOver(host string) string { return "*" + host[max(0, strings.IndexByte(host, '.')):] }

// lookup returns the site of the domain with exactly this host, which need not be
// normalised, or nil.
func (t *table) lookup(host string) *site {
	s := t.get(host)
	if s != nil && host[0] == '.' {
		return nil // the key of a wildcard
	}
	return s
}

// covering returns the site of the wildcard that covers a normalised host, or nil.
func (t *table) covering(host string) *site {
	return t.get(host[max(0, strings.IndexByte(host, '.')):])
}

func (t *table) get(key string) *site {
	index, tag := t.place(key)
	s := t.shards[index].Load()
	if s == nil {
		return nil
	}
	at := s.find(key, tag)
	if at < 0 {
		return nil
	}
	if own := s.site(at); own != nil {
		return own
	}
	return t.plain
}

// apply takes in a change of a domain.
func (t *table) apply(c *shingle.Change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	index, tag := t.place(key(c.Host))
	old := t.shards[index].Load()
	s := old.changed(tag, c, t)
	t.shards[index].Store(s)
	t.count.Add(int64(s.len() - old.len()))
}

// settings reverses own.
func (t *table) settings(own *site) settings {
	if own == nil {
		return settings{}
	}
	s := settings{redirect: own.redirect, paused: own.paused}
	if own.target != t.plain.target {
		s.origin = own.target.origin.String()
	}
	if own.rules != nil {
		s.more = own.rules.text
	}
	return s
}

// picture is a whole table: one in the making, to which each domain is added
// once, or one that a table had at a time.
type picture struct {
	table  *table
	shards [tableShards]*shard
	// partial tells that it lacks settings for which there was no room.
	partial bool
}

func (t *table) newPicture() *picture { return &picture{table: t} }

// picture returns the table as it is now. It is never changed.
func (t *table) picture() *picture {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.newPicture()
	for i := range t.shards {
		p.shards[i] = t.shards[i].Load()
	}
	return p
}

func (p *picture) len() int {
	n := 0
	for _, s := range p.shards {
		n += s.len()
	}
	return n
}

// all yields every key, which belongs to the picture, with what is set for it.
func (p *picture) all() iter.Seq2[[]byte, settings] {
	return func(yield func([]byte, settings) bool) {
		for _, s := range p.shards {
			if s == nil {
				continue
			}
			for name, own := range s.all() {
				if !yield(name, p.table.settings(own)) {
					return
				}
			}
		}
	}
}

// apply takes in a change of a domain.
func (p *picture) apply(c *shingle.Change) {
	index, tag := p.table.place(key(c.Host))
	p.shards[index] = p.shards[index].changed(tag, c, p.table)
}

// add adds the domain with that key.
func (p *picture) add(key string, is settings) {
	p.partial = p.partial || is.more == withheld
	index, tag := p.table.place(key)
	if p.shards[index] == nil {
		p.shards[index] = &shard{}
	}
	p.shards[index].add(key, tag, p.table.own(is))
}

// replace takes in a whole picture, which belongs to the table afterwards. What
// the making of a large one left behind goes back to the system at once: on a
// small machine it is half of the memory.
func (t *table) replace(p *picture) {
	for _, s := range p.shards {
		if s != nil {
			s.clip()
		}
	}
	count := p.len()
	t.mu.Lock()
	for i := range p.shards {
		t.shards[i].Store(p.shards[i])
	}
	t.count.Store(int64(count))
	t.mu.Unlock()
	if count > manyNames {
		debug.FreeOSMemory()
	}
}

// place returns the shard of a key and what to find it by there.
func (t *table) place(key string) (index int, tag byte) {
	h := maphash.String(t.seed, key)
	return int(h >> (64 - shardBits)), byte(h)
}

// site returns the site for a row.
func (t *table) site(d *shingle.Domain) *site {
	if own := t.own(t.settingsOf(d)); own != nil {
		return own
	}
	return t.plain
}

func (t *table) settingsOf(d *shingle.Domain) settings {
	return settings{origin: d.Origin, redirect: d.Redirect, paused: d.Paused, more: t.book.part(d.Settings)}
}

// own returns the site with these settings, nil for the plain one. A row whose
// origin cannot be read, which no store should hold, is served by nobody.
func (t *table) own(is settings) *site {
	if is == (settings{}) {
		return nil
	}
	t.making.Lock()
	defer t.making.Unlock()
	if s := t.alike[is].Value(); s != nil {
		return s
	}
	s := &site{target: t.plain.target, redirect: is.redirect, paused: is.paused, rules: t.book.rules(is.more)}
	if is.origin != "" {
		o, err := shingle.ParseOrigin(is.origin)
		if err != nil {
			s.paused = true
		} else {
			s.target = newTarget(o, t.port)
		}
	}
	if len(t.alike) >= maxAlike {
		clear(t.alike)
	}
	t.alike[is] = weak.Make(s)
	runtime.AddCleanup(s, t.forget, is)
	return s
}

// forget takes in that a site with these settings is gone. There may be another by
// now.
func (t *table) forget(is settings) {
	t.making.Lock()
	defer t.making.Unlock()
	if w, ok := t.alike[is]; ok && w.Value() == nil {
		delete(t.alike, is)
	}
}
