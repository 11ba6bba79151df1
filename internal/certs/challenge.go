package certs

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"github.com/shingle-proxy/shingle"
)

// challengeLife is how long a stored challenge is answered. A CA validates
// within seconds; what a killed process left behind must not live on.
const challengeLife = 10 * time.Minute

// pending is a TLS-ALPN-01 challenge as it is stored for the whole fleet.
type pending struct {
	KeyAuthorization string    `json:"key_authorization"`
	Until            time.Time `json:"until"`
}

func challengeKey(host string) string { return "challenges/" + host }

// KeyAuthorization returns the answer to an HTTP-01 validation (RFC 8555
// section 8.3). It needs no shared state but the account key: any edge answers
// any token. It returns [shingle.ErrNotFound] for what cannot be a token.
func (m *Manager) KeyAuthorization(ctx context.Context, token string) (string, error) {
	if !isToken(token) {
		return "", shingle.ErrNotFound
	}
	thumbprint, err := m.thumbprint(ctx)
	if err != nil {
		return "", err
	}
	return token + "." + thumbprint, nil
}

// isToken tells base64url of a reasonable length (RFC 8555 section 8.3).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if ('a' > c || c > 'z') && ('A' > c || c > 'Z') && ('0' > c || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 128
}

// ChallengeCertificate returns the certificate that answers the TLS-ALPN-01
// validation of host that is under way (RFC 8737), or [shingle.ErrNotFound].
func (m *Manager) ChallengeCertificate(ctx context.Context, host string) (*tls.Certificate, error) {
	b, err := m.cfg.Blobs.Get(ctx, challengeKey(host))
	if err != nil {
		return nil, fmt.Errorf("read challenge: %w", err)
	}
	var p pending
	if err := json.Unmarshal(b.Value, &p); err != nil {
		return nil, fmt.Errorf("read challenge: %w", err)
	}
	if m.cfg.Now().After(p.Until) {
		return nil, shingle.ErrNotFound
	}
	return acmez.TLSALPN01ChallengeCert(acme.Challenge{
		Type: acme.ChallengeTypeTLSALPN01, KeyAuthorization: p.KeyAuthorization,
		Identifier: acme.Identifier{Type: "dns", Value: host},
	})
}

// present makes a challenge answerable by every edge, and returns how to undo it.
func (m *Manager) present(ctx context.Context, host string, c acme.Challenge) (cleanUp func(), err error) {
	if c.Type != acme.ChallengeTypeTLSALPN01 {
		return func() {}, nil
	}
	value, err := json.Marshal(pending{KeyAuthorization: c.KeyAuthorization, Until: m.cfg.Now().Add(challengeLife)})
	if err != nil {
		return nil, err
	}
	old, err := m.cfg.Blobs.Get(ctx, challengeKey(host))
	if err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return nil, fmt.Errorf("read challenge: %w", err)
	}
	version, err := m.cfg.Blobs.Put(ctx, challengeKey(host), value, old.Version)
	if err != nil {
		return nil, fmt.Errorf("store challenge: %w", err)
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := m.cfg.Blobs.Delete(ctx, challengeKey(host), version); err != nil {
			m.log.Warn("challenge could not be removed, it expires by itself", "host", host, "error", err)
		}
	}, nil
}
