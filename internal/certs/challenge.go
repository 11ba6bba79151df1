package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/shingle-proxy/shingle"
)

// challengeLife is how long a stored challenge is answered. It only limits what
// a killed process leaves behind, and is judged by another machine's clock, so
// it is generous: to answer a stale challenge does no harm.
const challengeLife = 3 * time.Hour

// alpnChallenge is a TLS-ALPN-01 challenge as it is stored for the whole fleet.
type alpnChallenge struct {
	Digest []byte    `json:"digest"` // SHA-256 of the key authorization
	Until  time.Time `json:"until"`
}

func challengeRecord(host string) string { return "challenges/" + host }

// KeyAuthorization returns the answer to an HTTP-01 validation with token (RFC
// 8555 section 8.3). It needs nothing but the account key, so any edge answers
// any token. It returns [shingle.ErrNotFound] for what cannot be a token, and
// as long as the fleet has no account; until then it costs a read of the store, and
// returns [shingle.ErrLimited] to a network that asks very often.
func (m *Manager) KeyAuthorization(ctx context.Context, token string) (string, error) {
	if !isToken(token) {
		return "", shingle.ErrNotFound
	}
	if m.keys.key.Load() == nil {
		if err := m.visitors.mayLoad(ctx, m.cfg.Now()); err != nil {
			return "", err
		}
	}
	thumbprint, err := m.keys.thumbprint(ctx)
	if err != nil {
		return "", err
	}
	return token + "." + thumbprint, nil
}

// isToken reports whether s is base64url of at most 128 characters.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if ('a' > c || c > 'z') && ('A' > c || c > 'Z') && ('0' > c || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

// ChallengeCertificate returns the certificate that answers the TLS-ALPN-01
// validation of host that is under way anywhere in the fleet (RFC 8737), or
// [shingle.ErrNotFound]. Anybody can ask, so it returns [shingle.ErrLimited] to a
// network that asks very often.
func (m *Manager) ChallengeCertificate(ctx context.Context, host string) (*tls.Certificate, error) {
	if err := m.visitors.mayLoad(ctx, m.cfg.Now()); err != nil {
		return nil, err
	}
	var c alpnChallenge
	if _, err := m.store.get(ctx, challengeRecord(host), &c); err != nil {
		return nil, fmt.Errorf("read challenge: %w", err)
	}
	if !m.cfg.Now().Before(c.Until) {
		return nil, shingle.ErrNotFound
	}
	return c.certificate(host)
}

// idPeACMEIdentifier is id-pe-acmeIdentifier (RFC 8737 section 6.1).
var idPeACMEIdentifier = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}

// certificate makes the self-signed certificate of RFC 8737 section 3.
func (c alpnChallenge) certificate(host string) (*tls.Certificate, error) {
	digest, err := asn1.Marshal(c.Digest)
	if err != nil {
		return nil, fmt.Errorf("encode challenge: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make challenge key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:    big.NewInt(1),
		Subject:         pkix.Name{CommonName: "ACME challenge"},
		DNSNames:        []string{host},
		NotBefore:       c.Until.Add(-2 * challengeLife),
		NotAfter:        c.Until.Add(challengeLife),
		ExtraExtensions: []pkix.Extension{{Id: idPeACMEIdentifier, Critical: true, Value: digest}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make challenge certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// present makes a challenge answerable by every edge, and returns how to end
// that. HTTP-01 always is.
func (m *Manager) present(ctx context.Context, host string, c acme.Challenge) (cleanUp func(), err error) {
	if c.Type != acme.ChallengeTypeTLSALPN01 {
		return func() {}, nil
	}
	digest := sha256.Sum256([]byte(c.KeyAuthorization))
	record := challengeRecord(host)
	version, err := m.store.version(ctx, record) // of what a killed process left behind
	if err != nil {
		return nil, fmt.Errorf("read challenge: %w", err)
	}
	version, err = m.store.put(ctx, record, alpnChallenge{Digest: digest[:], Until: m.cfg.Now().Add(challengeLife)}, version)
	if err != nil {
		return nil, fmt.Errorf("store challenge: %w", err)
	}
	return func() {
		if err := m.store.remove(context.WithoutCancel(ctx), record, version); err != nil {
			m.log.Warn("challenge not removed, it expires by itself", "host", host, "error", err)
		}
	}, nil
}
