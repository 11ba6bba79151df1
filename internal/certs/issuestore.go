package certs

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"time"

	"github.com/shingle-proxy/shingle"
)

// firstStoreRetry is the pause before a certificate that could not be stored is
// stored again; it doubles each time, within the IssueTimeout.
const firstStoreRetry = time.Second

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
