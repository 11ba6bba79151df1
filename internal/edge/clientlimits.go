package edge

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/shingle-proxy/shingle"
)

// clientLimits holds the clients of each domain to its rate, in memory of a fixed size.
type clientLimits struct {
	// sketches are apart for rates that are earned quickly and slowly: who has used up
	// an hour's in one takes up its place there for an hour.
	sketches [len(refills) + 1]*shingle.Limiter[clientKey]
	refused  atomic.Uint64
}

// refills bound, for all sketches but the last, the time from nothing to a full burst.
var refills = [...]time.Duration{10 * time.Second, 2 * time.Minute}

// clientKey is a client of one domain. A network of IPv6 is as one address of IPv4:
// what a machine has.
type clientKey struct {
	domain string
	client netip.Prefix
}

// limitCells makes a sketch 1 MiB. Of ten thousand clients that are at their limits at
// the same time one in fifty others is taken for one of them.
const limitCells = 1 << 16

func newClientLimits() *clientLimits {
	l := &clientLimits{}
	for i := range l.sketches {
		l.sketches[i] = shingle.NewRateLimiter[clientKey](limitCells)
	}
	return l
}

// allow reports whether a request of client to a domain may go on, and if not after
// how long one may.
func (l *clientLimits) allow(domain string, client netip.Addr, rate shingle.Rate, now time.Time) (after time.Duration, ok bool) {
	client = client.Unmap().WithZone("")
	bits := 64
	if client.Is4() {
		bits = 32
	}
	network, err := client.Prefix(bits)
	if err != nil {
		network = netip.Prefix{} // clients without an address are one
	}
	after, ok = l.sketch(rate).AllowRate(clientKey{domain, network}, rate, now)
	if !ok {
		l.refused.Add(1)
	}
	return after, ok
}

func (l *clientLimits) sketch(rate shingle.Rate) *shingle.Limiter[clientKey] {
	for i, most := range refills {
		if time.Duration(rate.Burst)*rate.Every <= most {
			return l.sketches[i]
		}
	}
	return l.sketches[len(refills)]
}
