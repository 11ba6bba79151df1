package shingle

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// Limiter bounds how often something happens for each key, whatever the number
// of keys, in memory of a fixed size. It is a sketch: a key's token bucket is in
// two cells that other keys may share, and the less used one counts. So a key is
// never allowed more than its rate, and only where both its cells are shared
// with keys that are at their limit is it allowed less.
//
// A Limiter is safe for concurrent use. Its zero value is not usable.
type Limiter[K comparable] struct {
	seed maphash.Seed
	rate Rate // of every key for which none is given

	mu sync.Mutex
	// cells hold when a bucket will be full again, in Unix nanoseconds: GCRA's
	// theoretical arrival time, one word for level and time.
	cells [2][]int64
}

// Rate is what a [Limiter] allows a key.
type Rate struct {
	Burst int           // events at once, 1 at least
	Every time.Duration // in which one more is earned
}

// limiterCells makes a Limiter of one rate 64 KiB. Of two hundred keys at their limit one
// stranger in four hundred shares both cells.
const limiterCells = 4096

// NewLimiter returns a Limiter that allows each key burst events at once, and
// one more in each time every.
func NewLimiter[K comparable](burst int, every time.Duration) *Limiter[K] {
	l := NewRateLimiter[K](limiterCells)
	l.rate = Rate{Burst: burst, Every: every}
	return l
}

// NewRateLimiter returns a Limiter for keys with rates of their own, of twice that
// many cells, each of 8 bytes.
func NewRateLimiter[K comparable](cells int) *Limiter[K] {
	l := &Limiter[K]{seed: maphash.MakeSeed()}
	for row := range l.cells {
		l.cells[row] = make([]int64, cells)
	}
	return l
}

// Allow reports whether an event for key may happen at now, and counts it if so.
func (l *Limiter[K]) Allow(key K, now time.Time) bool {
	_, ok := l.AllowRate(key, l.rate, now)
	return ok
}

// AllowRate is Allow with a rate of the key's own. When the event may not happen,
// after is how long it takes until one may.
func (l *Limiter[K]) AllowRate(key K, rate Rate, now time.Time) (after time.Duration, ok bool) {
	h, n := maphash.Comparable(l.seed, key), uint32(len(l.cells[0]))
	at := [2]uint32{uint32(h) % n, uint32(h>>32) % n}
	t, burst := now.UnixNano(), int64(rate.Burst)*int64(rate.Every)
	l.mu.Lock()
	defer l.mu.Unlock()
	full := max(t, min(l.cells[0][at[0]], l.cells[1][at[1]])) + int64(rate.Every)
	if full-t > burst {
		return time.Duration(full - t - burst), false
	}
	for row := range l.cells {
		l.cells[row][at[row]] = max(l.cells[row][at[row]], full)
	}
	return 0, true
}

// Network returns the client network that an address belongs to, for budgets: of
// IPv4 the /24, of IPv6 the /56. These are the units in which addresses come
// cheap: a /24 is the least that is routed, and a /56 what one line gets, with
// 2^72 addresses in it. Neighbours share no more than budgets for what only
// strangers and the first of all visitors need.
//
// ok is false for an address that says nothing about the client: one of a
// private network, which is a balancer's or a tunnel's.
func Network(a netip.Addr) (network netip.Prefix, ok bool) {
	a = a.Unmap().WithZone("")
	if !a.IsValid() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() {
		return netip.Prefix{}, false
	}
	bits := 56
	if a.Is4() {
		bits = 24
	}
	network, err := a.Prefix(bits)
	return network, err == nil
}
