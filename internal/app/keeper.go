package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/check"
)

// openKeeper opens the statuses of the domains. Without a checker, as in an edge,
// they can only be read.
func (a *App) openKeeper() error {
	var err error
	a.keeper, err = check.NewKeeper(check.KeeperConfig{
		Blobs: a.stores.blobs, Domains: a.stores.domains, Events: a.events, Wake: a.wakeKeeper, Unreadable: a.cfg.unreadable, Logger: a.log,
		Lifecycle: a.cfg.lifecycle(),
		Check: func(ctx context.Context, d shingle.Domain, how check.Look) (shingle.CheckResult, error) {
			if a.checker == nil {
				return shingle.CheckResult{}, shingle.Errorf(shingle.CodeUnavailable, "this process does not check domains")
			}
			r, err := a.checker.look(ctx, d, how)
			a.expiries.note(&r)
			return r, err
		},
		Ready: func(ctx context.Context, d shingle.Domain) error { return a.certs.Want(ctx, d.Host, d.Tenant) },
	})
	return err
}

// checks reports whether this installation knows where customers are to point,
// and so can tell whether they do.
func (c *Config) checks() bool { return len(c.CNAMETargets)+len(c.EdgeAddresses) > 0 }

// mayIssue is the permission to obtain a certificate: the operator's row, and
// what is known of the domain.
func (a *App) mayIssue(ctx context.Context, host string) error {
	d, err := a.stores.domains.Domain(ctx, host)
	switch {
	case errors.Is(err, shingle.ErrNotFound):
		return shingle.Errorf(shingle.CodeForbidden, "%s is not a domain of this service", host)
	case err != nil:
		return &shingle.Error{Code: shingle.CodeUnavailable, Message: "the domain store does not answer", Err: err}
	case d.Paused:
		return shingle.Errorf(shingle.CodeForbidden, "%s is paused", host)
	}
	if !a.cfg.checks() && a.cfg.Role != RoleEdge {
		return nil
	}
	s, err := a.keeper.Status(ctx, host)
	if err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return err
	}
	known := err == nil
	unproven := s.ProofNeeded || known && s.Tenant != d.Tenant || !known && a.cfg.lifecycle().NeedsProof(d)
	switch {
	case known && !unproven && !s.Checked.IsZero() && s.MayIssue() == nil && s.State != shingle.StateDrifting:
		return nil
	case a.checker != nil: // it was not looked at yet, may have come right since, or has moved away
		err := a.preflights.judge(ctx, a.checker, d, unproven)
		if err != nil && s.State == shingle.StatePaused { // for which there is no way around
			return s.MayIssue()
		}
		return err
	case !known:
		return a.unknown(ctx, host)
	case s.Tenant != d.Tenant || s.State == shingle.StateRemoved:
		return beingChecked(host)
	case s.Checked.IsZero() && !unproven:
		return nil
	}
	return s.MayIssue()
}

// unknown is for an edge, which has nothing to check by: whether a domain without a
// status may have a certificate depends on whether the fleet checks domains at all.
func (a *App) unknown(ctx context.Context, host string) error {
	kept, err := a.keeper.Runs(ctx)
	if err == nil && kept {
		return beingChecked(host)
	}
	return err
}

func beingChecked(host string) error {
	return shingle.Errorf(shingle.CodeUnavailable, "%s is being checked", host)
}

// lifecycle is what the operator decided about the lives of domains.
func (c *Config) lifecycle() shingle.Lifecycle {
	return shingle.Lifecycle{AnyPointer: c.Proof == ProofPointing, Quarantine: c.Quarantine}
}

// What proves control of a new name, in [Config.Proof].
const (
	ProofTenant   = "tenant"   // the tenant's own CNAME target, TXT record or file
	ProofPointing = "pointing" // that it points here, too
)

// Bounds of the preflights that handshakes can cause.
const (
	preflightMemory = 10_000
	preflightLife   = 20 * time.Second
)

// preflights looks at the DNS of domains before an order, and remembers the
// answer for a moment: handshakes for a domain whose DNS is broken ask often.
type preflights struct {
	mu   sync.Mutex
	list map[preflightKey]preflight
}

type preflightKey struct {
	host, tenant string
	unproven     bool
}

type preflight struct {
	until time.Time
	err   error
}

// judge returns nil when an order makes sense. HTTPS is not looked at: the edge
// would answer the probe when this order is done.
func (p *preflights) judge(ctx context.Context, c *domainChecker, d shingle.Domain, unproven bool) error {
	now, key := time.Now(), preflightKey{d.Host, d.Tenant, unproven}
	p.mu.Lock()
	known, ok := p.list[key]
	p.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.err
	}
	r, err := c.probes.CheckDNS(ctx, check.Request{
		Host: d.Host, Label: c.label(d.Tenant), Proof: c.proof(d.Host, d.Tenant), Thorough: true, Prove: unproven,
	})
	if err != nil {
		return &shingle.Error{Code: shingle.CodeUnavailable, Message: "DNS could not be looked at in time", Err: err}
	}
	look := shingle.Preflight
	if unproven {
		look = shingle.PreflightUnproven
	}
	err = look(shingle.CheckResult{Host: d.Host, DNS: r})
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.list == nil || len(p.list) >= preflightMemory {
		p.list = map[preflightKey]preflight{}
	}
	p.list[key] = preflight{now.Add(preflightLife), err}
	return err
}
