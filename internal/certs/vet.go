package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Bounds of what is uploaded.
const (
	maxChainBytes = 32 << 10 // PEM
	maxKeyBytes   = 16 << 10 // PEM
	maxChain      = 10       // certificates
	minRSA        = 2048     // bits
	maxRSA        = 4096     // bits of a leaf's key: each handshake signs with it
	maxNamesShown = 5
	clockSlack    = 5 * time.Minute
)

// vetted is a certificate of the operator's that visitors can be served with.
type vetted struct {
	chain []*x509.Certificate // leaf first, each signed by the next, without the root
	key   crypto.Signer
}

// vet checks a PEM chain and key for host. The certificate that belongs to the key
// is the leaf; the others are brought into order, which cannot be wrong since each
// must have signed the one before it. A root is left out: visitors have their own.
// The error is an [shingle.ErrInvalid] with the field, "chain" or "key"; it never
// quotes the key.
func vet(chain, key, host string, now time.Time) (*vetted, error) {
	signer, err := parseKey(key)
	if err != nil {
		return nil, err
	}
	list, err := parseChain(chain)
	if err != nil {
		return nil, err
	}
	v := &vetted{key: signer}
	if v.chain, err = arrange(list, signer); err != nil {
		return nil, err
	}
	if err := vetLeaf(v.chain[0], host); err != nil {
		return nil, err
	}
	for i, c := range v.chain {
		if err := vetStrength(c, i == 0, now); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// pem returns the chain as it is stored.
func (v *vetted) pem() string {
	var b bytes.Buffer
	for _, c := range v.chain {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a buffer does not fail
	}
	return b.String()
}

func badChain(format string, args ...any) error {
	return invalid("chain", fmt.Sprintf(format, args...))
}

func badKey(message string) error { return invalid("key", message) }

// parseKey reads the one private key of a PEM text, in PKCS #8, PKCS #1 or SEC 1.
func parseKey(text string) (crypto.Signer, error) {
	blocks, err := pemBlocks("key", text, maxKeyBytes)
	if err != nil {
		return nil, err
	}
	blocks = slices.DeleteFunc(blocks, func(b *pem.Block) bool { return !strings.HasSuffix(b.Type, "PRIVATE KEY") })
	switch {
	case len(blocks) == 0:
		return nil, badKey("there is no private key in it: it must be PEM, with a line -----BEGIN PRIVATE KEY-----")
	case len(blocks) > 1:
		return nil, badKey("there are several private keys in it: leave the one of this certificate")
	case blocks[0].Type == "ENCRYPTED PRIVATE KEY" || blocks[0].Headers["DEK-Info"] != "":
		return nil, badKey("it is encrypted with a passphrase: decrypt it first, as with openssl pkey -in FILE -out FILE")
	}
	der := blocks[0].Bytes
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		key, err = x509.ParseECPrivateKey(der)
	}
	if err != nil {
		key, err = x509.ParsePKCS1PrivateKey(der)
	}
	if err != nil { // the parser's error could quote the key
		return nil, badKey("it cannot be read: it must be an RSA or ECDSA key, whole and in PEM")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, badKey("it cannot sign: it must be an RSA or ECDSA key")
	}
	return signer, nil
}

// parseChain reads the certificates of a PEM text, each once. A private key in it,
// as in the files of some servers, is left out.
func parseChain(text string) ([]*x509.Certificate, error) {
	blocks, err := pemBlocks("chain", text, maxChainBytes)
	if err != nil {
		return nil, err
	}
	var list []*x509.Certificate
	for _, b := range blocks {
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, badChain("certificate %d cannot be read: %v", len(list)+1, err)
		}
		if !slices.ContainsFunc(list, c.Equal) {
			list = append(list, c)
		}
	}
	switch {
	case len(list) == 0:
		return nil, badChain("there is no certificate in it: it must be PEM, with a line -----BEGIN CERTIFICATE-----")
	case len(list) > maxChain:
		return nil, badChain("it has %d certificates, and may have %d", len(list), maxChain)
	}
	return list, nil
}

