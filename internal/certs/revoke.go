package certs

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/shingle-proxy/shingle"
)

// A certificate that is to be revoked, because its domain is being deleted, is
// remembered in the store until its CA has done so:
//
//	revocations/HOST/SERIAL
//
// The worker does it when the domain is gone: whoever asks for it may die, or be
// refused, before that. The account's key signs, so that the certificate's own can be
// destroyed at once (RFC 8555 section 7.6).
const (
	revocationPrefix = "revocations/"
	revocationPage   = 100              // looked at each time
	revocationWait   = 10 * time.Minute // for the domain to be deleted
	maxRevocations   = 7                // attempts that the CA refuses, as for another account's certificate
)

// revocation is what is to be revoked.
type revocation struct {
	Directory string    `json:"directory"` // of the CA
	Leaf      []byte    `json:"leaf"`      // DER
	NotAfter  time.Time `json:"not_after"`
	Tenant    string    `json:"tenant,omitempty"`
	Asked     time.Time `json:"asked"`
	Failures  int       `json:"failures,omitempty"`
	RetryAt   time.Time `json:"retry_at,omitzero"`
}

// Readable returns an error for what is none.
func (r *revocation) Readable() error {
	if r.Directory == "" || len(r.Leaf) == 0 {
		return shingle.RecordFault("its certificate is missing")
	}
	return nil
}

// Revoke has host's certificate revoked as soon as the domain is deleted, which is
// for the caller to do. Without a certificate there is nothing to do. It returns
// [shingle.ErrInvalid] for one that was uploaded, or is not from a CA of ours.
func (m *Manager) Revoke(ctx context.Context, host string) error {
	var r record
	_, err := m.store.get(ctx, certKey(host), &r)
	if errors.Is(err, shingle.ErrNotFound) || err == nil && !m.cfg.Now().Before(r.NotAfter) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("revoke certificate: %w", err)
	}
	if m.authority(r.Issuer) == nil || r.Upload != nil { // an uploaded one is another account's
		return shingle.Errorf(shingle.CodeInvalid, "the certificate of %s was not obtained here: revoke it where it is from", host)
	}
	block, _ := pem.Decode([]byte(r.Chain))
	if block == nil {
		return shingle.Errorf(shingle.CodeUnavailable, "the stored certificate of %s cannot be read", host)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("revoke certificate: %w", err)
	}
	p, _, err := m.store.plan(ctx, host)
	if err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return fmt.Errorf("revoke certificate: %w", err)
	}
	key := revocationPrefix + host + "/" + hex.EncodeToString(leaf.SerialNumber.Bytes())
	_, err = m.store.put(ctx, key, revocation{
		Directory: r.Issuer, Leaf: leaf.Raw, NotAfter: leaf.NotAfter, Tenant: p.Tenant, Asked: m.cfg.Now().UTC(),
	}, shingle.NoVersion)
	if err != nil && !errors.Is(err, shingle.ErrConflict) { // it has been asked for before
		return fmt.Errorf("revoke certificate: %w", err)
	}
	return nil
}

// authority returns the CA with a directory, or nil.
func (m *Manager) authority(directory string) *authority {
	for _, ca := range m.cas {
		if ca.Directory == directory {
			return ca
		}
	}
	return nil
}

// revoke does what was asked of [Manager.Revoke]. The worker calls it now and then.
func (m *Manager) revoke(ctx context.Context) error {
	keys, err := m.store.list(ctx, revocationPrefix, "", revocationPage)
	for _, key := range keys {
		if err = errors.Join(err, m.revokeOne(ctx, key)); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return err
}

func (m *Manager) revokeOne(ctx context.Context, key string) error {
	var r revocation
	version, err := m.store.get(ctx, key, &r)
	if errors.Is(err, shingle.ErrNotFound) || errors.Is(err, shingle.ErrUnreadable) {
		return nil
	}
	if err != nil {
		return err
	}
	now := m.cfg.Now()
	host, serial, _ := strings.Cut(strings.TrimPrefix(key, revocationPrefix), "/")
	used, err := m.uses(ctx, host, serial)
	switch {
	case err != nil || now.Before(r.RetryAt):
		return err
	case used && now.Sub(r.Asked) < revocationWait:
		return nil
	case used, !now.Before(r.NotAfter): // it was not deleted after all; or has become nobody's concern
		return m.store.remove(ctx, key, version)
	}
	if err = m.revokeAt(ctx, &r); err == nil {
		m.log.Info("certificate revoked", "host", host, "serial", serial, "ca", r.Directory)
		m.tellRevoked(ctx, host, serial, &r)
		return m.store.remove(ctx, key, version)
	}
	if _, told := problemOf(err); told && r.Failures >= maxRevocations {
		m.log.Error("certificate not revoked: its certificate authority refuses", "host", host, "serial", serial, "ca", r.Directory, "error", err)
		return m.store.remove(ctx, key, version)
	}
	r.Failures++
	r.RetryAt = now.Add(jitter(retryDelay(m.cfg.RetryDelay, r.Failures)))
	m.log.Warn("certificate not revoked", "host", host, "serial", serial, "ca", r.Directory, "next", r.RetryAt, "error", err)
	_, err = m.store.put(ctx, key, r, version)
	return err
}

// uses reports whether a domain is there that has the certificate.
func (m *Manager) uses(ctx context.Context, host, serial string) (bool, error) {
	if m.cfg.Domains == nil {
		return false, nil
	}
	_, err := m.cfg.Domains.Domain(ctx, host)
	if errors.Is(err, shingle.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	p, _, err := m.store.plan(ctx, host)
	if errors.Is(err, shingle.ErrNotFound) {
		return false, nil
	}
	return p.Serial == serial, err
}

// revokeAt tells the CA. One that has revoked it already is content.
func (m *Manager) revokeAt(ctx context.Context, r *revocation) error {
	ca := m.authority(r.Directory)
	if ca == nil {
		return errors.New("its certificate authority is no longer set up here")
	}
	leaf, err := x509.ParseCertificate(r.Leaf)
	if err != nil {
		return fmt.Errorf("parse certificate: %w", err)
	}
	if err := ca.client.connect(ctx); err != nil {
		return err
	}
	account, _, err := ca.accounts.account(ctx, nil)
	if err != nil {
		return err
	}
	err = ca.client.RevokeCertificate(ctx, account, leaf, nil, acme.ReasonCessationOfOperation)
	if p, ok := problemOf(err); ok && p.Type == acme.ProblemTypeAlreadyRevoked {
		return nil
	}
	return err
}
