package certs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Info returns what is known of host's certificate, with the limits of the CAs for
// it, or [shingle.ErrNotFound] for a host that was never wanted.
func (m *Manager) Info(ctx context.Context, host string) (shingle.Certificate, error) {
	c, err := m.info(ctx, host)
	if err == nil {
		c.Limits, err = m.limits(ctx, host)
	}
	return c, err
}

func (m *Manager) info(ctx context.Context, host string) (shingle.Certificate, error) {
	p, _, err := m.store.plan(ctx, host)
	if errors.Is(err, shingle.ErrNotFound) {
		return shingle.Certificate{}, shingle.Errorf(shingle.CodeNotFound, "there is no certificate for %s", host)
	}
	if err != nil {
		return shingle.Certificate{}, fmt.Errorf("read plan: %w", err)
	}
	return p.show(host, m.cfg.Now()), nil
}

// limits returns what is left of each CA's limits for host.
func (m *Manager) limits(ctx context.Context, host string) ([]shingle.NameLimits, error) {
	now := m.cfg.Now()
	list := make([]shingle.NameLimits, len(m.cas))
	for i, ca := range m.cas {
		have, err := m.budgets.ofName(ctx, ca, host, now)
		if err != nil {
			return nil, err
		}
		list[i] = shingle.NameLimits{
			Directory: ca.Directory, Failures: have.Failures.show(ca.Limits.Failures), Certificates: have.Certificates.show(ca.Limits.SameName),
		}
		next := later(have.Failures.next(ca.Limits.Failures, now), have.Certificates.next(ca.Limits.SameName, now))
		if next.After(now) {
			list[i].NotBefore = next.UTC().Truncate(time.Second)
		}
	}
	return list, nil
}

