package kit

import (
	"context"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Bounds of what people with links can have done.
const (
	maxChecks     = 8 // under way: operators have places of their own
	maxRemembered = 1000
	domainBurst   = 4
	domainEvery   = 8 * time.Second
	networkBurst  = 30
	networkEvery  = 2 * time.Second
	resultLife    = 10 * time.Minute
)

// checks does the checks that people with links ask for, and remembers what was found
// last, for those who come too often.
type checks struct {
	domains  *shingle.Limiter[string]
	networks *shingle.Limiter[netip.Prefix]
	turns    chan struct{}

	mu   sync.Mutex
	last map[string]*found // by whose they are
}

// found is what a check found, and what the DNS provider can do about it.
type found struct {
	shingle.CheckResult
	offer
}

func newChecks() *checks {
	return &checks{
		domains: shingle.NewLimiter[string](domainBurst, domainEvery), networks: shingle.NewLimiter[netip.Prefix](networkBurst, networkEvery),
		turns: make(chan struct{}, maxChecks), last: map[string]*found{},
	}
}

// check looks at a domain for somebody at an address, whom the DNS provider is to lead
// back to a URL. When it may not do that now it
// returns [shingle.ErrLimited].
func (k *Kit) check(ctx context.Context, d *shingle.Domain, from netip.Addr, back string) error {
	c, now := k.checks, k.cfg.Now()
	if network, ok := shingle.Network(from); ok && !c.networks.Allow(network, now) {
		return shingle.ErrLimited
	}
	if !c.domains.Allow(d.Host, now) {
		return shingle.ErrLimited
	}
	select {
	case c.turns <- struct{}{}:
		defer func() { <-c.turns }()
	default:
		return shingle.ErrLimited
	}
	r, err := k.cfg.Checker.CheckDomain(ctx, d.Host)
	if err == nil {
		c.remember(d, &found{r, k.offer(ctx, d, &r, back)})
	}
	return err
}

func (c *checks) remember(d *shingle.Domain, r *found) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.last) >= maxRemembered {
		clear(c.last)
	}
	c.last[checkKey(d)] = r
}

// found returns what was found of a domain a moment ago, or nil.
func (c *checks) found(d *shingle.Domain, now time.Time) *found {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.last[checkKey(d)]
	if r == nil || now.Sub(r.At) > resultLife {
		return nil
	}
	return r
}

// checkKey has whose a domain is: what was found for one tenant is not for the next.
func checkKey(d *shingle.Domain) string {
	return d.Host + " " + d.Tenant + " " + strconv.FormatInt(d.CreatedAt.UnixMicro(), 10)
}
