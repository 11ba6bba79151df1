package certs

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Bounds on what visitors of hosts without a certificate in memory may cost. The
// worker obtains certificates whoever visits, so it is seldom a visitor who
// begins; who does so often wants something else. Loads are dearer to refuse, as
// the certificate may well be in the store: their bound is for floods alone.
const (
	loadEvery          = 25 * time.Millisecond // of one client network
	loadBurst          = 400
	networkBeginEvery  = 5 * time.Second
	networkBeginBurst  = 20
	domainBeginEvery   = time.Minute // of one registered domain
	domainBeginBurst   = 10
	refusalLookEvery   = 5 * time.Second // at the store, for a host whose issuance failed
	visitorLimitReason = "too many visits to names without a certificate; try again in a moment"
)

// visitors are the budgets of those who make handshakes.
type visitors struct {
	loads    *shingle.Limiter[netip.Prefix]
	networks *shingle.Limiter[netip.Prefix]
	domains  *shingle.Limiter[string]

	waits                                         atomic.Uint64 // handshakes whose certificate was not in memory
	loadsRefused, networksRefused, domainsRefused atomic.Uint64
}

func newVisitors() *visitors {
	return &visitors{
		loads:    shingle.NewLimiter[netip.Prefix](loadBurst, loadEvery),
		networks: shingle.NewLimiter[netip.Prefix](networkBeginBurst, networkBeginEvery),
		domains:  shingle.NewLimiter[string](domainBeginBurst, domainBeginEvery),
	}
}

// mayLoad returns [shingle.ErrLimited] when the visitor's network has caused too
// many reads of the store.
func (v *visitors) mayLoad(ctx context.Context, now time.Time) error {
	network, known := shingle.Network(shingle.ClientOf(ctx).Addr())
	if known && !v.loads.Allow(network, now) {
		v.loadsRefused.Add(1)
		return shingle.Errorf(shingle.CodeLimited, visitorLimitReason)
	}
	return nil
}

// mayBegin returns [shingle.ErrLimited] when the visitor's network, or the
// visitors of host's registered domain, have begun too many issuances. What no
// visitor causes is not its affair.
func (v *visitors) mayBegin(ctx context.Context, host string, now time.Time) error {
	client := shingle.ClientOf(ctx).Addr()
	if !client.IsValid() {
		return nil
	}
	network, known := shingle.Network(client)
	switch {
	case known && !v.networks.Allow(network, now):
		v.networksRefused.Add(1)
	case !v.domains.Allow(shingle.RegisteredDomain(host), now):
		v.domainsRefused.Add(1)
	default:
		return nil
	}
	return shingle.Errorf(shingle.CodeLimited, visitorLimitReason)
}
