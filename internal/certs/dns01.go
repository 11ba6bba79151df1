package certs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/shingle-proxy/shingle"
)

// What is published for a DNS-01 validation is journalled before, so that whoever
// comes next for the host withdraws what a killed process left:
//
//	txt/*.customer.com/VALUE
//
// with the name that has the value. It is written and removed under the host's
// lease. Values are told apart, so that the orders for a host and for the wildcard
// below it, whose names are one and the same, leave each other alone.
const txtPrefix = "txt/"

// Bounds of the work on what was left.
const (
	withdrawTimeout = 8 * time.Second // of all values of a host; shorter than closeWait
	maxTXT          = 100             // values of one host
	maxSwept        = 64              // hosts at once
)

// publishedTXT is a journalled value.
type publishedTXT struct {
	Name string `json:"name"`
}

// delegation returns the record for the issuance's domain. Whose it is the store
// knows: a handshake may come before the worker has a plan.
func (i *issuance) delegation(ctx context.Context) (shingle.Delegation, error) {
	tenant := i.plan.Tenant
	if i.cfg.Domains != nil {
		d, err := i.cfg.Domains.Domain(ctx, i.host)
		if err != nil && !errors.Is(err, shingle.ErrNotFound) {
			return shingle.Delegation{}, storeError(err)
		}
		tenant = d.Tenant
	}
	return i.delegations.get(ctx, i.host, tenant)
}

// delegated returns nil when the customer has delegated DNS-01 to us. Otherwise,
// an order would be in vain. Of the errors a [*failure] says who must act.
func (i *issuance) delegated(ctx context.Context) error {
	d, err := i.delegation(ctx)
	switch {
	case errors.Is(err, shingle.ErrNotFound):
		return &failure{early: true, acts: shingle.WhoOperator, public: shingle.Errorf(shingle.CodeUnavailable,
			"a wildcard takes DNS-01, which is not set up here: see --dns01-zone")}
	case errors.Is(err, shingle.ErrInvalid):
		return &failure{early: true, acts: shingle.WhoOperator, public: shingle.Errorf(shingle.CodeInvalid, "%s", shingle.MessageOf(err))}
	case err != nil:
		return err
	}
	err = i.delegations.zone.Delegated(ctx, d.Name, d.Target)
	if errors.Is(err, shingle.ErrInvalid) {
		return &failure{early: true, undelegated: true, acts: shingle.WhoCustomer, public: &shingle.Error{
			Code:    shingle.CodeUnavailable,
			Message: fmt.Sprintf("%s; set this record: %s CNAME %s", shingle.MessageOf(err), d.Name, d.Target),
			Err:     err,
		}}
	}
	return err
}

// Delegated reports whether a domain's customer lets us answer DNS-01, so that it may
// have a certificate wherever it points: before the cut-over.
func (m *Manager) Delegated(ctx context.Context, domain string) bool {
	return m.delegations.zone != nil && (&issuance{Manager: m, host: domain}).delegated(ctx) == nil
}

// mayByDNS01 reports whether what stands against a certificate does not matter to
// DNS-01, which the customer has delegated.
func (m *Manager) mayByDNS01(ctx context.Context, host string, err error) bool {
	refusal, ok := errors.AsType[*shingle.Refusal](err)
	return ok && refusal.Elsewhere && m.Delegated(ctx, host)
}

// present makes a challenge answerable, and returns how to end that. What is
// published in DNS ends with the order, in withdraw.
func (i *issuance) present(ctx context.Context, host string, c acme.Challenge) (cleanUp func(), err error) {
	if c.Type != acme.ChallengeTypeDNS01 {
		return i.Manager.present(ctx, host, c)
	}
	d, err := i.delegation(ctx)
	if err != nil {
		return nil, err
	}
	value := c.DNS01KeyAuthorization()
	key := txtKey(i.host, value)
	version, err := i.store.version(ctx, key) // of what a killed process left behind
	if err == nil {
		_, err = i.store.put(ctx, key, publishedTXT{Name: d.Target}, version)
	}
	if err != nil {
		return nil, fmt.Errorf("journal challenge: %w", err)
	}
	return func() {}, i.publish(ctx, d.Target, value)
}

