package devenv

import (
	"crypto/x509"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/letsencrypt/pebble/v2/acme"
	"github.com/letsencrypt/pebble/v2/core"
)

// NewOrder is one request for an order.
type NewOrder struct {
	Time     time.Time
	Account  string // URL
	Hosts    []string
	Profile  string // as asked for: "" is the CA's choice
	Replaces string // RFC 9773 certificate identifier, "" for none

	// Accepted says that there is an order, whether or not the client was told.
	Accepted bool

	// Problem is what the client was told instead: the problem's type without
	// its prefix, as "rateLimited", or else the text of the HTTP status. It is
	// empty while there is no answer, and when there never was one.
	Problem string
}

// Issued is a certificate, and the order that it is for.
type Issued struct {
	Leaf     *x509.Certificate
	Account  string
	Hosts    []string
	Profile  string // the one it was issued under
	Replaces string
}

// journal is what the CA was asked and did. The zero value is ready.
type journal struct {
	mu      sync.Mutex
	entries []*entry
}

type entry struct {
	NewOrder
	order *core.Order // nil until accepted
}

// ask adds a request. A request refused for its nonce is not one.
func (j *journal) ask(r *Request) *entry {
	e := &entry{NewOrder: NewOrder{
		Time: time.Now(), Account: r.Account, Hosts: slices.Clone(r.Hosts), Profile: r.Profile, Replaces: r.Replaces,
	}}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, e)
	r.entry = e
	return e
}

func (j *journal) accept(r *Request, order *core.Order) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r.entry.Accepted, r.entry.order = true, order
}

func (j *journal) answer(e *entry, problem string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.Problem = problem
}

func (j *journal) newOrders() []NewOrder {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]NewOrder, len(j.entries))
	for i, e := range j.entries {
		all[i] = e.NewOrder
		all[i].Hosts = slices.Clone(e.Hosts)
	}
	return all
}

// accepted returns the orders there are, oldest first.
func (j *journal) accepted() []*entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []*entry
	for _, e := range j.entries {
		if e.order != nil {
			all = append(all, e)
		}
	}
	return all
}

// issued reads Pebble's own records, so that it has what no client fetched.
func (j *journal) issued() []Issued {
	var all []Issued
	for _, e := range j.accepted() {
		e.order.RLock()
		cert, profile := e.order.CertificateObject, e.order.Profile
		e.order.RUnlock()
		if cert != nil {
			all = append(all, Issued{
				Leaf: cert.Cert, Account: e.Account, Hosts: slices.Clone(e.Hosts), Profile: profile, Replaces: e.Replaces,
			})
		}
	}
	return all
}

// hosts returns the names of the order with the ID.
func (j *journal) hosts(id string) []string {
	for _, e := range j.accepted() {
		if e.order.ID == id {
			return slices.Clone(e.Hosts)
		}
	}
	return nil
}

// hideAuthzs keeps Pebble from giving the account's valid authorizations to
// another order: it looks for the same name in lower case.
func (j *journal) hideAuthzs(account string) {
	for _, e := range j.accepted() {
		if e.Account != account {
			continue
		}
		for _, authz := range e.order.AuthorizationObjects {
			authz.Lock()
			if authz.Status == acme.StatusValid {
				authz.Identifier.Value = strings.ToUpper(authz.Identifier.Value)
			}
			authz.Unlock()
		}
	}
}
