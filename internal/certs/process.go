package certs

import (
	"context"
	"errors"
	"time"

	"github.com/shingle-proxy/shingle"
)

// process does what is due for an item. moved reports that its entry is no
// longer in the index.
func (m *Manager) process(ctx context.Context, i item) (moved bool, err error) {
	now := m.cfg.Now()
	p, version, err := m.store.plan(ctx, i.host)
	if err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return false, err
	}
	if p.Due != i.key {
		return m.tidy(ctx, i, p, version, now)
	}
	switch {
	case p.due(now):
		err = m.renewDue(ctx, i.host)
	case p.Keep && now.Before(p.NotAfter):
		err = m.warn(ctx, i.host)
	default:
		_, err = m.store.changePlan(ctx, i.host, now, func(p *plan, exists bool) bool { p.reschedule(); return exists })
	}
	if after, _, planErr := m.store.plan(ctx, i.host); planErr == nil {
		moved = after.Due != i.key
	}
	return moved, err
}

// tidy removes an entry that the plan does not name. A young one may be that of a
// plan which is just being written.
func (m *Manager) tidy(ctx context.Context, i item, p plan, version string, now time.Time) (moved bool, err error) {
	if now.Sub(i.at) < settleTime {
		return false, nil
	}
	return m.store.strike(ctx, i.host, i.key, p, version)
}

// renewDue issues for host, together with a handshake that may be waiting for
// the same. The outcome is in the plan.
func (m *Manager) renewDue(ctx context.Context, host string) error {
	m.refusals.clear(host) // the plan is what counts
	f, err := m.begin(host, m.cfg.Now())
	if err != nil {
		return err
	}
	select {
	case <-f.ended:
		_, err = f.entry, f.err
	case <-ctx.Done():
		return ctx.Err()
	}
	if errors.Is(err, shingle.ErrForbidden) {
		return m.forbidden(ctx, host, err)
	}
	return err
}

// forbidden stops the attempts for a host that the operator does not allow, or
// whose DNS is such that they would be in vain. What is left of a domain that is gone
// goes too: it was deleted while its certificate was being stored, or its deletion was
// not told.
func (m *Manager) forbidden(ctx context.Context, host string, why error) error {
	if m.cfg.Domains != nil {
		if _, err := m.cfg.Domains.Domain(ctx, host); errors.Is(err, shingle.ErrNotFound) {
			return m.Drop(ctx, host)
		}
	}
	now, who, reason := m.cfg.Now(), shingle.WhoOperator, shingle.Reason("")
	if refusal, ok := errors.AsType[*shingle.Refusal](why); ok {
		who, reason = refusal.Who, refusal.Reason
	}
	_, err := m.store.changePlan(ctx, host, now, func(p *plan, exists bool) bool {
		p.Failed = &shingle.CertificateFailure{Code: shingle.CodeForbidden, Message: shingle.MessageOf(why), Who: who, Reason: reason, At: now}
		p.Stopped = true
		p.reschedule()
		return exists
	})
	if err == nil {
		m.stops.count(who)
	}
	return err
}
