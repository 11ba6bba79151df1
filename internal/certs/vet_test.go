package certs

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/certtest"
)

// wantVet fails unless chain and key are refused, with the field and the words, or
// taken when field is empty.
func wantVet(t *testing.T, chain, key, field, words string) *vetted {
	t.Helper()
	v, err := vet(chain, key, testHost, time.Now())
	e, _ := errors.AsType[*shingle.Error](err)
	switch {
	case field == "" && err != nil:
		t.Errorf("refused: %v", err)
	case field != "" && (e == nil || e.Code != shingle.CodeInvalid || e.Field != field || !strings.Contains(e.Message, words)):
		t.Errorf("got %v, want %s: ...%s...", err, field, words)
	}
	return v
}

func TestVet_TakesWhatVisitorsTake(t *testing.T) {
	ca := certtest.New(t, "Example")
	for name, leaf := range map[string]*certtest.Leaf{
		"plain":         ca.Issue(nil, testHost),
		"one of many":   ca.Issue(nil, "a.example", "b.example", testHost),
		"wildcard over": ca.Issue(nil, "*.customer.example"),
		"P-384":         ca.IssueTo(certtest.Key(t, elliptic.P384()), nil, testHost),
		"RSA":           ca.IssueTo(rsaKey(t)(), nil, testHost),
		"no key usage":  ca.Issue(func(c *x509.Certificate) { c.KeyUsage, c.ExtKeyUsage = 0, nil }, testHost),
	} {
		t.Run(name, func(t *testing.T) {
			v := wantVet(t, leaf.Chain(), leaf.KeyPEM(), "", "")
			if len(v.chain) != 2 || !v.chain[0].Equal(leaf.Cert) {
				t.Errorf("%d certificates, the first for %q", len(v.chain), v.chain[0].DNSNames)
			}
			if doubts := v.doubts(ca.Pool(), time.Now()); doubts != nil {
				t.Errorf("doubts: %q", doubts)
			}
		})
	}
}

func TestVet_EveryOrderIsBroughtIntoTheRightOne(t *testing.T) {
	ca := certtest.New(t, "Example")
	leaf := ca.Issue(nil, testHost)
	for _, list := range [][]*x509.Certificate{
		{leaf.Cert, ca.Intermediate, ca.Root}, {ca.Root, ca.Intermediate, leaf.Cert},
		{ca.Intermediate, leaf.Cert}, {ca.Intermediate, leaf.Cert, leaf.Cert, ca.Intermediate},
	} {
		v := wantVet(t, certtest.PEM(list...), leaf.KeyPEM(), "", "")
		if v.pem() != leaf.Chain() {
			t.Errorf("%d certificates in another order", len(v.chain))
		}
	}
}

// A key file may hold its parameters, and both may be one file.
func TestVet_FilesAsServersHaveThem(t *testing.T) {
	leaf := certtest.New(t, "Example").Issue(nil, testHost)
	sec1, err := x509.MarshalECPrivateKey(leaf.Key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}})
	old := string(parameters) + string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}))
	wantVet(t, leaf.Chain(), old, "", "")
	one := "Bag Attributes\n    friendlyName: shop\n" + leaf.KeyPEM() + leaf.Chain()
	if v := wantVet(t, one, one, "", ""); strings.Contains(v.pem(), "KEY") {
		t.Error("the key is in the chain")
	}
	key := rsaKey(t)().(*rsa.PrivateKey)
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	wantVet(t, certtest.New(t, "Other").IssueTo(key, nil, testHost).Chain(), string(pkcs1), "", "")
}

func TestVet_RefusedChains(t *testing.T) {
	ca, other := certtest.New(t, "Example"), certtest.New(t, "Other")
	twin := certtest.New(t, "Example") // the same names, other keys
	leaf := ca.Issue(nil, testHost)
	for name, x := range map[string]badUpload{
		"empty":           {"", leaf, "no certificate in it"},
		"text":            {"hello", leaf, "no certificate in it"},
		"binary":          {string(leaf.Cert.Raw), leaf, "binary"},
		"cut short":       {leaf.Chain()[:len(leaf.Chain())-40], leaf, "cut short"},
		"damaged":         {strings.Replace(leaf.Chain(), "\nM", "\n!", 1), leaf, "damaged"},
		"not DER":         {string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})), leaf, "certificate 1 cannot be read"},
		"too large":       {leaf.Chain() + strings.Repeat("\n", maxChainBytes), leaf, "may have 32768"},
		"too many":        {leaf.Chain() + manyRoots(t), leaf, "may have 10"},
		"a stranger":      {leaf.Chain() + certtest.PEM(other.Intermediate), leaf, "not part of the chain"},
		"another's":       {certtest.PEM(leaf.Cert, twin.Intermediate), leaf, "was not signed by"},
		"expired":         bad(ca, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "has expired on"),
		"not yet":         bad(ca, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, "is not valid before"),
		"other name":      bad(ca, func(c *x509.Certificate) { c.DNSNames = []string{"a.example", "b.example"} }, `is for "a.example", "b.example", not for `+testHost),
		"many names":      bad(ca, func(c *x509.Certificate) { c.DNSNames = strings.Fields("a b c d e f g") }, "and 2 others"),
		"deeper wildcard": bad(ca, func(c *x509.Certificate) { c.DNSNames = []string{"*.example"} }, "not for "+testHost),
		"common name":     bad(ca, func(c *x509.Certificate) { c.DNSNames = nil }, "no DNS name"),
		"for clients":     bad(ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, "serverAuth"),
		"key usage":       bad(ca, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, "digitalSignature"),
		"a CA":            bad(ca, func(c *x509.Certificate) { c.IsCA = true }, "certificate authority, not of a host"),
		"must staple":     bad(ca, extension(mustStaple, false), "OCSP"),
		"precertificate":  bad(ca, extension(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3}, true), "critical extension 1.3.6.1.4.1.11129.2.4.3"),
	} {
		t.Run(name, func(t *testing.T) {
			if x.chain == "" && name != "empty" {
				x.chain = x.leaf.Chain()
			}
			wantVet(t, x.chain, x.leaf.KeyPEM(), "chain", x.words)
		})
	}
}

