package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/shingle-proxy/shingle"
)

// record is a certificate with its key as it is stored: in one value, so that
// the two can never disagree.
type record struct {
	Chain  string `json:"chain"` // PEM, leaf first
	Key    []byte `json:"key"`   // PKCS #8, sealed
	Issuer string `json:"issuer"`
}

func certKey(host string) string { return "certs/" + host }

// load returns the stored certificate and its version, or [shingle.ErrNotFound].
// Any other failure to read is [shingle.ErrUnavailable]: it is not absence, and
// must not lead to an order.
func (m *Manager) load(ctx context.Context, host string) (*tls.Certificate, string, error) {
	b, err := m.cfg.Blobs.Get(ctx, certKey(host))
	if errors.Is(err, shingle.ErrNotFound) {
		return nil, shingle.NoVersion, shingle.ErrNotFound
	}
	if err != nil {
		return nil, "", &shingle.Error{Code: shingle.CodeUnavailable, Message: "the certificate store does not answer", Err: err}
	}
	cert, err := m.parse(host, b.Value)
	if err != nil {
		return nil, b.Version, &shingle.Error{Code: shingle.CodeUnavailable, Message: "the stored certificate cannot be read", Err: err}
	}
	return cert, b.Version, nil
}

func (m *Manager) parse(host string, value []byte) (*tls.Certificate, error) {
	var r record
	if err := json.Unmarshal(value, &r); err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	der, err := m.cfg.Sealer.Open(r.Key, certKey(host))
	if err != nil {
		return nil, fmt.Errorf("open key: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("parse key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the key cannot sign")
	}
	return buildCertificate([]byte(r.Chain), signer, host)
}

// buildCertificate checks that chain is for key and host.
func buildCertificate(chain []byte, key crypto.Signer, host string) (*tls.Certificate, error) {
	cert := &tls.Certificate{PrivateKey: key}
	for rest := chain; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			cert.Certificate = append(cert.Certificate, block.Bytes)
		}
	}
	if len(cert.Certificate) == 0 {
		return nil, errors.New("the chain is empty")
	}
	var err error
	if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
		return nil, fmt.Errorf("parse leaf: %w", err)
	}
	if err := cert.Leaf.VerifyHostname(host); err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(public, cert.Leaf.RawSubjectPublicKeyInfo) {
		return nil, errors.New("certificate and key do not belong together")
	}
	return cert, nil
}

// save stores a certificate in place of the version that was read. When another
// process was quicker, or the reply was lost, what is stored decides.
func (m *Manager) save(ctx context.Context, host string, chain []byte, key crypto.Signer, ifVersion string) (*tls.Certificate, error) {
	cert, err := buildCertificate(chain, key, host)
	if err != nil {
		return nil, fmt.Errorf("check the CA's certificate: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	sealed, err := m.cfg.Sealer.Seal(der, certKey(host))
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	value, err := json.Marshal(record{Chain: string(chain), Key: sealed, Issuer: m.cfg.Directory})
	if err != nil {
		return nil, err
	}
	_, err = m.cfg.Blobs.Put(ctx, certKey(host), value, ifVersion)
	if err == nil {
		return cert, nil
	}
	stored, _, again := m.load(ctx, host)
	if again == nil && !stored.Leaf.NotAfter.Before(cert.Leaf.NotAfter) {
		return stored, nil
	}
	// The certificate is good although it could not be kept: serve it.
	m.log.Error("certificate could not be stored", "host", host, "error", err)
	return cert, nil
}

// valid reports whether cert can be served at now.
func valid(cert *tls.Certificate, now time.Time) bool {
	return now.Before(cert.Leaf.NotAfter) && !now.Before(cert.Leaf.NotBefore.Add(-time.Minute))
}

// renewAt is when two thirds of the lifetime are over.
func renewAt(cert *tls.Certificate) time.Time {
	life := cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore)
	return cert.Leaf.NotAfter.Add(-life / 3)
}
