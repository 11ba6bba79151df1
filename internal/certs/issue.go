package certs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shingle-proxy/shingle"
)

// heldPause is the least time between two looks at a name that another process
// of the fleet is issuing for.
const heldPause = time.Second

// obtain is the work of an issuance: it returns a certificate that is not due
// for renewal, from the store if another process was quicker, and else from a
// CA.
func (m *Manager) obtain(ctx context.Context, host string, f *flight) (e *entry, err error) {
	if err := m.refusals.check(host, m.cfg.Now()); err != nil {
		return nil, err
	}
	if err := m.cfg.Permission.MayIssue(ctx, host); err != nil {
		if f.byDNS01 = m.mayByDNS01(ctx, host, err); !f.byDNS01 {
			return nil, fmt.Errorf("ask permission: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.IssueTimeout)
	defer cancel()
	for {
		if e, err = m.obtainInTurn(ctx, host, f); !errors.Is(err, errHeld) {
			return e, err
		}
		select {
		case <-time.After(min(heldPause, m.cfg.LeaseTime/4)):
		case <-ctx.Done():
			return nil, shingle.Errorf(shingle.CodeUnavailable, "%s", errHeld.Message)
		}
		// What the other stored has ended our wait before its lease has ended.
		if e, _, err = m.load(ctx, host); err == nil && !e.due(m.cfg.Now()) {
			m.cache.put(host, e)
			return e, nil
		}
	}
}

// obtainInTurn takes a turn of this process and the host's lease. It returns
// errHeld when another process has the lease.
func (m *Manager) obtainInTurn(ctx context.Context, host string, f *flight) (e *entry, err error) {
	t := &turn{places: m.turns}
	if err := t.take(ctx); err != nil {
		return nil, err
	}
	defer t.give()
	held, err := m.leases.try(ctx, hostLease(host))
	if err != nil {
		return nil, err
	}
	err = m.leases.run(ctx, held, func(ctx context.Context, token uint64) error {
		e, err = (&issuance{Manager: m, host: host, fence: token, flight: f, turn: t}).run(ctx)
		return err
	})
	return e, err
}

func hostLease(host string) string { return "certs/" + host }

// issuance is one host's, under its lease.
type issuance struct {
	*Manager
	host   string
	fence  uint64
	flight *flight
	turn   *turn

	stored  *entry // nil when there is none
	version string // of the stored record
	plan    plan
	plain   bool // the first CA was asked for a plain order
}

// run reads what there is, and issues if that is due.
func (i *issuance) run(ctx context.Context) (*entry, error) {
	now := i.cfg.Now()
	if e := i.cache.get(i.host); e != nil && e.unsaved.Load() && !e.due(now) {
		return i.keepAgain(ctx, e, now), nil
	}
	if err := i.read(ctx, now); err != nil {
		return nil, err
	}
	if i.stored != nil && i.stored.valid(now) && !i.plan.due(now) {
		i.cache.put(i.host, i.stored)
		return i.stored, nil
	}
	if now.Before(i.plan.RetryAt) && i.plan.Failed != nil {
		i.refusals.put(i.host, i.plan.RetryAt, i.plan.Failed)
		return nil, i.refusals.check(i.host, now)
	}
	return i.issue(ctx)
}

// read takes in the stored certificate and the plan. A plan that does not know
// the certificate, because the process that stored it died, learns of it.
func (i *issuance) read(ctx context.Context, now time.Time) (err error) {
	if i.stored, i.version, err = i.load(ctx, i.host); err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return err
	}
	if i.plan, _, err = i.store.plan(ctx, i.host); err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return fmt.Errorf("read plan: %w", err)
	}
	if i.stored == nil || i.stored.notAfter.Equal(i.plan.NotAfter) || !i.stored.valid(now) {
		return nil
	}
	i.plan, err = i.adopt(ctx, i.stored, i.stored.issuer)
	return err
}

// issue tries the CAs in turn, and notes the outcome in the plan.
func (i *issuance) issue(ctx context.Context) (*entry, error) {
	if shingle.IsWildcard(i.host) {
		if err := i.delegated(ctx); err != nil {
			return nil, i.interrupted(ctx, err)
		}
	}
	var first *failure // that of the first CA is what to tell
	for _, ca := range i.cas {
		e, err := i.issueAt(ctx, ca)
		if err == nil {
			return e, nil
		}
		f, ok := errors.AsType[*failure](err)
		if !ok || f.ours || ctx.Err() != nil {
			return nil, i.interrupted(ctx, err)
		}
		if first == nil || first.limited && !f.limited {
			first = f
		}
		if !f.otherCAMayHelp() {
			break
		}
	}
	return nil, i.fail(ctx, first)
}

// interrupted tells of an issuance that ended for no reason of the host's: the
// domain went, we end, the lease was lost or the store is down.
func (i *issuance) interrupted(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errLost) {
		return shingle.Errorf(shingle.CodeUnavailable, "another process of the fleet took the issuance over")
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return &shingle.Error{Code: shingle.CodeUnavailable, Message: "the issuance was cancelled", Err: err}
	}
	if f, ok := errors.AsType[*failure](err); ok && !f.ours { // our own time was up
		return i.fail(ctx, f)
	}
	return err
}

// fail records a failed issuance in the plan, for the whole fleet, and in memory.
func (i *issuance) fail(ctx context.Context, f *failure) error {
	now := i.cfg.Now()
	p, err := i.changePlan(ctx, func(p *plan) {
		p.Plain = p.Plain || i.plain
		p.failed(f, i.cfg.RetryDelay, now)
	})
	if err != nil {
		i.log.Error("failed issuance not recorded", "host", i.host, "error", err)
		p.failed(f, i.cfg.RetryDelay, now)
	}
	if p.Stopped {
		i.stops.count(p.Failed.Who)
	}
	i.tellFailed(ctx, i.host, &p)
	i.refusals.put(i.host, p.RetryAt, p.Failed)
	i.readiness.clear(i.host)
	i.log.Warn("certificate issuance failed", "host", i.host, "next", p.RetryAt, "stopped", p.Stopped, "who", p.Failed.Who, "error", f)
	return f
}
