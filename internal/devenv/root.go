package devenv

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Files of the root in [CAConfig.Dir].
const (
	rootFile    = "root.pem"
	rootKeyFile = "root-key.pem"
)

// rootYears is the life of the root. Browsers' limits on validity apply to
// leaves only.
const rootYears = 10

// root is the CA root that this machine trusts. Unlike all that Pebble makes
// it outlives the process, so that a certificate issued in one run is still
// good in the next.
type root struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte // cert
}

// openRoot loads the root kept in dir, or makes one if root.pem is not there.
// The key is written first: a crash in between leaves a key that nobody trusts,
// which the next start replaces. It is not safe for two processes at once.
func openRoot(dir string) (*root, error) {
	certPEM, err := os.ReadFile(filepath.Join(dir, rootFile))
	if errors.Is(err, fs.ErrNotExist) {
		return createRoot(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read dev root: %w", err)
	}
	keyPEM, err := os.ReadFile(filepath.Join(dir, rootKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read dev root key: %w", err)
	}
	r, err := parseRoot(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("load dev root: %w; remove %s and %s in %s to get a new root", err, rootFile, rootKeyFile, dir)
	}
	return r, nil
}

func createRoot(dir string) (*root, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create dev root: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("create dev root: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: "Shingle dev CA (this machine only)"},
		NotBefore:             now.Add(-time.Minute),
		NotAfter:              now.AddDate(rootYears, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            1, // the intermediate, and nothing more
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("create dev root: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("create dev root: %w", err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	if err := writeFile(filepath.Join(dir, rootKeyFile), keyPEM, 0o600); err != nil {
		return nil, fmt.Errorf("write dev root key: %w", err)
	}
	if err := writeFile(filepath.Join(dir, rootFile), certPEM, 0o644); err != nil {
		return nil, fmt.Errorf("write dev root: %w", err)
	}
	return parseRoot(certPEM, keyPEM)
}

// parseRoot refuses a pair that could only issue certificates that no client
// accepts. Its errors never carry key material.
func parseRoot(certPEM, keyPEM []byte) (*root, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errors.New("the key cannot sign")
	}
	if !pair.Leaf.IsCA {
		return nil, errors.New("the certificate is not a CA's")
	}
	if time.Now().After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("the root expired on %s", pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	return &root{cert: pair.Leaf, key: key, pem: bytes.Clone(certPEM)}, nil
}

// signIntermediate returns a certificate, signed by the root, for the subject
// and key of ca. Subject, key and subject key identifier are those of ca, so it
// takes ca's place above every certificate that ca's key signs.
func (r *root) signIntermediate(ca *x509.Certificate) (*x509.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		RawSubject:            ca.RawSubject,
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              r.cert.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		SubjectKeyId:          ca.SubjectKeyId,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	return r.sign(template, ca.PublicKey)
}

// serverCertificate returns a fresh certificate for TLS on the loopback
// addresses, good for a year.
func (r *root) serverCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := r.sign(&x509.Certificate{
		SerialNumber: newSerial(),
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, key.Public())
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

func (r *root) sign(template *x509.Certificate, public crypto.PublicKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, r.cert, public, r.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// newSerial returns a positive serial number of 126 random bits (RFC 5280
// section 4.1.2.2).
func newSerial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[0] = b[0]&0x3f | 0x40
	return new(big.Int).SetBytes(b[:])
}

// writeFile puts data at path so that a reader, or a crash, meets all of it or
// none.
func writeFile(path string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