// publish waits for the name servers without a turn, which others can use.
func (i *issuance) publish(ctx context.Context, name, value string) error {
	i.turn.give()
	i.parked.Add(1)
	err := i.delegations.zone.Publish(ctx, name, value)
	i.parked.Add(-1)
	if err != nil && ctx.Err() == nil {
		err = &failure{early: true, acts: shingle.WhoOperator, public: &shingle.Error{
			Code: shingle.CodeUnavailable, Message: "the answer to the validation could not be published in DNS: " + plain(shingle.MessageOf(err)), Err: err,
		}}
	}
	return errors.Join(err, i.turn.take(ctx))
}

// withdraw removes all that is published for a host, by whatever process. The
// caller has the host's lease, unless it was lost: then it is for the next holder,
// whose order may be the same.
func (m *Manager) withdraw(ctx context.Context, host string) {
	if m.delegations.zone == nil || errors.Is(context.Cause(ctx), errLost) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTimeout)
	defer cancel()
	keys, err := m.store.list(ctx, txtKey(host, ""), "", maxTXT)
	for _, key := range keys {
		err = errors.Join(err, m.withdrawOne(ctx, key))
	}
	if err != nil {
		m.log.Warn("challenge left in DNS, the worker will remove it", "host", host, "error", err)
	}
}

func (m *Manager) withdrawOne(ctx context.Context, key string) error {
	var txt publishedTXT
	version, err := m.store.get(ctx, key, &txt)
	if errors.Is(err, shingle.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !strings.HasSuffix(txt.Name, "."+m.delegations.zone.Name()) {
		m.log.Warn("challenge is in a zone that is ours no longer, it stays there", "name", txt.Name)
	} else if err := m.delegations.zone.Withdraw(ctx, txt.Name, key[strings.LastIndexByte(key, '/')+1:]); err != nil {
		return err
	}
	if err := m.store.remove(ctx, key, version); !errors.Is(err, shingle.ErrNotFound) {
		return err
	}
	return nil
}

// sweep has all withdrawn that nobody is at work on. It begins what it does not
// wait for.
func (m *Manager) sweep(ctx context.Context) error {
	if m.delegations.zone == nil {
		return nil
	}
	keys, err := m.store.list(ctx, txtPrefix, "", duePage)
	if err != nil {
		return err
	}
	hosts := map[string]bool{}
	for _, key := range keys {
		host, _, ok := strings.Cut(strings.TrimPrefix(key, txtPrefix), "/")
		if !ok || hosts[host] || len(hosts) == maxSwept {
			continue
		}
		hosts[host] = true
		// As a flight: this process may have an issuance for the host, whose lease it
		// would take over.
		if _, err := m.issues.join(host, func(ctx context.Context, _ *flight) (*entry, error) { return nil, m.sweepHost(ctx, host) }); err != nil {
			return err
		}
	}
	return nil
}

// sweepHost always returns an error, as it has no certificate for who joined it.
func (m *Manager) sweepHost(ctx context.Context, host string) error {
	held, err := m.leases.try(ctx, hostLease(host))
	if err == nil {
		err = m.leases.run(ctx, held, func(ctx context.Context, _ uint64) error { m.withdraw(ctx, host); return nil })
	}
	return &shingle.Error{Code: shingle.CodeUnavailable, Message: "busy; try again in a moment", Err: err}
}

func txtKey(host, value string) string { return txtPrefix + host + "/" + value }

// turn is one of the places for the issuances that run.
type turn struct {
	places chan struct{}
	held   bool
}

// take waits for the turn; it returns [shingle.ErrUnavailable] when ctx ends first.
func (t *turn) take(ctx context.Context) error {
	err := acquire(ctx, t.places)
	t.held = err == nil
	return err
}

func (t *turn) give() {
	if t.held {
		<-t.places
		t.held = false
	}
}