// List returns what is known of the hosts that sort after `after`, at most limit
// (1 to 1000) of them. It costs a read of the store for each.
func (m *Manager) List(ctx context.Context, after string, limit int) ([]shingle.Certificate, error) {
	if after != "" {
		after = planKey(after)
	}
	keys, err := m.store.list(ctx, planKey(""), after, limit)
	if err != nil {
		return nil, err
	}
	list := make([]shingle.Certificate, 0, len(keys))
	for _, key := range keys {
		c, err := m.info(ctx, strings.TrimPrefix(key, planKey("")))
		if errors.Is(err, shingle.ErrNotFound) {
			continue // dropped since
		}
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

func (p *plan) show(host string, now time.Time) shingle.Certificate {
	c := shingle.Certificate{
		Host: host, Tenant: p.Tenant, State: p.state(now), Issuer: p.Issuer, Serial: p.Serial,
		NotBefore: p.NotBefore, NotAfter: p.NotAfter, Uploaded: p.Uploaded, Keep: p.Keep, RenewAt: p.RenewAt, Next: p.Next,
		Failures: p.Failures, Failed: p.Failed,
	}
	if p.Window != nil {
		c.Advice = p.Window.Explanation
	}
	if w := p.warning(now); w != "" {
		c.Warnings = []string{w}
	}
	return c
}

func (p *plan) state(now time.Time) shingle.CertificateState {
	switch {
	case now.Before(p.NotAfter):
		return shingle.CertificateValid
	case p.Stopped:
		return shingle.CertificateStopped
	case p.Failed != nil && p.Failed.Code != shingle.CodeLimited:
		return shingle.CertificateFailing
	}
	return shingle.CertificateWaiting
}

// maxCounted bounds how much of the due index a look at the queue lists.
const maxCounted = maxQueue

// Queue returns what waits, with at most limit hosts of it in the order of their
// turns, and what the CAs still allow.
func (m *Manager) Queue(ctx context.Context, limit int) (shingle.IssuanceQueue, error) {
	now := m.cfg.Now()
	var out shingle.IssuanceQueue
	budgets, err := m.budgetsLeft(ctx, now)
	if err != nil {
		return out, err
	}
	out.CAs = budgets
	due, more, err := m.entries(ctx, now)
	if err != nil {
		return out, err
	}
	out.More = more
	for _, i := range due {
		if i.class == classNew {
			out.New++
		} else {
			out.Renew++
		}
	}
	out.Waiting = forecast(due, budgets[0], now)
	out.Waiting = out.Waiting[:min(limit, len(out.Waiting))]
	return out, nil
}

// Drill returns what would happen if the CAs revoked every certificate now: each
// host in the order of its renewal, and when that would be.
func (m *Manager) Drill(ctx context.Context, limit int) (shingle.IssuanceQueue, error) {
	now := m.cfg.Now()
	budgets, err := m.budgetsLeft(ctx, now)
	if err != nil {
		return shingle.IssuanceQueue{}, err
	}
	all, more, err := m.entries(ctx, time.Time{})
	if err != nil {
		return shingle.IssuanceQueue{}, err
	}
	out := shingle.IssuanceQueue{CAs: budgets, More: more}
	all = slices.DeleteFunc(all, func(i item) bool { return i.class != classRenewal })
	for i := range all {
		all[i].at = now
	}
	out.Renew, out.Waiting = len(all), forecast(all, budgets[0], now)
	if limit > 0 && limit < len(out.Waiting) { // the last one tells when all is done
		out.Waiting = append(out.Waiting[:limit-1:limit-1], out.Waiting[len(out.Waiting)-1])
	}
	return out, nil
}

// entries lists the due index up to a time, or all of it for the zero time.
func (m *Manager) entries(ctx context.Context, until time.Time) (list []item, more bool, err error) {
	if until.IsZero() {
		until = m.cfg.Now().AddDate(100, 0, 0)
	}
	after := ""
	for more = true; more && len(list) < maxCounted; {
		var page []item
		if page, after, more, err = m.store.dueUntil(ctx, after, until, duePage); err != nil {
			return nil, false, err
		}
		list = append(list, page...)
	}
	return list, more, nil
}

func (m *Manager) budgetsLeft(ctx context.Context, now time.Time) ([]shingle.CABudget, error) {
	var list []shingle.CABudget
	for _, ca := range m.cas {
		b := shingle.CABudget{Directory: ca.Directory}
		for _, x := range []struct {
			key  string
			rate Rate
			to   *shingle.Budget
		}{{ordersKey(ca.Directory), ca.Limits.Orders, &b.Orders}, {renewalsKey(ca.Directory), ca.Limits.Renewals, &b.Renewals}} {
			have, err := m.budgets.left(ctx, x.key, x.rate, now)
			if err != nil {
				return nil, err
			}
			*x.to = have.show(x.rate)
		}
		if until := ca.limited.end(); until.After(now) {
			b.NotBefore = until
		}
		list = append(list, b)
	}
	return list, nil
}

// forecast gives the items the turns that the worker gives them, and says when
// the budgets reach each.
func forecast(due []item, b shingle.CABudget, now time.Time) []shingle.WaitingCertificate {
	q := newQueue()
	for _, i := range due {
		q.push(i)
	}
	spent := map[class]int{}
	var list []shingle.WaitingCertificate
	for idle := false; !idle; {
		idle = true
		for _, c := range []class{classRenewal, classNew} {
			i, ok := q.pop(c)
			if !ok {
				continue
			}
			idle = false
			budget := b.Orders
			if c == classRenewal {
				budget = b.Renewals
			}
			spent[c]++
			list = append(list, shingle.WaitingCertificate{
				Host: i.host, New: c == classNew, Since: i.at, ETA: later(now, b.NotBefore).Add(waitFor(budget, spent[c])),
			})
		}
	}
	return list
}

// waitFor returns how long the n-th event has to wait.
func waitFor(b shingle.Budget, n int) time.Duration {
	missing := float64(n) - b.Left
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing * float64(b.Per) / float64(b.Count))
}
