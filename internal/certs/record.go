package certs

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/shingle-proxy/shingle"
)

// record is a certificate with its key as it is stored: in one value, so that
// the two can never disagree.
type record struct {
	Chain    string    `json:"chain"`  // PEM, leaf first
	Key      Sealed    `json:"key"`    // PKCS #8
	Issuer   string    `json:"issuer"` // directory URL of the CA
	Issued   time.Time `json:"issued"` // by our clock
	NotAfter time.Time `json:"not_after"`
	Fence    uint64    `json:"fence"` // token of the lease under which it was written

	Upload *upload `json:"upload,omitempty"` // nil: obtained by ACME
}

// upload is what is known of a certificate that the operator brought. It is part of
// the record, for a plan can be made anew from that alone.
type upload struct {
	Keep bool   `json:"keep,omitempty"`
	By   string `json:"by,omitempty"` // a token's ID
}

func certKey(host string) string { return "certs/" + host }

// load returns the stored certificate, which may have expired, and its version.
// It returns [shingle.ErrNotFound] only when there is certainly none: any other
// error is not absence, and must not lead to an order.
func (m *Manager) load(ctx context.Context, host string) (e *entry, version string, err error) {
	var r record
	version, err = m.store.get(ctx, certKey(host), &r)
	if errors.Is(err, shingle.ErrNotFound) {
		return nil, shingle.NoVersion, shingle.ErrNotFound
	}
	if err != nil {
		return nil, "", fmt.Errorf("load certificate: %w", err)
	}
	e, err = m.unseal(ctx, host, r)
	return e, version, err
}

// loadToServe is load for the sake of a visitor, where the local copy will do
// when the store does not answer. Such an entry is stale from the beginning.
func (m *Manager) loadToServe(ctx context.Context, host string) (*entry, error) {
	if hosts := m.renewed.Load(); hosts != nil && (*hosts)[host] && !m.store.away.avoid() {
		if e, _, err := m.load(ctx, host); err == nil || errors.Is(err, shingle.ErrNotFound) {
			return e, err
		}
	}
	var r record
	_, local, err := m.store.serve(ctx, certKey(host), &r)
	if errors.Is(err, shingle.ErrNotFound) {
		return nil, shingle.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	e, err := m.unseal(ctx, host, r)
	if err != nil {
		return nil, err
	}
	e.stale.Store(local)
	return e, nil
}

func (m *Manager) unseal(ctx context.Context, host string, r record) (*entry, error) {
	key, err := m.store.openKey(ctx, r.Key, certKey(host))
	var e *entry
	if err == nil {
		if e, err = newEntry([]byte(r.Chain), key, host); err != nil {
			m.store.unreadable.Note(certKey(host), err)
		}
	}
	if err != nil {
		m.log.Error("stored certificate is unreadable", "host", host, "error", err)
		return nil, &shingle.Error{Code: shingle.CodeUnavailable, Message: "the stored certificate cannot be read", Err: err}
	}
	e.issuer, e.fence = m.issuer(r.Issuer), r.Fence
	e.brought(r.Upload)
	return e, nil
}

// issuer returns directory without keeping another copy of it.
func (m *Manager) issuer(directory string) string {
	for _, ca := range m.cas {
		if ca.Directory == directory {
			return ca.Directory
		}
	}
	return directory
}

// newEntry parses a PEM chain and checks that it is for key and host.
func newEntry(chain []byte, key crypto.Signer, host string) (*entry, error) {
	e := &entry{cert: tls.Certificate{PrivateKey: key}}
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			e.cert.Certificate = append(e.cert.Certificate, block.Bytes)
		}
	}
	if len(e.cert.Certificate) == 0 {
		return nil, errors.New("the chain is empty")
	}
	leaf, err := x509.ParseCertificate(e.cert.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("parse leaf: %w", err)
	}
	if err := leaf.VerifyHostname(host); err != nil {
		return nil, fmt.Errorf("check leaf: %w", err)
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(leaf.PublicKey) {
		return nil, errors.New("certificate and key do not belong together")
	}
	e.notAfter, e.renewAt = leaf.NotAfter, renewalTime(leaf.NotBefore, leaf.NotAfter)
	return e, nil
}

// leafOf parses the first certificate of a PEM chain.
func leafOf(chain []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(chain)
	if block == nil {
		return nil, errors.New("the chain is empty")
	}
	return x509.ParseCertificate(block.Bytes)
}

// save stores r, which is ours, in place of the version that was read, with the
// certificate before. It returns what is stored in the end: ours, or what another
// process stored in the meantime. That the one of before was sealed anew does
// not count.
func (m *Manager) save(ctx context.Context, host string, ours *entry, r record, before *entry, ifVersion string) (*entry, error) {
	_, err := m.store.put(ctx, certKey(host), r, ifVersion)
	if err == nil || errors.Is(err, shingle.ErrInvalid) {
		return ours, err
	}
	// Either somebody else was quicker, or our own write may have landed and
	// only the reply was lost. What is there now decides.
	theirs, version, loadErr := m.load(ctx, host)
	switch {
	case errors.Is(loadErr, shingle.ErrNotFound):
		version = shingle.NoVersion
	case loadErr != nil:
		return nil, fmt.Errorf("store certificate: %w", err)
	case before != nil && theirs.fence == before.fence:
	case !theirs.due(m.cfg.Now()):
		return theirs, nil
	case theirs.fence > r.Fence:
		return nil, fmt.Errorf("store certificate: %w", errLost)
	}
	if _, err = m.store.put(ctx, certKey(host), r, version); err != nil {
		return nil, fmt.Errorf("store certificate: %w", err)
	}
	return ours, nil
}
