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

// nameBudget is what is left of the limits that a CA has for one name in our
// account. It is a record of its own, apart from the plan: neither a renewal by
// hand nor a domain that is deleted and added again earns anything.
//
// A failed validation is counted when the CA has told of it, and, should the
// process die before that, by whoever finds the order spoilt. A CA's third limit
// of this kind, 1,152 failed validations in a row, needs no count of ours: by the
// worker's pace that many take years. When a CA has paused a name, for whatever
// reason, it says so, and is asked once a day.
type nameBudget struct {
	Failures     bucket `json:"failures,omitzero"`     // validations that may fail
	Certificates bucket `json:"certificates,omitzero"` // orders for the same set of names
}

func nameKey(directory, host string) string {
	return "budgets/" + directoryHash(directory) + "/names/" + host
}

func (n *nameBudget) fill(l *Limits, now time.Time) {
	n.Failures, n.Certificates = n.Failures.fill(l.Failures, now), n.Certificates.fill(l.SameName, now)
}

// full reports whether the record says no more than none.
func (n *nameBudget) full(l *Limits) bool {
	return n.Failures.Tokens >= float64(l.Failures.Count) && n.Certificates.Tokens >= float64(l.SameName.Count)
}

// ofName returns what is left for host at now.
func (b budgets) ofName(ctx context.Context, ca *authority, host string, now time.Time) (nameBudget, error) {
	var have nameBudget
	if _, err := b.store.get(ctx, nameKey(ca.Directory, host), &have); countsAnew(err) {
		have = nameBudget{}
	} else if err != nil {
		return have, fmt.Errorf("read budget: %w", err)
	}
	have.fill(&ca.Limits, now)
	return have, nil
}

func (b budgets) changeName(ctx context.Context, ca *authority, host string, now time.Time, edit func(*nameBudget)) error {
	return update(ctx, b.store, nameKey(ca.Directory, host), func(have *nameBudget) bool {
		have.fill(&ca.Limits, now)
		edit(have)
		return true
	})
}

// mayOrder returns a failure when an order for host would go against a limit of
// the name: one whose validations failed too often, or, unless the CA exempts the
// order, one that was certified too often.
func (b budgets) mayOrder(ctx context.Context, ca *authority, host string, exempt bool, now time.Time) error {
	have, err := b.ofName(ctx, ca, host, now)
	if err != nil {
		return err
	}
	if wait := have.Failures.next(ca.Limits.Failures, now); wait.After(now) {
		f := limitedUntil(wait, "too many validations of this name have failed; the certificate authority is not asked")
		f.scope = scopeFailures
		return f
	}
	if wait := have.Certificates.next(ca.Limits.SameName, now); wait.After(now) && !exempt {
		f := limitedUntil(wait, "this name was given too many certificates; the certificate authority is not asked")
		f.scope = scopeName
		return f
	}
	return nil
}

// validationFailed and certified take what happened out of the name's budget.
func (b budgets) validationFailed(ctx context.Context, ca *authority, host string, now time.Time) error {
	return b.changeName(ctx, ca, host, now, func(n *nameBudget) { n.Failures.Tokens = max(0, n.Failures.Tokens-1) })
}

func (b budgets) certified(ctx context.Context, ca *authority, host string, now time.Time) error {
	return b.changeName(ctx, ca, host, now, func(n *nameBudget) { n.Certificates.Tokens = max(0, n.Certificates.Tokens-1) })
}

// scope is how far a limit reaches.
type scope byte

const (
	scopeAccount  scope = iota // every order, for all that we know
	scopeDomain                // the registered domain
	scopeName                  // the name
	scopeFailures              // the name, because its validations failed
	scopePaused                // the name, until the operator ends that at the CA
)

// limitScope reads from what a CA says of a limit which one it is. The texts are
// those of Boulder, which also name what they limit in quotes, as other CAs do. A
// text that names nothing is about the account: one customer's broken DNS must
// not stop the orders for all others.
func limitScope(p acme.Problem, host string) scope {
	text := strings.ToLower(p.Detail)
	switch {
	case strings.Contains(text, "temporarily prevented"), strings.Contains(text, "/unpause"):
		return scopePaused
	case strings.Contains(text, "failed authorizations"):
		return scopeFailures
	case strings.Contains(text, "exact set of"), strings.Contains(text, `"`+host+`"`) && host != shingle.RegisteredDomain(host):
		return scopeName
	case strings.Contains(text, `"`+shingle.RegisteredDomain(host)+`"`):
		return scopeDomain
	}
	return scopeAccount
}

// limitedByCA notes a limit that the CA told of where it belongs: our count was
// another.
func (b budgets) limitedByCA(ctx context.Context, ca *authority, host string, s scope, now time.Time) error {
	switch s {
	case scopeDomain:
		return b.empty(ctx, perDomainKey(ca.Directory, shingle.RegisteredDomain(host)), ca.Limits.PerDomain, now)
	case scopeName:
		return b.changeName(ctx, ca, host, now, func(n *nameBudget) { n.Certificates.Tokens = 0 })
	case scopeFailures:
		return b.changeName(ctx, ca, host, now, func(n *nameBudget) { n.Failures.Tokens = 0 })
	case scopePaused:
		return nil
	}
	return b.empty(ctx, ordersKey(ca.Directory), ca.Limits.Orders, now)
}

// The names that were dropped are remembered until their budgets, which outlive
// them, can be full again:
//
//	dropped/20261124T040102/blog.customer.com
const (
	droppedPrefix = "dropped/"
	droppedLife   = 8 * 24 * time.Hour
)

func (b budgets) dropped(ctx context.Context, host string, now time.Time) error {
	return b.store.mark(ctx, droppedPrefix+now.Add(droppedLife).UTC().Format(dueTime)+"/"+host)
}

// clean removes the budgets of names that were dropped long ago. The worker calls
// it now and then.
func (b budgets) clean(ctx context.Context, cas []*authority, now time.Time) error {
	keys, err := b.store.list(ctx, droppedPrefix, "", duePage)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if key >= droppedPrefix+now.UTC().Format(dueTime) {
			break
		}
		for _, ca := range cas {
			if err := b.forgetName(ctx, ca, key[strings.LastIndexByte(key, '/')+1:], now); err != nil {
				return err
			}
		}
		if err := b.store.unmark(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// forgetName removes the record of a name, unless it says something: the domain
// may have come back.
func (b budgets) forgetName(ctx context.Context, ca *authority, host string, now time.Time) error {
	var have nameBudget
	version, err := b.store.get(ctx, nameKey(ca.Directory, host), &have)
	if countsAnew(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read budget: %w", err)
	}
	if have.fill(&ca.Limits, now); !have.full(&ca.Limits) {
		return nil
	}
	err = b.store.remove(ctx, nameKey(ca.Directory, host), version)
	if errors.Is(err, shingle.ErrNotFound) || errors.Is(err, shingle.ErrConflict) {
		return nil
	}
	return err
}
