package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// benchDomain is the custom domain that the load asks for.
const benchDomain = "shop.customer.localhost"

// certificates names the files, in PEM, of a certificate for benchDomain. As
// from a public CA, an intermediate stands between it and the root.
type certificates struct {
	root, chain, key string
	both             string // chain and key, as HAProxy wants them
}

// issuer is a certificate with its key.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCertificates(dir string) (certificates, error) {
	root, err := issue("Bench Root", nil, true)
	if err != nil {
		return certificates{}, err
	}
	intermediate, err := issue("Bench Intermediate", root, true)
	if err != nil {
		return certificates{}, err
	}
	leaf, err := issue(benchDomain, intermediate, false)
	if err != nil {
		return certificates{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(leaf.key)
	if err != nil {
		return certificates{}, fmt.Errorf("encode key: %w", err)
	}
	chain := append(certPEM(leaf), certPEM(intermediate)...)
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	c := certificates{
		root:  filepath.Join(dir, "root.pem"),
		chain: filepath.Join(dir, "chain.pem"),
		key:   filepath.Join(dir, "key.pem"),
		both:  filepath.Join(dir, "both.pem"),
	}
	for name, content := range map[string][]byte{
		c.root: certPEM(root), c.chain: chain, c.key: key, c.both: bytes.Join([][]byte{chain, key}, nil),
	} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			return certificates{}, fmt.Errorf("write certificate: %w", err)
		}
	}
	return c, nil
}

// issue makes a P-256 certificate, signed by parent, or by itself without one.
func issue(name string, parent *issuer, ca bool) (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(48 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  ca,
	}
	if ca {
		template.KeyUsage |= x509.KeyUsageCertSign
	} else {
		template.DNSNames = []string{name}
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	if parent == nil {
		parent = &issuer{cert: template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, &key.PublicKey, parent.key)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return &issuer{cert: cert, key: key}, nil
}

func certPEM(i *issuer) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})
}
