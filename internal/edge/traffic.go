package edge

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shingle-proxy/shingle"
)

// maxCounted bounds the domains that are counted at a time: some 60 MB.
const maxCounted = 200_000

// forgetAfter is how long a domain without a request keeps its counters.
const forgetAfter = time.Hour

// traffic counts requests by domain: of those that there are, and no others, so that
// the names which strangers make up add nothing. What is counted once is found without
// a lock from then on.
type traffic struct {
	counters sync.Map // *counters by the key of the domain in the table
	count    atomic.Int64
	left     atomic.Uint64 // requests that were not counted, as too many domains were

	taking sync.Mutex
	// forgotten are counters that went out of the map of late: a request that had found
	// them may still add to them.
	forgotten map[string]*counters
}

// counters are those of one domain since they were last taken.
type counters struct {
	answers                 [len(requestClasses)]atomic.Uint64
	origin5xx, originErrors atomic.Uint64
	refused                 atomic.Uint64
	in, out                 atomic.Uint64
	used                    time.Time // when something was taken last, or they were forgotten; only who takes has to do with it
}

// answeredBy says whose answer a request got.
type answeredBy uint8

const (
	byEdge     answeredBy = iota
	byOrigin              // its answer began, at least
	originFail            // the edge's, in place of one that the origin did not give
)

// add counts a request that has ended: its final status, 0 for none, and the bytes of
// the bodies.
func (t *traffic) add(r *Request, status int, in, out int64) {
	c := t.of(r.domain)
	if c == nil {
		t.left.Add(1)
		return
	}
	class := min(status/100, len(requestClasses)-1)
	c.answers[class].Add(1)
	switch {
	case class == 5 && r.answered == byOrigin:
		c.origin5xx.Add(1)
	case class == 5 && r.answered == originFail:
		c.originErrors.Add(1)
	case class == 4 && r.answered == byEdge:
		c.refused.Add(1)
	}
	if in > 0 {
		c.in.Add(uint64(in))
	}
	if out > 0 {
		c.out.Add(uint64(out))
	}
}

// pass counts bytes of a tunnel, which may last for hours, as they pass.
func (t *traffic) pass(domain string, in, out int) {
	if c := t.of(domain); c != nil {
		c.in.Add(uint64(in))
		c.out.Add(uint64(out))
	}
}

// of returns the counters of a domain that is there, nil when there is no room.
func (t *traffic) of(key string) *counters {
	if c, ok := t.counters.Load(key); ok {
		return c.(*counters)
	}
	if t.count.Load() >= maxCounted {
		return nil
	}
	c, known := t.counters.LoadOrStore(strings.Clone(key), &counters{}) // the key is a part of a request
	if !known {
		t.count.Add(1)
	}
	return c.(*counters)
}

// take calls add with what was counted since the last take.
func (t *traffic) take(now time.Time, add func(domain string, n shingle.Traffic)) {
	t.taking.Lock()
	defer t.taking.Unlock()
	for key, c := range t.forgotten {
		if n, any := c.take(); any {
			add(domainOf(key), n)
		}
		if now.Sub(c.used) >= forgetAfter {
			delete(t.forgotten, key)
		}
	}
	for k, v := range t.counters.Range {
		key, c := k.(string), v.(*counters)
		switch n, any := c.take(); {
		case any:
			c.used = now
			add(domainOf(key), n)
		case c.used.IsZero(): // it is being made
			c.used = now
		case now.Sub(c.used) >= forgetAfter:
			c.used = now
			t.drop(key, c)
		}
	}
}

func (t *traffic) drop(key string, c *counters) {
	if !t.counters.CompareAndDelete(key, c) {
		return
	}
	t.count.Add(-1)
	if t.forgotten == nil {
		t.forgotten = map[string]*counters{}
	}
	t.forgotten[key] = c
}

// forget drops what was counted of a domain that was deleted: it is not for whoever adds
// the name next.
func (t *traffic) forget(key string) {
	if _, known := t.counters.LoadAndDelete(key); known {
		t.count.Add(-1)
	}
}

// take takes what was counted, and reports whether there was anything.
func (c *counters) take() (n shingle.Traffic, any bool) {
	for class := range c.answers {
		n.Answers[class] = c.answers[class].Swap(0)
	}
	n.Origin5xx, n.OriginErrors, n.Refused = c.origin5xx.Swap(0), c.originErrors.Swap(0), c.refused.Swap(0)
	n.BytesIn, n.BytesOut = c.in.Swap(0), c.out.Swap(0)
	return n, n != shingle.Traffic{}
}

// domainOf reverses key.
func domainOf(key string) string {
	if key[0] == '.' {
		return "*" + key
	}
	return key
}

// TakeTraffic calls add with what visitors asked of each domain since the last call, as
// far as they asked anything. Requests are counted when they end.
func (e *Edge) TakeTraffic(now time.Time, add func(domain string, n shingle.Traffic)) {
	e.traffic.take(now, add)
}
