package edge

import (
	"context"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Bounds on what it may cost to know whether a wildcard may stand in for a domain.
const (
	maxStandIns = 10_000
	standInTime = time.Minute // that an answer is good for; longer while the store is away
)

// standIns remembers for which domains the wildcard that covers them may stand in: it
// must be the same tenant's. Whoever added a name below another tenant's wildcard,
// before it was there, would else be served with its certificate. The table does not
// have tenants, as only this asks for them.
type standIns struct {
	mu   sync.Mutex
	list map[string]standIn
}

type standIn struct {
	allowed bool
	until   time.Time
}

// mayStandIn reports whether the certificate of the wildcard over host may be shown
// for the domain of host itself. What cannot be learned is no.
func (f *follower) mayStandIn(ctx context.Context, host string) bool {
	now := time.Now()
	known, ok := f.standIns.get(host)
	if ok && now.Before(known.until) {
		return known.allowed
	}
	if !f.lookups.allow(host, shingle.ClientOf(ctx).Addr(), now) {
		return known.allowed
	}
	ctx, cancel := context.WithTimeout(ctx, missReadTimeout)
	defer cancel()
	own, err := f.store.Domain(ctx, host)
	if err == nil {
		var over shingle.Domain
		if over, err = f.store.Domain(ctx, wildcardOver(host)); err == nil {
			known.allowed = own.Tenant == over.Tenant
		}
	}
	if err != nil {
		f.lookups.count(lookupFailed)
		return known.allowed
	}
	f.standIns.put(host, standIn{known.allowed, now.Add(standInTime)})
	return known.allowed
}

func (s *standIns) get(host string) (standIn, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	is, ok := s.list[host]
	return is, ok
}

func (s *standIns) put(host string, is standIn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list == nil || len(s.list) >= maxStandIns {
		s.list = map[string]standIn{}
	}
	s.list[host] = is
}

// forget has a domain that changed asked about again.
func (s *standIns) forget(host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.list, host)
}
