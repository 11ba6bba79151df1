package kit

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// ConnectKeyRecord is the key of the record with the key that signs what is asked of DNS
// providers; its member is [KeyMember]. When it is lost another is made, and has to be
// published.
const ConnectKeyRecord = "setup/connect-key"

const (
	connectKeyBits = 2048
	keyLabel       = "_dcshingle" // begins the name of the published key
	keyTextBytes   = 200          // of base64 in one TXT record, which has one string
)

// connectKey is the signing key, the same for all processes.
type connectKey struct {
	secret
	now func() time.Time

	mu   sync.Mutex
	key  *rsa.PrivateKey
	read time.Time
}

// get returns the key. It is made only with create, for an operator who is about to
// publish it; else there may be [shingle.ErrNotFound].
func (k *connectKey) get(ctx context.Context, create bool) (*rsa.PrivateKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key != nil && k.now().Sub(k.read) < keyLife {
		return k.key, nil
	}
	der, err := k.load(ctx)
	if create && errors.Is(err, shingle.ErrNotFound) {
		der, err = k.make(ctx)
	}
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	key, ok := parsed.(*rsa.PrivateKey)
	if err != nil || !ok {
		return nil, errors.New("parse key of Domain Connect: not an RSA key in PKCS #8") // the parser's error could quote it
	}
	k.key, k.read = key, k.now()
	return key, nil
}

// make returns a new key in PKCS #8, or that of whoever was first.
func (k *connectKey) make(ctx context.Context) ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, connectKeyBits)
	if err != nil {
		return nil, fmt.Errorf("make key of Domain Connect: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key of Domain Connect: %w", err)
	}
	return k.create(ctx, der)
}

// published returns the label under which a key is published, which no other key has,
// and the texts there.
func published(key *rsa.PrivateKey) (label string, texts []string, err error) {
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return "", nil, fmt.Errorf("encode public key: %w", err)
	}
	sum := sha256.Sum256(der)
	data := base64.StdEncoding.EncodeToString(der)
	for n := 1; data != ""; n++ {
		part := data[:min(len(data), keyTextBytes)]
		data = data[len(part):]
		texts = append(texts, fmt.Sprintf("p=%d,a=RS256,d=%s", n, part))
	}
	return keyLabel + hex.EncodeToString(sum[:4]), texts, nil
}

// sign returns the signature of a query string.
func sign(key *rsa.PrivateKey, query string) (string, error) {
	sum := sha256.Sum256([]byte(query))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign query: %w", err)
	}
	return base64.StdEncoding.EncodeToString(sig), nil
}
