package app

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// playedCA answers ACME (RFC 8555) without a network, so in virtual time. Instead of
// validating it is told which hosts would pass; it notes what it was asked in vain.
type playedCA struct {
	passes func(host string) bool

	key  *ecdsa.PrivateKey
	cert *x509.Certificate

	mu      sync.Mutex
	orders  []string // hosts, of the orders that were accepted
	vain    []string // hosts, of those that were refused
	revoked int
	chains  map[string][]byte // by number of the order
}

const playedDirectory = "https://ca.example/directory"

func newPlayedCA(t *testing.T, passes func(host string) bool) *playedCA {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Played CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(9, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &playedCA{passes: passes, key: key, cert: cert, chains: map[string][]byte{}}
}

// take returns the orders since the last call, and those that were in vain.
func (c *playedCA) take() (orders, vain int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	orders, vain = len(c.orders), len(c.vain)
	c.orders, c.vain = nil, nil
	return orders, vain
}

// RoundTrip implements [http.RoundTripper].
func (c *playedCA) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	const base = "https://ca.example/"
	step, id, _ := strings.Cut(strings.TrimPrefix(r.URL.String(), base), "/")
	switch step {
	case "directory":
		return played(http.StatusOK, map[string]string{
			"newNonce": base + "nonce", "newAccount": base + "account", "newOrder": base + "order", "revokeCert": base + "revoke",
		}), nil
	case "nonce":
		return played(http.StatusOK, nil), nil
	case "account":
		return played(http.StatusCreated, map[string]string{"status": "valid"}, "Location", base+"account/1"), nil
	case "revoke":
		c.revoked++
		return played(http.StatusOK, nil), nil
	case "order":
		return c.order(payload(r), base)
	case "finalize":
		return c.finalize(id, payload(r), base)
	case "certificate":
		resp := played(http.StatusOK, nil, "Content-Type", "application/pem-certificate-chain")
		resp.Body = io.NopCloser(bytes.NewReader(c.chains[id]))
		return resp, nil
	}
	return played(http.StatusNotFound, nil), nil
}

func (c *playedCA) order(body []byte, base string) (*http.Response, error) {
	var order struct{ Identifiers []struct{ Value string } }
	if err := json.Unmarshal(body, &order); err != nil {
		return nil, err
	}
	host := order.Identifiers[0].Value
	if !c.passes(host) {
		c.vain = append(c.vain, host)
		return played(http.StatusForbidden, map[string]string{"type": "urn:ietf:params:acme:error:unauthorized", "detail": "not there"}, "Content-Type", "application/problem+json"), nil
	}
	c.orders = append(c.orders, host)
	id := fmt.Sprint(len(c.chains) + 1)
	c.chains[id] = nil
	return played(http.StatusCreated, map[string]string{"status": "ready", "finalize": base + "finalize/" + id}, "Location", base+"order/"+id), nil
}

func (c *playedCA) finalize(id string, body []byte, base string) (*http.Response, error) {
	var request struct{ CSR string }
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, err
	}
	der, err := base64.RawURLEncoding.DecodeString(request.CSR)
	if err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), DNSNames: csr.DNSNames, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(90 * 24 * time.Hour),
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, c.cert, csr.PublicKey, c.key); err != nil {
		return nil, err
	}
	c.chains[id] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return played(http.StatusOK, map[string]string{"status": "valid", "certificate": base + "certificate/" + id}, "Location", base+"order/"+id), nil
}

// payload is what was signed. Nobody verifies it.
func payload(r *http.Request) []byte {
	var signed struct{ Payload string }
	_ = json.NewDecoder(r.Body).Decode(&signed)
	body, _ := base64.RawURLEncoding.DecodeString(signed.Payload)
	return body
}

func played(status int, doc any, header ...string) *http.Response {
	h := http.Header{"Replay-Nonce": {"n"}, "Content-Type": {"application/json"}}
	var body []byte
	if doc != nil {
		body, _ = json.Marshal(doc)
	}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body))}
}
