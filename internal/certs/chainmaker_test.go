package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"sync"
	"testing"
	"time"
)

// chainMaker issues certificates that are as large as those of a public CA: two
// intermediates, the upper one signed with RSA, and leaves with two timestamps
// of certificate transparency.
type chainMaker struct {
	parent *x509.Certificate
	key    crypto.Signer
	rest   []byte // PEM of the intermediates
}

func newChainMaker(t testing.TB) *chainMaker {
	t.Helper()
	m := &chainMaker{}
	rootKey := rsaKey(t)()
	root := m.authority("Example Trust Services Root R1", rootKey.Public())
	upperKey, lowerKey := p384(t), p384(t)
	upper := m.sign(t, m.authority("Example Trust Services Intermediate X1", upperKey.Public()), root, rootKey)
	lower := m.sign(t, m.authority("Example Trust Services Issuer E7", lowerKey.Public()), upper, upperKey)
	m.parent, m.key = lower, lowerKey
	for _, c := range []*x509.Certificate{lower, upper} {
		m.rest = append(m.rest, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return m
}

func (m *chainMaker) authority(name string, key crypto.PublicKey) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serialNumber(), Subject: pkix.Name{Country: []string{"US"}, Organization: []string{"Example Trust Services LLC"}, CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(3, 0, 0), PublicKey: key,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IssuingCertificateURL: []string{"http://x1.i.example.org/"}, CRLDistributionPoints: []string{"http://x1.c.example.org/"},
	}
}

func (m *chainMaker) sign(t testing.TB, c, parent *x509.Certificate, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, c.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// chain returns a leaf for host and the intermediates, in PEM.
func (m *chainMaker) chain(t testing.TB, host string, key crypto.Signer) []byte {
	t.Helper()
	timestamps := bytes.Repeat([]byte{0x5a}, 240)
	leaf := m.sign(t, &x509.Certificate{
		SerialNumber: serialNumber(), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, PublicKey: key.Public(),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 90), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		IssuingCertificateURL: []string{"http://e7.i.example.org/"}, CRLDistributionPoints: []string{"http://e7.c.example.org/77.crl"},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: timestamps}},
	}, m.parent, m.key)
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}), m.rest...)
}

func (m *chainMaker) entry(t testing.TB, host string) *entry {
	t.Helper()
	key := newKey(t)
	e, err := newEntry(m.chain(t, host, key), key, host)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// sealed returns n chains and keys as they are stored, but for the seal.
func (m *chainMaker) sealed(t testing.TB, n int, makeKey func() crypto.Signer) (chains, keys [][]byte) {
	t.Helper()
	for i := range n {
		key := makeKey()
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, der)
		chains = append(chains, m.chain(t, fmt.Sprintf("www.customer-%d.example", i), key))
	}
	return chains, keys
}

func serialNumber() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return new(big.Int).SetBytes(b)
}

func p384(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// oneRSAKey is made once: it takes a while.
var oneRSAKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func rsaKey(t testing.TB) func() crypto.Signer {
	return func() crypto.Signer {
		t.Helper()
		key, err := oneRSAKey()
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
}