// pemBlocks returns all blocks of a text. What begins like a block and is none is
// an error, lest half a file pass for the whole.
func pemBlocks(field, text string, limit int) ([]*pem.Block, error) {
	if len(text) > limit {
		return nil, invalid(field, fmt.Sprintf("it has %d bytes, and may have %d", len(text), limit))
	}
	if strings.HasPrefix(text, "\x30\x82") {
		return nil, invalid(field, "it is binary (DER or PKCS #12): convert it to PEM first, with openssl x509, pkey or pkcs12")
	}
	var blocks []*pem.Block
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		blocks = append(blocks, block)
	}
	if begun := strings.Count(text, "-----BEGIN "); begun != len(blocks) {
		return nil, invalid(field, fmt.Sprintf("%d of its %d PEM blocks are damaged or cut short", begun-len(blocks), begun))
	}
	return blocks, nil
}

// arrange returns the path from the certificate of key upwards, without the root.
func arrange(list []*x509.Certificate, key crypto.Signer) ([]*x509.Certificate, error) {
	public, _ := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	at := slices.IndexFunc(list, func(c *x509.Certificate) bool { return public != nil && public.Equal(c.PublicKey) })
	if at < 0 {
		return nil, badKey("it belongs to none of the certificates in the chain: send the key that the certificate was made for")
	}
	leaf := list[at]
	if selfIssued(leaf) {
		return nil, badChain("the certificate is self-signed: visitors accept only that of a certificate authority")
	}
	path, rest := []*x509.Certificate{leaf}, slices.Delete(slices.Clone(list), at, at+1)
	for {
		i, err := signerOf(path[len(path)-1], rest)
		if err != nil {
			return nil, err
		}
		if i < 0 {
			break
		}
		path, rest = append(path, rest[i]), slices.Delete(rest, i, i+1)
	}
	for _, c := range rest {
		if !selfIssued(c) {
			return nil, badChain("%q is not part of the chain of %q: remove it", nameOf(c), nameOf(leaf))
		}
	}
	if last := len(path) - 1; selfIssued(path[last]) {
		path = path[:last]
	}
	return path, nil
}

// signerOf returns the index of the certificate in list that signed c, or -1 when
// c names none of them. Of two with the same name and key, which are cross-signed,
// the one that is no root leads further.
func signerOf(c *x509.Certificate, list []*x509.Certificate) (int, error) {
	found, named := -1, false
	var weak x509.InsecureAlgorithmError
	for i, parent := range list {
		if !bytes.Equal(c.RawIssuer, parent.RawSubject) || selfIssued(c) {
			continue
		}
		named = true
		err := c.CheckSignatureFrom(parent)
		if errors.As(err, &weak) {
			return -1, badSignature(c)
		}
		if err == nil && (found < 0 || selfIssued(list[found])) {
			found = i
		}
	}
	if named && found < 0 {
		return -1, badChain("%q was not signed by the %q that is in the chain: take the intermediates that its certificate authority names", nameOf(c), c.Issuer.CommonName)
	}
	return found, nil
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawIssuer, c.RawSubject) }

// nameOf names a certificate in messages.
func nameOf(c *x509.Certificate) string {
	switch {
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	case c.Subject.CommonName != "":
		return c.Subject.CommonName
	}
	return c.Subject.String()
}

var mustStaple = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24} // RFC 7633

