package edge

import (
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/shingle-proxy/shingle"
)

// Bounds on what a miss in the table may cost: reads of the store, and with an
// ask service questions to it. One client network cannot use up what is there for
// all, nor can all who come for names below one registered domain.
const (
	missReadsPerSecond = 50
	missReadBurst      = 100
	networkMissEvery   = 100 * time.Millisecond // 10 a second, a fifth of all
	networkMissBurst   = 40
	domainMissEvery    = 250 * time.Millisecond
	domainMissBurst    = 40
)

// lookups are the budget of the misses, and the count of how they ended.
type lookups struct {
	all      *rate.Limiter
	networks *shingle.Limiter[netip.Prefix]
	domains  *shingle.Limiter[string]
	counts   [lookupResults]atomic.Uint64
	warn     rate.Sometimes // so that strangers cannot fill the log while the store is away
}

// lookupResult is how a look-up of a name that the table does not know ended.
type lookupResult int

const (
	lookupFound lookupResult = iota
	lookupAbsent
	lookupFailed
	lookupRemembered // the answer was there, or on its way
	lookupNetworkLimited
	lookupDomainLimited
	lookupLimited
	lookupResults
)

func newLookups() *lookups {
	return &lookups{
		all:      rate.NewLimiter(missReadsPerSecond, missReadBurst),
		networks: shingle.NewLimiter[netip.Prefix](networkMissBurst, networkMissEvery),
		domains:  shingle.NewLimiter[string](domainMissBurst, domainMissEvery),
		warn:     rate.Sometimes{First: 1, Interval: 10 * time.Second},
	}
}

// allow reports whether the store may be asked about domain for a client. The
// budget of all comes last: who has used up an own one costs the others nothing.
func (l *lookups) allow(domain string, client netip.Addr, now time.Time) bool {
	network, known := shingle.Network(client)
	switch {
	case known && !l.networks.Allow(network, now):
		l.count(lookupNetworkLimited)
	case !l.domains.Allow(shingle.RegisteredDomain(domain), now):
		l.count(lookupDomainLimited)
	case !l.all.AllowN(now, 1):
		l.count(lookupLimited)
	default:
		return true
	}
	return false
}

func (l *lookups) count(r lookupResult) { l.counts[r].Add(1) }
