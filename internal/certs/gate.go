package certs

import (
	"context"
	"time"
)

// gate returns when the first of the CAs takes an order of the class; not after
// now if one does. Tasks that run may not have paid yet: they count as if they
// will. A CA that was out of order gets one order, as a trial.
//
// A renewal that the first CA exempts goes to another only when that one is out of
// order: it has time.
func (m *Manager) gate(ctx context.Context, c class, running map[class]int, now time.Time) (first time.Time, err error) {
	orders, renewals := running[classNew]+running[classPlain], running[classRenewal]
	for n, ca := range m.cas {
		next, trial := ca.breaker.open(now)
		next = later(next, ca.limited.end())
		if trial && orders+renewals > 0 {
			next = later(next, now.Add(time.Second))
		}
		exempt := c == classRenewal && n == 0
		key, rate, spoken := ordersKey(ca.Directory), ca.Limits.Orders, orders
		if exempt {
			key, rate, spoken = renewalsKey(ca.Directory), ca.Limits.Renewals, renewals
		}
		have, err := m.budgets.left(ctx, key, rate, now)
		if err != nil {
			return first, err
		}
		have.Tokens -= float64(spoken)
		budget := have.next(rate, now)
		if exempt && !next.After(now) {
			return budget, nil
		}
		if next = later(next, budget); first.IsZero() || next.Before(first) {
			first = next
		}
	}
	return first, nil
}

// domainGate returns when the first of the CAs certifies another name of the
// registered domain; not after now if one does.
func (m *Manager) domainGate(ctx context.Context, domain string, running map[string]int, now time.Time) (first time.Time, err error) {
	for _, ca := range m.cas {
		have, err := m.budgets.left(ctx, perDomainKey(ca.Directory, domain), ca.Limits.PerDomain, now)
		if err != nil {
			return first, err
		}
		have.Tokens -= float64(running[domain])
		if next := have.next(ca.Limits.PerDomain, now); first.IsZero() || next.Before(first) {
			first = next
		}
	}
	return first, nil
}