// vetLeaf checks what is special about the certificate itself.
func vetLeaf(c *x509.Certificate, host string) error {
	switch {
	case c.IsCA:
		return badChain("%q is the certificate of a certificate authority, not of a host", nameOf(c))
	case len(c.DNSNames) == 0:
		return badChain("the certificate has no DNS name (subject alternative name): browsers do not look at the common name")
	case c.VerifyHostname(host) != nil:
		return badChain("the certificate is for %s, not for %s", someNames(c.DNSNames), host)
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return badChain("the certificate's key usage lacks digitalSignature, which TLS needs")
	case !forServers(c):
		return badChain("the certificate is not meant for servers: its extended key usage lacks serverAuth")
	case len(c.UnhandledCriticalExtensions) > 0:
		return badChain("the certificate has the critical extension %s, for which browsers refuse it", c.UnhandledCriticalExtensions[0])
	}
	for _, e := range c.Extensions {
		if e.Id.Equal(mustStaple) {
			return badChain("the certificate demands a stapled OCSP response, which Shingle does not send: have one issued without \"must staple\"")
		}
	}
	return nil
}

func forServers(c *x509.Certificate) bool {
	if len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 {
		return true
	}
	return slices.ContainsFunc(c.ExtKeyUsage, func(u x509.ExtKeyUsage) bool {
		return u == x509.ExtKeyUsageServerAuth || u == x509.ExtKeyUsageAny
	})
}

func someNames(names []string) string {
	shown := names[:min(maxNamesShown, len(names))]
	text := fmt.Sprintf("%q", shown)
	text = strings.ReplaceAll(text[1:len(text)-1], `" "`, `", "`)
	if more := len(names) - len(shown); more > 0 {
		text += fmt.Sprintf(" and %d others", more)
	}
	return text
}

// vetStrength checks what holds for each certificate of the chain.
func vetStrength(c *x509.Certificate, leaf bool, now time.Time) error {
	switch {
	case !now.Before(c.NotAfter):
		return badChain("%q has expired on %s", nameOf(c), c.NotAfter.UTC().Format(time.DateOnly))
	case now.Add(clockSlack).Before(c.NotBefore):
		return badChain("%q is not valid before %s", nameOf(c), c.NotBefore.UTC().Format(time.RFC3339))
	case !strong(c.SignatureAlgorithm):
		return badSignature(c)
	}
	return vetPublicKey(c, leaf)
}

func badSignature(c *x509.Certificate) error {
	return badChain("%q is signed with %s, which browsers refuse: have it issued again", nameOf(c), c.SignatureAlgorithm)
}

func strong(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS:
		return true
	}
	return false
}

// vetPublicKey checks a certificate's key. That of the leaf is the uploaded one.
func vetPublicKey(c *x509.Certificate, leaf bool) error {
	bad := func(format string, args ...any) error {
		what := fmt.Sprintf(format, args...)
		if leaf {
			return badKey(what)
		}
		return badChain("the key of %q: %s", nameOf(c), what)
	}
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		switch bits := k.N.BitLen(); {
		case bits < minRSA:
			return bad("RSA keys of %d bits are too weak: at least %d", bits, minRSA)
		case leaf && bits > maxRSA:
			return bad("RSA keys of %d bits make handshakes slow: at most %d", bits, maxRSA)
		}
	case *ecdsa.PublicKey:
		if leaf && k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return bad("browsers do not take the curve %s: use P-256 or P-384", k.Params().Name)
		}
	default:
		return bad("browsers do not take %s keys: use ECDSA P-256, P-384 or RSA", c.PublicKeyAlgorithm)
	}
	return nil
}

// doubts says why visitors may not accept the chain, although it may be right: it
// leads to none of the roots. Nil roots are this machine's.
func (v *vetted) doubts(roots *x509.CertPool, now time.Time) []string {
	above := x509.NewCertPool()
	for _, c := range v.chain[1:] {
		above.AddCert(c)
	}
	_, err := v.chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: above, CurrentTime: now})
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) {
		return nil // or this machine has no roots
	}
	last := v.chain[len(v.chain)-1]
	return []string{fmt.Sprintf("no root that this machine trusts has signed %q, the end of the chain: if it is not a private certificate authority, the intermediate %q is missing, without which many visitors refuse the certificate", nameOf(last), last.Issuer.CommonName)}
}
