package certs

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/mholt/acmez/v3/acme"
	"github.com/shingle-proxy/shingle"
)

// challengeTypes are those that an edge can answer. The one that worked last
// comes first.
func (m *Manager) challengeTypes() []string {
	types := []string{acme.ChallengeTypeHTTP01, acme.ChallengeTypeTLSALPN01}
	if m.preferALPN.Load() {
		slices.Reverse(types)
	}
	return types
}

// obtain gets a certificate for host from the CA. A failed validation spoils
// its order, so the other challenge type is tried with a fresh one.
func (m *Manager) obtain(ctx context.Context, host string) (chain []byte, key crypto.Signer, err error) {
	for _, challenge := range m.challengeTypes() {
		if chain, key, err = m.order(ctx, host, challenge); err == nil {
			m.preferALPN.Store(challenge == acme.ChallengeTypeTLSALPN01)
			return chain, key, nil
		}
		if !isValidationFailure(err) {
			break
		}
		m.log.Warn("validation failed", "host", host, "challenge", challenge, "error", err)
	}
	return nil, nil, reason(err)
}

// order takes one order through the CA (RFC 8555 section 7.4).
func (m *Manager) order(ctx context.Context, host, challenge string) ([]byte, crypto.Signer, error) {
	account, order, err := m.newOrder(ctx, host)
	if err != nil {
		return nil, nil, err
	}
	for _, url := range order.Authorizations {
		if err := m.authorize(ctx, account, url, host, challenge); err != nil {
			return nil, nil, err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{host}}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("make CSR: %w", err)
	}
	if order, err = m.client.FinalizeOrder(ctx, account, order, csr); err != nil {
		return nil, nil, fmt.Errorf("finalize order: %w", err)
	}
	chains, err := m.client.GetCertificateChain(ctx, account, order.Certificate)
	if err != nil {
		return nil, nil, fmt.Errorf("download certificate: %w", err)
	}
	if len(chains) == 0 {
		return nil, nil, errors.New("the CA sent no certificate")
	}
	return chains[0].ChainPEM, key, nil
}

// newOrder creates the order, registering once more when the CA has forgotten
// the account.
func (m *Manager) newOrder(ctx context.Context, host string) (acme.Account, acme.Order, error) {
	for attempt := 0; ; attempt++ {
		account, err := m.registration(ctx)
		if err != nil {
			return account, acme.Order{}, err
		}
		order, err := m.client.NewOrder(ctx, account, acme.Order{Identifiers: []acme.Identifier{{Type: "dns", Value: host}}})
		if err == nil {
			return account, order, nil
		}
		if problemType(err) != acme.ProblemTypeAccountDoesNotExist || attempt > 0 {
			return account, order, fmt.Errorf("create order: %w", err)
		}
		m.forgetRegistration()
	}
}

// authorize proves control of host by one challenge (RFC 8555 section 7.5).
func (m *Manager) authorize(ctx context.Context, account acme.Account, url, host, challenge string) error {
	authz, err := m.client.GetAuthorization(ctx, account, url)
	if err != nil {
		return fmt.Errorf("read authorization: %w", err)
	}
	if authz.Status == acme.StatusValid {
		return nil
	}
	i := slices.IndexFunc(authz.Challenges, func(c acme.Challenge) bool { return c.Type == challenge })
	if i < 0 {
		return fmt.Errorf("the CA does not offer %s for %s", challenge, host)
	}
	cleanUp, err := m.present(ctx, host, authz.Challenges[i])
	if err != nil {
		return err
	}
	defer cleanUp()
	if _, err := m.client.InitiateChallenge(ctx, account, authz.Challenges[i]); err != nil {
		return fmt.Errorf("begin validation: %w", err)
	}
	if _, err := m.client.PollAuthorization(ctx, account, authz); err != nil {
		return &validationError{err}
	}
	return nil
}

// validationError is a CA that looked and did not find the proof.
type validationError struct{ err error }

// Error implements error.
func (e *validationError) Error() string { return "validation failed: " + e.err.Error() }

// Unwrap returns the CA's problem.
func (e *validationError) Unwrap() error { return e.err }

func isValidationFailure(err error) bool {
	_, ok := errors.AsType[*validationError](err)
	return ok && problemType(err) != ""
}

func problemType(err error) string {
	p, _ := errors.AsType[acme.Problem](err)
	return p.Type
}

// reason turns a CA's problem into an error whose message may be shown.
func reason(err error) error {
	p, ok := errors.AsType[acme.Problem](err)
	if !ok {
		return &shingle.Error{Code: shingle.CodeUnavailable, Message: "the certificate authority cannot be reached now", Err: err}
	}
	code := shingle.CodeUnavailable
	if p.Type == acme.ProblemTypeRateLimited {
		code = shingle.CodeLimited
	}
	return &shingle.Error{Code: code, Message: "the certificate authority refused: " + p.Detail, Err: err}
}