type badUpload struct {
	chain string
	leaf  *certtest.Leaf
	words string
}

func bad(ca *certtest.CA, change func(*x509.Certificate), words string) badUpload {
	return badUpload{leaf: ca.Issue(change, testHost), words: words}
}

func extension(id asn1.ObjectIdentifier, critical bool) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: id, Critical: critical, Value: []byte{5, 0}}}
	}
}

func manyRoots(t *testing.T) (text string) {
	for range maxChain {
		text += certtest.PEM(certtest.New(t, "Example").Root)
	}
	return text
}

func TestVet_SelfSigned(t *testing.T) {
	key := certtest.Key(t, elliptic.P256())
	c := &x509.Certificate{
		SerialNumber: serialNumber(), Subject: pkix.Name{CommonName: testHost}, DNSNames: []string{testHost},
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
	}
	leaf := &certtest.Leaf{Cert: certtest.Sign(t, c, c, key.Public(), key), Key: key}
	wantVet(t, leaf.Chain(), leaf.KeyPEM(), "chain", "self-signed")
}

func TestVet_WeakChains(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for words, ca := range map[string]*certtest.CA{
		`"Example R1" has expired on`: certtest.NewWith(t, "Example", p384(t), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }),
		"1024 bits are too weak":      certtest.NewWith(t, "Example", weak, nil),
	} {
		leaf := ca.Issue(nil, testHost)
		wantVet(t, leaf.Chain(), leaf.KeyPEM(), "chain", words)
	}
	for _, a := range []x509.SignatureAlgorithm{x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.PureEd25519, 0} {
		if strong(a) {
			t.Errorf("%s is taken", a)
		}
	}
}

func TestVet_RefusedKeys(t *testing.T) {
	ca := certtest.New(t, "Example")
	leaf, other := ca.Issue(nil, testHost), ca.Issue(nil, testHost)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	locked := string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}))
	oldLocked := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: []byte("x")}))
	for name, x := range map[string]struct {
		leaf  *certtest.Leaf
		key   string
		words string
	}{
		"none":         {leaf, leaf.Chain(), "no private key in it"},
		"two":          {leaf, leaf.KeyPEM() + other.KeyPEM(), "several private keys"},
		"encrypted":    {leaf, locked, "passphrase"},
		"encrypted 1":  {leaf, oldLocked, "passphrase"},
		"cut short":    {leaf, leaf.KeyPEM()[:60], "cut short"},
		"not a key":    {leaf, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})), "cannot be read"},
		"another's":    {leaf, other.KeyPEM(), "belongs to none"},
		"P-521":        {ca.IssueTo(certtest.Key(t, elliptic.P521()), nil, testHost), "", "P-521"},
		"P-224":        {ca.IssueTo(certtest.Key(t, elliptic.P224()), nil, testHost), "", "P-224"},
		"Ed25519":      {ca.IssueTo(ed, nil, testHost), "", "Ed25519"},
		"RSA 1024":     {ca.IssueTo(weak, nil, testHost), "", "too weak"},
		"far too long": {leaf, strings.Repeat("x", maxKeyBytes+1), "may have 16384"},
	} {
		t.Run(name, func(t *testing.T) {
			if x.key == "" {
				x.key = x.leaf.KeyPEM()
			}
			_, err := vet(x.leaf.Chain(), x.key, testHost, time.Now())
			wantVet(t, x.leaf.Chain(), x.key, "key", x.words)
			for line := range strings.Lines(x.key) { // whatever is said, it has no part of the key
				if line = strings.TrimSpace(line); len(line) > 30 && !strings.HasPrefix(line, "-----") && strings.Contains(err.Error(), line[:20]) {
					t.Errorf("the error quotes the key: %v", err)
				}
			}
		})
	}
}

func TestVet_CrossSignedPathsLeadAsFarAsPossible(t *testing.T) {
	ca, old := certtest.New(t, "New"), certtest.New(t, "Old")
	leaf, cross := ca.Issue(nil, testHost), old.Cross(ca)
	for _, list := range [][]*x509.Certificate{
		{leaf.Cert, ca.Intermediate, ca.Root, cross}, {leaf.Cert, ca.Intermediate, cross, ca.Root}, {cross, old.Root, leaf.Cert, ca.Intermediate},
	} {
		v := wantVet(t, certtest.PEM(list...), leaf.KeyPEM(), "", "")
		if !slices.ContainsFunc(v.chain, cross.Equal) || len(v.chain) != 3 {
			t.Errorf("%d certificates", len(v.chain))
		}
	}
}

func TestVet_DoubtsAMissingIntermediate(t *testing.T) {
	ca := certtest.New(t, "Example")
	leaf := ca.Issue(nil, testHost)
	v := wantVet(t, certtest.PEM(leaf.Cert), leaf.KeyPEM(), "", "")
	if doubts := v.doubts(ca.Pool(), time.Now()); len(doubts) != 1 || !strings.Contains(doubts[0], `"Example R1" is missing`) {
		t.Errorf("doubts: %q", doubts)
	}
}
