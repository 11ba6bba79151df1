package certs

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// order is one ACME order for one host (RFC 8555 section 7.4). Its steps are in
// the order in which they are taken; each leaves its result in a field.
type order struct {
	ca        *authority
	journal   *journal // remembers the order, so that a crash does not cost another
	host      string
	rsa       bool
	replaces  string // ID of the certificate to renew (RFC 9773 section 5); may be empty
	challenge string // the type by which control of host is proved
	present   func(ctx context.Context, host string, c acme.Challenge) (cleanUp func(), err error)
	pay       func(ctx context.Context, o *order) error // takes a new order out of the budgets
	spoilt    func(ctx context.Context, o *order)       // takes a failed validation out of them

	account acme.Account
	state   acme.Order
	last    answer // the CA's, for the judgement on an error
	token   string // of the challenge; not to be logged
	key     crypto.Signer
	chain   []byte // PEM, leaf first
}

// run takes all steps. The error is a [*failure].
func (o *order) run(ctx context.Context) error {
	ctx = noteAnswer(ctx, &o.last)
	steps := []struct {
		name string
		take func(context.Context) error
	}{
		{"connect to CA", o.ca.client.connect},
		{"create order", o.create},
		{"prove control", o.authorize},
		{"finalize order", o.finalize},
		{"download certificate", o.download},
	}
	for _, step := range steps {
		err := step.take(ctx)
		if err == nil {
			continue
		}
		f := newFailure(fmt.Errorf("%s: %w", step.name, err), o.last, o.token, ctx.Err() != nil)
		switch {
		case f.validation:
			o.spoilt(ctx, o)
		case f.limited && f.problem != "":
			p, _ := problemOf(err)
			f.scope = limitScope(p, o.host)
		}
		if !f.outage && !f.limited && !f.early && ctx.Err() == nil {
			o.journal.forget(ctx, o.host) // the order is spoilt
		}
		return f
	}
	return nil
}

// create goes on with the order that a killed process left, or places one.
func (o *order) create(ctx context.Context) error {
	account, r, err := o.ca.accounts.account(ctx, nil)
	if err != nil {
		return err
	}
	o.account = account
	if resumed, err := o.resume(ctx); resumed || err != nil {
		return err
	}
	if o.key, err = o.newKey(); err != nil {
		return err
	}
	sealed, err := o.journal.seal(ctx, o)
	if err != nil {
		return err // no order is placed whose certificate could not be stored
	}
	if err := o.place(ctx, r); err != nil {
		return err
	}
	o.journal.write(ctx, o, sealed)
	return nil
}

// resume takes over an order that was journalled and may still lead to a
// certificate. An order that the CA does not know, or has refused, is forgotten; while
// the CA is out of order nothing can be said of it.
func (o *order) resume(ctx context.Context) (resumed bool, err error) {
	url, key, ok := o.journal.read(ctx, o)
	if !ok {
		return false, nil
	}
	state, err := o.ca.client.GetOrder(ctx, o.account, acme.Order{Location: url})
	if p, told := problemOf(err); err != nil && isOutage(p, told, o.last) {
		return false, err
	}
	if err == nil && state.Status == acme.StatusInvalid {
		o.spoilt(ctx, o) // and who did it has not told
	}
	if err != nil || state.Status == acme.StatusInvalid {
		return false, nil //nolint:nilerr // another order mends it
	}
	state.Location = url
	o.state, o.key = state, key
	return true, nil
}

// place asks for an order. A CA that has lost the account, as a CA for tests
// does at each start, gets it registered again, with the same key. One that
// does not take what the order replaces, even for a fault of its own, is asked
// for a plain one.
func (o *order) place(ctx context.Context, r *registration) error {
	for attempt := 1; ; attempt++ {
		err := o.pay(ctx, o)
		if err != nil {
			return err
		}
		o.state, err = o.ca.client.NewOrder(ctx, o.account, acme.Order{
			Identifiers: []acme.Identifier{{Type: "dns", Value: o.host}},
			Profile:     o.ca.Profile, Replaces: o.replaces,
		})
		p, told := problemOf(err)
		switch {
		case err == nil || attempt > 2:
			return err
		case p.Type == acme.ProblemTypeAccountDoesNotExist:
			if o.account, r, err = o.ca.accounts.account(ctx, r); err != nil {
				return err
			}
		case told && o.replaces != "" && p.Type != acme.ProblemTypeRateLimited:
			o.replaces = ""
		default:
			return err
		}
	}
}

// authorize proves control of the host (RFC 8555 section 7.5). The CA may still
// hold an earlier proof for good.
func (o *order) authorize(ctx context.Context) error {
	if o.state.Status != acme.StatusPending {
		return nil
	}
	for _, url := range o.state.Authorizations {
		authz, err := o.ca.client.GetAuthorization(ctx, o.account, url)
		if err != nil {
			return err
		}
		if authz.Status == acme.StatusValid {
			continue
		}
		if err := o.prove(ctx, authz); err != nil {
			return err
		}
	}
	return nil
}

func (o *order) prove(ctx context.Context, authz acme.Authorization) error {
	i := slices.IndexFunc(authz.Challenges, func(c acme.Challenge) bool { return c.Type == o.challenge })
	if i < 0 {
		return &validationError{acme.Problem{
			Type: acme.ProblemTypeUnauthorized, Detail: "the certificate authority does not offer " + o.challenge,
		}}
	}
	c := authz.Challenges[i]
	o.token = c.Token
	cleanUp, err := o.present(ctx, o.host, c)
	if err != nil {
		return err
	}
	defer cleanUp()
	if _, err := o.ca.client.InitiateChallenge(ctx, o.account, c); err != nil {
		return err
	}
	if _, err := o.ca.client.PollAuthorization(ctx, o.account, authz); err != nil {
		return &validationError{err}
	}
	return nil
}

// finalize sends the CSR, which carries the name in the SAN alone, and waits
// until the CA has signed.
func (o *order) finalize(ctx context.Context) error {
	switch o.state.Status {
	case acme.StatusValid:
		return nil
	case acme.StatusProcessing:
		return o.await(ctx)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{o.host}}, o.key)
	if err != nil {
		return err
	}
	o.state, err = o.ca.client.FinalizeOrder(ctx, o.account, o.state, csr)
	return err
}

// await polls an order that another process finalized until the CA has decided.
func (o *order) await(ctx context.Context) error {
	for {
		state, err := o.ca.client.GetOrder(ctx, o.account, o.state)
		if err != nil {
			return err
		}
		switch state.Status {
		case acme.StatusValid:
			o.state = state
			return nil
		case acme.StatusProcessing:
		default:
			return fmt.Errorf("the order is %s", state.Status)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (o *order) download(ctx context.Context) error {
	chains, err := o.ca.client.GetCertificateChain(ctx, o.account, o.state.Certificate)
	if err != nil {
		return err
	}
	if len(chains) == 0 {
		return errors.New("the CA sent no certificate")
	}
	best := max(0, slices.IndexFunc(chains, func(c acme.Certificate) bool { return endsAt(c.ChainPEM, o.ca.PreferredChain) }))
	o.chain = chains[best].ChainPEM
	return nil
}

// endsAt reports whether the last certificate of a PEM chain was issued by name.
func endsAt(chain []byte, name string) bool {
	var last *pem.Block
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		last = block
	}
	if name == "" || last == nil {
		return false
	}
	cert, err := x509.ParseCertificate(last.Bytes)
	return err == nil && cert.Issuer.CommonName == name
}

func (o *order) newKey() (crypto.Signer, error) {
	if o.rsa {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}
