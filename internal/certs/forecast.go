package certs

import (
	"context"
	"slices"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Bounds of a look at the queue.
const (
	maxCounted = 250_000 // entries of the due index
	maxCrowds  = 100     // registered domains whose budget is read
	crowd      = 5       // hosts that wait make a registered domain worth a look
)

// Queue returns what waits, with at most limit hosts of it in the order of their
// turns, and what the CAs still allow.
func (m *Manager) Queue(ctx context.Context, limit int) (shingle.IssuanceQueue, error) {
	now := m.cfg.Now()
	o, out, err := m.outlook(ctx, now)
	if err != nil {
		return out, err
	}
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
	if err := m.crowd(ctx, due, now); err != nil {
		return out, err
	}
	out.Waiting = o.forecast(due, now)
	out.Waiting = out.Waiting[:min(limit, len(out.Waiting))]
	return out, nil
}

// Budgets returns what the CAs still allow, in their order.
func (m *Manager) Budgets(ctx context.Context) ([]shingle.CABudget, error) {
	_, out, err := m.outlook(ctx, m.cfg.Now())
	return out.CAs, err
}

// Drill returns what would happen if the CAs revoked every certificate now: each
// host in the order of its renewal, and when that would be. A host hears of it
// when it is asked about next.
func (m *Manager) Drill(ctx context.Context, limit int) (shingle.IssuanceQueue, error) {
	now := m.cfg.Now()
	o, out, err := m.outlook(ctx, now)
	if err != nil {
		return out, err
	}
	all, more, err := m.entries(ctx, now.AddDate(100, 0, 0))
	if err != nil {
		return out, err
	}
	asked := map[string]time.Time{}
	for _, ca := range m.cas {
		if err := m.asked(ctx, ca, asked); err != nil {
			return out, err
		}
	}
	all = slices.DeleteFunc(all, func(i item) bool { return asked[i.host].IsZero() })
	for n := range all {
		all[n].at = later(now, asked[all[n].host])
	}
	out.More, out.Renew, out.Waiting = more, len(all), o.forecast(all, now)
	if limit > 0 && limit < len(out.Waiting) { // the last one tells when all is done
		out.Waiting = append(out.Waiting[:limit-1:limit-1], out.Waiting[len(out.Waiting)-1])
	}
	return out, nil
}

// asked notes when the CA is asked about each of its certificates.
func (m *Manager) asked(ctx context.Context, ca *authority, to map[string]time.Time) error {
	r, err := m.store.pollRecord(ctx, ca.Directory, m.cfg.Now())
	if err != nil {
		return err
	}
	prefix := pollPrefix + directoryHash(ca.Directory) + "/"
	for after, more := "", true; more && len(to) < maxCounted; {
		keys, err := m.store.list(ctx, prefix, after, pollPage)
		if err != nil {
			return err
		}
		for _, key := range keys {
			after = key
			if q, ok := parseQuestion(key); ok {
				to[q.host] = r.when(pollSlot(q.host))
			}
		}
		more = len(keys) == pollPage
	}
	return nil
}

// entries lists the due index up to a time.
func (m *Manager) entries(ctx context.Context, until time.Time) (list []item, more bool, err error) {
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

// outlook is what the first CA allows.
type outlook struct {
	orders, renewals   bucket
	ordering, renewing Rate
	open               time.Time // it is neither out of order nor limits us by its own word
}

func (m *Manager) outlook(ctx context.Context, now time.Time) (first outlook, out shingle.IssuanceQueue, err error) {
	for n, ca := range m.cas {
		o := outlook{ordering: ca.Limits.Orders, renewing: ca.Limits.Renewals}
		o.open, _ = ca.breaker.open(now)
		o.open = later(o.open, ca.limited.end())
		if o.orders, err = m.budgets.left(ctx, ordersKey(ca.Directory), o.ordering, now); err != nil {
			return o, out, err
		}
		if o.renewals, err = m.budgets.left(ctx, renewalsKey(ca.Directory), o.renewing, now); err != nil {
			return o, out, err
		}
		b := shingle.CABudget{Directory: ca.Directory, Orders: o.orders.show(o.ordering), Renewals: o.renewals.show(o.renewing)}
		if o.open.After(now) {
			b.NotBefore = o.open
		}
		out.CAs = append(out.CAs, b)
		if n == 0 {
			first = o
		}
	}
	return first, out, nil
}

// crowd puts off the items whose registered domain has no budget for all that
// wait.
func (m *Manager) crowd(ctx context.Context, due []item, now time.Time) error {
	ca := m.cas[0]
	crowds := map[string][]int{}
	for n, i := range due {
		if i.class == classNew {
			d := shingle.RegisteredDomain(i.host)
			crowds[d] = append(crowds[d], n)
		}
	}
	looked := 0
	for domain, places := range crowds {
		if looked == maxCrowds {
			break
		}
		if len(places) < crowd {
			continue
		}
		looked++
		have, err := m.budgets.left(ctx, perDomainKey(ca.Directory, domain), ca.Limits.PerDomain, now)
		if err != nil {
			return err
		}
		for _, n := range places {
			at := have.next(ca.Limits.PerDomain, now)
			if at.After(now) {
				due[n].notBefore = at
				have = have.fill(ca.Limits.PerDomain, at)
			}
			have.Tokens--
		}
	}
	return nil
}

// forecast gives the items the turns that the worker gives them, and says when
// the budgets reach each.
func (o *outlook) forecast(due []item, now time.Time) []shingle.WaitingCertificate {
	slices.SortStableFunc(due, func(a, b item) int { return a.ready().Compare(b.ready()) })
	from := later(now, o.open)
	list := slices.Concat(
		turnsOf(due, []class{classRenewal}, o.renewals, o.renewing, from),
		turnsOf(due, []class{classPlain, classNew}, o.orders, o.ordering, from))
	slices.SortStableFunc(list, func(a, b shingle.WaitingCertificate) int { return a.ETA.Compare(b.ETA) })
	return list
}

// turnsOf plays the worker, which gives the classes in turn what the budget has.
func turnsOf(due []item, of []class, have bucket, r Rate, at time.Time) (list []shingle.WaitingCertificate) {
	due = slices.DeleteFunc(slices.Clone(due), func(i item) bool { return !slices.Contains(of, i.class) })
	q := newQueue()
	for turn := 0; ; {
		for len(due) > 0 && !due[0].ready().After(at) {
			q.push(due[0])
			due = due[1:]
		}
		have = have.fill(r, at)
		if next := have.next(r, at); next.After(at) {
			at = next
			continue
		}
		i, ok := q.pop(of[turn%len(of)])
		if !ok {
			turn++
			i, ok = q.pop(of[turn%len(of)])
		}
		switch {
		case ok:
			turn++
			have.Tokens--
			list = append(list, shingle.WaitingCertificate{Host: i.host, New: i.class == classNew, Since: i.at, ETA: at})
		case len(due) > 0:
			at = due[0].ready()
		default:
			return list
		}
	}
}
