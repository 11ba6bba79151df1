package certs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mholt/acmez/v3/acme"

	"github.com/shingle-proxy/shingle"
)

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
