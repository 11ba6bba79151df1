// Package certtest makes certificates for tests: a root, an intermediate and
// leaves, as those of a public CA are, or wrong in one respect.
package certtest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"
)

// T is a test that fails when a certificate cannot be made.
type T interface {
	Helper()
	Fatal(args ...any)
}

// CA is a certificate authority with one intermediate.
type CA struct {
	Root, Intermediate *x509.Certificate

	t            T
	rootKey, key crypto.Signer
}

// Leaf is a certificate with its key.
type Leaf struct {
	Cert  *x509.Certificate
	Key   crypto.Signer
	Above []*x509.Certificate // without the root
}

// New returns a CA with a new root of that name.
func New(t T, name string) *CA {
	t.Helper()
	return NewWith(t, name, Key(t, elliptic.P256()), nil)
}

// NewWith is New with the key of the intermediate, whose template change changes.
func NewWith(t T, name string, key crypto.Signer, change func(c *x509.Certificate)) *CA {
	t.Helper()
	ca := &CA{t: t, rootKey: Key(t, elliptic.P256()), key: key}
	root, intermediate := authority(name+" Root"), authority(name+" R1")
	if change != nil {
		change(intermediate)
	}
	ca.Root = Sign(t, root, root, ca.rootKey.Public(), ca.rootKey)
	ca.Intermediate = Sign(t, intermediate, ca.Root, key.Public(), ca.rootKey)
	return ca
}

// Cross returns other's root as this CA's root signs it.
func (ca *CA) Cross(other *CA) *x509.Certificate {
	ca.t.Helper()
	template := *other.Root
	template.AuthorityKeyId = nil
	return Sign(ca.t, &template, ca.Root, other.Root.PublicKey, ca.rootKey)
}

// Issue returns a certificate of 90 days, of which one has passed, for names. change
// may be nil, and else changes the template.
func (ca *CA) Issue(change func(c *x509.Certificate), names ...string) *Leaf {
	ca.t.Helper()
	return ca.IssueTo(Key(ca.t, elliptic.P256()), change, names...)
}

// IssueTo is Issue for a key.
func (ca *CA) IssueTo(key crypto.Signer, change func(c *x509.Certificate), names ...string) *Leaf {
	ca.t.Helper()
	leaf := ca.Certify(key.Public(), change, names...)
	leaf.Key = key
	return leaf
}

// Certify is Issue for a public key. The Leaf has no Key.
func (ca *CA) Certify(public crypto.PublicKey, change func(c *x509.Certificate), names ...string) *Leaf {
	ca.t.Helper()
	now := time.Now().Truncate(time.Second)
	c := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: now.AddDate(0, 0, -1), NotAfter: now.AddDate(0, 0, 89), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	if change != nil {
		change(c)
	}
	return &Leaf{Cert: Sign(ca.t, c, ca.Intermediate, public, ca.key), Above: []*x509.Certificate{ca.Intermediate}}
}

// Pool returns the root alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Root)
	return pool
}

// Chain returns the certificate and the intermediate in PEM.
func (l *Leaf) Chain() string { return PEM(append([]*x509.Certificate{l.Cert}, l.Above...)...) }

// KeyPEM returns the key in PKCS #8.
func (l *Leaf) KeyPEM() string {
	der, err := x509.MarshalPKCS8PrivateKey(l.Key)
	if err != nil {
		panic(err) // all kinds that tests use can be
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// PEM returns certificates in PEM.
func PEM(list ...*x509.Certificate) string {
	var b bytes.Buffer
	for _, c := range list {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a buffer does not fail
	}
	return b.String()
}

// Key returns a new ECDSA key.
func Key(t T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Sign signs what the template says.
func Sign(t T, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func authority(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{Organization: []string{"Shingle tests"}, CommonName: name},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(3, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}
