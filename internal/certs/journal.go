package certs

import (
	"context"
	"crypto"
	"errors"
	"log/slog"
	"time"

	"github.com/shingle-proxy/shingle"
)

// journal remembers the order under way for a host, with its sealed key, from
// when the CA has taken it until its certificate is stored. A process that dies
// in between leaves it to the next one, which goes on where it stood: CAs count
// orders, and a certificate that nobody stored counts as one.
//
// The host's lease is held for all of it.
type journal struct {
	store *store
	log   *slog.Logger
	now   func() time.Time
}

// pendingOrder is an order as it is stored.
type pendingOrder struct {
	Directory string    `json:"directory"`
	Account   string    `json:"account"` // its URL
	Order     string    `json:"order"`   // its URL
	Key       Sealed    `json:"key"`     // PKCS #8
	Placed    time.Time `json:"placed"`
}

// journalLife is how long an order is gone on with.
const journalLife = 24 * time.Hour

func journalKey(host string) string { return "orders/" + host }

// seal seals the key of an order that is to be placed.
func (j *journal) seal(ctx context.Context, o *order) (Sealed, error) {
	return j.store.sealKey(ctx, o.key, journalKey(o.host))
}

// write remembers the order. When it cannot, the order goes on all the same: it
// has been placed, and only a crash would cost another.
func (j *journal) write(ctx context.Context, o *order, key Sealed) {
	if err := j.put(ctx, o, key); err != nil {
		j.log.Warn("order not journalled", "host", o.host, "order", o.state.Location, "error", err)
	}
}

func (j *journal) put(ctx context.Context, o *order, key Sealed) error {
	for {
		version, err := j.store.version(ctx, journalKey(o.host))
		if err != nil {
			return err
		}
		_, err = j.store.put(ctx, journalKey(o.host), pendingOrder{
			Directory: o.ca.Directory, Account: o.account.Location, Order: o.state.Location, Key: key, Placed: j.now().UTC(),
		}, version)
		if !errors.Is(err, shingle.ErrConflict) { // an older order may just be sealed anew
			return err
		}
	}
}

// read returns the remembered order's URL and key if the account and the CA are
// those of o. Whatever is wrong with the record, a new order mends it.
func (j *journal) read(ctx context.Context, o *order) (url string, key crypto.Signer, ok bool) {
	var p pendingOrder
	if _, err := j.store.get(ctx, journalKey(o.host), &p); err != nil {
		return "", nil, false
	}
	if p.Directory != o.ca.Directory || p.Account != o.account.Location || j.now().Sub(p.Placed) > journalLife {
		return "", nil, false
	}
	key, err := j.store.openKey(ctx, p.Key, journalKey(o.host))
	if err != nil {
		j.log.Warn("journalled order is unreadable", "host", o.host, "error", err)
		return "", nil, false
	}
	return p.Order, key, true
}

// forget removes what is remembered for host. When that fails the record is
// found stale by whoever reads it.
func (j *journal) forget(ctx context.Context, host string) {
	if err := j.store.erase(context.WithoutCancel(ctx), journalKey(host)); err != nil {
		j.log.Warn("journalled order not removed", "host", host, "error", err)
	}
}
