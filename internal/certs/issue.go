package certs

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/shingle-proxy/shingle"
)

// firstStoreRetry is the pause before a certificate that could not be stored is
// stored again; it doubles each time, within the IssueTimeout.
const firstStoreRetry = time.Second

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

// adopt does what follows from a stored certificate. The plan comes last: until
// it knows the certificate, whoever looks after the host does all of this again.
func (i *issuance) adopt(ctx context.Context, e *entry, issuer string) (plan, error) {
	i.finish(ctx)
	now, next := i.cfg.Now(), i.plan
	ca := i.authority(issuer)
	ari := ca != nil && ca.client.hasARI(ctx)
	take := func(p *plan) {
		p.adopt(i.host, e, issuer, now)
		if p.Plain = ca != i.cas[0]; !ari {
			p.CertID = ""
		}
	}
	take(&next)
	if e.upload != nil {
		i.tellUploaded(ctx, i.host, &next, e)
	} else {
		i.tellIssued(ctx, i.host, &next, !i.plan.NotAfter.IsZero())
	}
	return i.changePlan(ctx, take)
}

func (i *issuance) changePlan(ctx context.Context, edit func(*plan)) (plan, error) {
	return i.store.changePlan(context.WithoutCancel(ctx), i.host, i.cfg.Now(), func(p *plan, _ bool) bool {
		edit(p)
		p.reschedule()
		return true
	})
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

// issueAt gets a certificate from one CA, within its budget, puts it into memory
// and into the store. The error is a [*failure] unless the store failed.
func (i *issuance) issueAt(ctx context.Context, ca *authority) (*entry, error) {
	now := i.cfg.Now()
	if until := ca.limited.end(); now.Before(until) {
		return nil, limitedUntil(until, "the certificate authority limits us")
	}
	if until := ca.breaker.closed(now); !until.IsZero() {
		return nil, outageUntil(until)
	}
	log := i.log.With("host", i.host, "ca", ca.Directory)
	log.Info("certificate issuance started")
	o, e, err := i.order(ctx, ca)
	if f, ok := errors.AsType[*failure](err); ok {
		ca.tally.failed(f)
		i.note(ctx, ca, f)
	}
	if err != nil {
		return nil, err
	}
	ca.breaker.note(false, now)
	if i.stored != nil {
		ca.tally.renewed.Add(1)
	} else {
		ca.tally.issued.Add(1)
	}
	if o.replaces == "" {
		if err := i.budgets.certified(context.WithoutCancel(ctx), ca, i.host, now); err != nil {
			log.Warn("certificate not counted", "error", err)
		}
	}
	log.Info("certificate issued", "order", o.state.Location, "challenge", o.challenge,
		"took", i.cfg.Now().Sub(now), "expires", e.notAfter)
	i.refusals.clear(i.host)
	e.issuer, e.fence = ca.Directory, i.fence
	i.cache.put(i.host, e)
	if err := i.keep(ctx, e); err != nil {
		log.Error("certificate not stored, it is in memory only", "error", err)
	}
	return e, nil
}

// note tells the CA's breaker and budget what its refusal means for the others.
func (i *issuance) note(ctx context.Context, ca *authority, f *failure) {
	now := i.cfg.Now()
	ca.breaker.note(f.outage && ctx.Err() == nil, now)
	if !f.limited || f.problem == "" {
		return
	}
	switch f.scope {
	case scopeAccount:
		ca.limited.set(f.retryAt)
	case scopePaused: // waiting does not help, but the operator's word to the CA does
		f.retryAt = later(now.Add(maxRetry), f.retryAt)
	}
	if err := i.budgets.limitedByCA(context.WithoutCancel(ctx), ca, i.host, f.scope, now); err != nil {
		i.log.Warn("budget not emptied", "ca", ca.Directory, "error", err)
	}
}

// spoilt notes a failed validation.
func (i *issuance) spoilt(ctx context.Context, o *order) {
	if err := i.budgets.validationFailed(context.WithoutCancel(ctx), o.ca, i.host, i.cfg.Now()); err != nil {
		i.log.Warn("failed validation not counted", "host", i.host, "ca", o.ca.Directory, "error", err)
	}
}

// order takes an order to its end. An order whose validation failed is spoilt,
// so the other type of challenge is tried with a fresh one.
func (i *issuance) order(ctx context.Context, ca *authority) (o *order, e *entry, err error) {
	replaces := i.replaces(ca)
	may := i.allowed(ctx, ca)
	types, err := i.challenges(ctx, may)
	for n := 0; n < len(types); n++ {
		if f, _ := errors.AsType[*failure](err); f != nil {
			if f.mayHelp(acme.ChallengeTypeDNS01) && may.use(acme.ChallengeTypeDNS01) && i.delegated(ctx) == nil {
				types[n] = acme.ChallengeTypeDNS01 // needs neither a port of ours nor the address record
			}
			if !f.mayHelp(types[n]) {
				break
			}
		}
		challenge := types[n]
		o = &order{
			ca: ca, journal: i.journal, host: i.host, rsa: i.cfg.RSA, replaces: replaces,
			challenge: challenge, present: i.present, pay: i.pay, spoilt: i.spoilt,
		}
		err = o.run(ctx)
		if challenge == acme.ChallengeTypeDNS01 {
			i.withdraw(ctx, i.host)
		}
		if err == nil {
			if challenge != acme.ChallengeTypeDNS01 {
				i.preferALPN.Store(challenge == acme.ChallengeTypeTLSALPN01)
			}
			if e, err = newEntry(o.chain, o.key, i.host); err == nil && !e.valid(i.cfg.Now()) {
				err = errors.New("the certificate has expired already")
			}
			if err != nil {
				err = newFailure(fmt.Errorf("check certificate: %w", err), o.last, "", false)
			}
			return o, e, err
		}
		i.log.Info("order failed", "host", i.host, "order", o.state.Location, "challenge", challenge, "error", err)
	}
	return nil, nil, err
}

// pay takes what an order costs out of the budgets.
func (i *issuance) pay(ctx context.Context, o *order) error {
	if err := i.budgets.mayOrder(ctx, o.ca, i.host, o.replaces != "", i.cfg.Now()); err != nil {
		return err
	}
	renewal := i.stored != nil && i.stored.valid(i.cfg.Now())
	exempt := o.replaces != ""
	i.plain = i.plain || !exempt && o.ca == i.cas[0]
	wait, err := i.budgets.takeOrder(ctx, o.ca, i.host, exempt, renewal, i.cfg.Now())
	if err == nil && !wait.IsZero() {
		f := limitedUntil(wait, "the budget of orders at the certificate authority is used up")
		f.pace = exempt
		return f
	}
	return err
}

// replaces is the ID of the certificate that an order at ca renews, if ca issued it
// to our account (RFC 9773 section 5): one that was uploaded is another account's.
func (i *issuance) replaces(ca *authority) string {
	there := i.stored != nil && i.stored.valid(i.cfg.Now()) || i.plan.Gone && i.cfg.Now().Before(i.plan.NotAfter)
	if !there || i.plan.Uploaded || i.plan.Issuer != ca.Directory {
		return ""
	}
	return i.plan.CertID
}

// challenges returns the types of challenge to try in turn. The one that worked
// last, for whatever host, comes first. After a failure of both only one is tried,
// a different one each time: CAs count failed validations. DNS-01 takes longer, so
// it is for wildcards, and for hosts that delegated it and failed otherwise. What CAA
// records do not allow is not tried: it would cost an order and a failed validation.
func (i *issuance) challenges(ctx context.Context, may methods) ([]string, error) {
	dns01 := []string{acme.ChallengeTypeDNS01}
	if shingle.IsWildcard(i.host) || i.flight.byDNS01 {
		if !may.use(acme.ChallengeTypeDNS01) {
			return nil, may.refusal(dns01)
		}
		return dns01, nil
	}
	types := []string{acme.ChallengeTypeHTTP01, acme.ChallengeTypeTLSALPN01}
	if i.preferALPN.Load() {
		slices.Reverse(types)
	}
	types = slices.DeleteFunc(types, func(t string) bool { return !may.use(t) })
	n := i.plan.Failures
	switch {
	case (n > 0 || len(types) == 0) && may.use(acme.ChallengeTypeDNS01) && i.delegated(ctx) == nil:
		return dns01, nil
	case len(types) == 0:
		return nil, may.refusal([]string{acme.ChallengeTypeHTTP01, acme.ChallengeTypeTLSALPN01})
	case n > 0:
		at := (n - 1) % len(types)
		return types[at : at+1], nil
	}
	return types, nil
}

// keep stores a certificate. After the first attempt the waiters have it in any
// case, and a store that fails is tried again for as long as ctx lasts. Even a
// Manager that is closing makes one whole attempt: a certificate costs an order.
func (i *issuance) keep(ctx context.Context, e *entry) error {
	e.unsaved.Store(true)
	for pause := firstStoreRetry; ; pause *= 2 {
		stored, err := i.write(ctx, e)
		i.flight.settle(cmp.Or(stored, e), nil)
		if err == nil || errors.Is(err, shingle.ErrInvalid) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// keepAgain makes another attempt to store a certificate that is in memory only, as the
// store did not take it when it was issued. It returns what is to be served.
func (i *issuance) keepAgain(ctx context.Context, e *entry, now time.Time) *entry {
	err := i.read(ctx, now)
	if err == nil && i.stored != nil && i.stored.fence > e.fence && !i.stored.due(now) {
		i.cache.put(i.host, i.stored) // another process has gone on with the order, or has placed one
		return i.stored
	}
	stored := e
	if err == nil {
		stored, err = i.write(ctx, e)
	}
	if err != nil {
		i.log.Warn("certificate still not stored, it is in memory only", "host", i.host, "error", err)
		return e
	}
	return stored
}

// write stores e, unless another process was quicker, and does what follows. It returns
// what is stored.
func (i *issuance) write(ctx context.Context, e *entry) (*entry, error) {
	ctx = context.WithoutCancel(ctx)
	key, err := i.store.sealKey(ctx, e.cert.PrivateKey.(crypto.Signer), certKey(i.host))
	if err != nil {
		return nil, err
	}
	r := record{
		Chain: e.pem(), Key: key, Issuer: e.issuer, Issued: i.cfg.Now().UTC(), NotAfter: e.notAfter, Fence: i.fence,
	}
	stored, err := i.save(ctx, i.host, e, r, i.stored, i.version)
	if err != nil {
		return nil, err
	}
	e.unsaved.Store(false)
	i.cache.put(i.host, stored)
	if _, err := i.adopt(ctx, stored, stored.issuer); err != nil {
		i.log.Error("plan not updated", "host", i.host, "error", err)
	}
	return stored, nil
}

// finish tells the fleet of a stored certificate, and forgets its order.
func (i *issuance) finish(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	if err := i.store.announce(ctx, i.host, i.cfg.Now()); err != nil {
		i.log.Warn("new certificate not announced", "host", i.host, "error", err)
	}
	i.journal.forget(ctx, i.host)
}
