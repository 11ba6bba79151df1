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
	"sync"

	"github.com/mholt/acmez/v3/acme"
	"github.com/shingle-proxy/shingle"
)

const accountKey = "accounts/key"

// account is the ACME account. One key serves the whole fleet and every CA, so
// that each edge can answer any HTTP-01 validation from its thumbprint.
type account struct {
	mu         sync.Mutex
	key        crypto.Signer
	thumbprint string
	registered *acme.Account
}

// thumbprint returns the account key's thumbprint (RFC 8555 section 8.1),
// reading the key from the store the first time.
func (m *Manager) thumbprint(ctx context.Context) (string, error) {
	m.account.mu.Lock()
	defer m.account.mu.Unlock()
	if m.account.thumbprint == "" {
		if err := m.loadAccountKey(ctx); err != nil {
			return "", err
		}
	}
	return m.account.thumbprint, nil
}

// registration returns the account at the CA, making key and registration when
// there is none. To register a known key again is harmless (RFC 8555 section 7.3.1).
func (m *Manager) registration(ctx context.Context) (acme.Account, error) {
	m.account.mu.Lock()
	defer m.account.mu.Unlock()
	if m.account.registered != nil {
		return *m.account.registered, nil
	}
	if m.account.key == nil {
		if err := m.ensureAccountKey(ctx); err != nil {
			return acme.Account{}, err
		}
	}
	a := acme.Account{TermsOfServiceAgreed: m.cfg.TermsAgreed, PrivateKey: m.account.key}
	if m.cfg.Email != "" {
		a.Contact = []string{"mailto:" + m.cfg.Email}
	}
	a, err := m.client.NewAccount(ctx, a)
	if err != nil {
		return a, fmt.Errorf("register account: %w", err)
	}
	m.account.registered = &a
	return a, nil
}

// forgetRegistration makes the next order register again: the CA has lost the
// account, as a CA for tests does at each start.
func (m *Manager) forgetRegistration() {
	m.account.mu.Lock()
	defer m.account.mu.Unlock()
	m.account.registered = nil
}

// ensureAccountKey loads the key, or makes one; of several makers one wins.
func (m *Manager) ensureAccountKey(ctx context.Context) error {
	err := m.loadAccountKey(ctx)
	if !errors.Is(err, shingle.ErrNotFound) {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	sealed, err := m.cfg.Sealer.Seal(der, accountKey)
	if err != nil {
		return fmt.Errorf("seal account key: %w", err)
	}
	if _, err := m.cfg.Blobs.Put(ctx, accountKey, sealed, shingle.NoVersion); err != nil && !errors.Is(err, shingle.ErrConflict) {
		return fmt.Errorf("store account key: %w", err)
	}
	return m.loadAccountKey(ctx)
}

func (m *Manager) loadAccountKey(ctx context.Context) error {
	b, err := m.cfg.Blobs.Get(ctx, accountKey)
	if err != nil {
		return fmt.Errorf("read account key: %w", err)
	}
	der, err := m.cfg.Sealer.Open(b.Value, accountKey)
	if err != nil {
		return fmt.Errorf("open account key: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return fmt.Errorf("parse account key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return errors.New("the account key cannot sign")
	}
	a := acme.Account{PrivateKey: signer}
	if m.account.thumbprint, err = a.Thumbprint(); err != nil {
		return err
	}
	m.account.key = signer
	return nil
}
