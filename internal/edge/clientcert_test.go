package edge

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// clientCA issues client certificates.
type clientCA struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newClientCA(t *testing.T) *clientCA {
	t.Helper()
	ca := &clientCA{t: t}
	ca.cert, ca.key = signed(t, &x509.Certificate{Subject: pkix.Name{CommonName: "Client CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	return ca
}

// signed makes a certificate, self-signed without a CA.
func signed(t *testing.T, template *x509.Certificate, by *clientCA) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// settings are those that have visitors show a certificate of the CA.
func (ca *clientCA) settings() string {
	text, _ := json.Marshal(map[string]any{"tls": map[string]any{"client_ca": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}))}})
	return string(text)
}

func (ca *clientCA) issue(name string) *tls.Certificate {
	ca.t.Helper()
	cert, key := signed(ca.t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca)
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// caller is a client whose connections have a server name of their own.
type caller struct {
	sni     string // empty: the host asked for
	cert    *tls.Certificate
	version uint16
	http    int // major version
	cache   tls.ClientSessionCache
}

func (k caller) config(te *testEdge, host string) *tls.Config {
	if k.sni != "" {
		host = k.sni
	}
	c := &tls.Config{ServerName: host, RootCAs: te.certs.roots, MaxVersion: k.version, ClientSessionCache: k.cache, NextProtos: []string{"http/1.1"}}
	if k.http == 2 {
		c.NextProtos = []string{"h2"}
	}
	if k.cert != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return k.cert, nil } // whatever it asks for
	}
	return c
}

func (k caller) client(t *testing.T, te *testEdge) *http.Client {
	if k.http == 3 {
		c := te.clientHTTP3(t, k.config(te, k.sni))
		c.Timeout, c.CheckRedirect = 10*time.Second, nil
		return c
	}
	tr := &http.Transport{ForceAttemptHTTP2: k.http == 2, DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, _, _ := net.SplitHostPort(addr)
		return (&tls.Dialer{Config: k.config(te, host)}).DialContext(ctx, network, te.https)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

// allVersions runs f for each version of TLS and HTTP.
func allVersions(t *testing.T, f func(t *testing.T, k caller)) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for major := 1; major <= 3; major++ {
			if major == 3 && version != tls.VersionTLS13 {
				continue
			}
			t.Run(fmt.Sprintf("%s http%d", tls.VersionName(version), major), func(t *testing.T) { f(t, caller{version: version, http: major}) })
		}
	}
}

func TestClientCA_OnlyThoseWithItsCertificatesAreServed(t *testing.T) {
	ca, other := newClientCA(t), newClientCA(t)
	mine := ca.issue("Büro, \"A\"\r\nX-Evil: 1")
	sum := sha256.Sum256(mine.Certificate[0])
	old, oldKey := signed(t, &x509.Certificate{NotAfter: time.Now().Add(-time.Minute), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca)
	server, serverKey := signed(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, ca)
	allVersions(t, func(t *testing.T, k caller) {
		seen := make(chan http.Header, 1)
		url, asked := countedOrigin(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header })
		te := startEdge(t, url, withSettings(t, ruledHost, ca.settings()))
		for name, cert := range map[string]*tls.Certificate{
			"none": nil, "of another CA": other.issue("x"),
			"expired":         {Certificate: [][]byte{old.Raw}, PrivateKey: oldKey},
			"for servers":     {Certificate: [][]byte{server.Raw}, PrivateKey: serverKey},
			"without its key": {Certificate: mine.Certificate, PrivateKey: oldKey},
		} {
			k := k
			k.cert = cert
			if resp, err := k.client(t, te).Get("https://" + ruledHost + "/"); err == nil {
				t.Errorf("%s: got %d", name, resp.StatusCode)
			}
		}
		if asked.Load() != 0 {
			t.Fatal("the origin was asked")
		}
		k.cert = mine
		for host, want := range map[string][2]string{
			ruledHost: {hex.EncodeToString(sum[:]), `CN=B\C3\BCro\, \"A\"\0D\0AX-Evil: 1`}, testHost: {},
		} {
			req, _ := http.NewRequest("GET", "https://"+host+"/", nil)
			for _, forged := range []string{"X-Client-Cert-Fingerprint", "X_client-Cert-Fingerprint", "X-Client-Cert-Subject", "Client-Cert", "Client-Cert-Chain"} {
				req.Header[forged] = []string{"forged"}
			}
			resp, err := k.client(t, te).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			h := <-seen
			if got := [2]string{strings.Join(h.Values("X-Client-Cert-Fingerprint"), "|"), strings.Join(h.Values("X-Client-Cert-Subject"), "|")}; got != want {
				t.Errorf("%s: got %q, want %q", host, got, want)
			}
			if text := fmt.Sprint(h); strings.Contains(text, "forged") || h.Get("X-Evil") != "" {
				t.Errorf("%s: %s", host, text)
			}
		}
	})
}

// TestClientCA_NoWayAroundByAnotherName comes by connections and sessions of a name
// that asks for nothing.
func TestClientCA_NoWayAroundByAnotherName(t *testing.T) {
	ca := newClientCA(t)
	allVersions(t, func(t *testing.T, k caller) {
		url, asked := countedOrigin(t, nil)
		te := startEdge(t, url, withSettings(t, ruledHost, ca.settings()))

		k.sni = testHost // as a browser that shares a connection between names of one certificate
		c := k.client(t, te)
		resp, err := c.Get("https://" + ruledHost + "/")
		if err != nil {
			t.Fatal(err)
		}
		if _ = resp.Body.Close(); resp.StatusCode != 421 || asked.Load() != 0 {
			t.Errorf("got %d", resp.StatusCode)
		}

		k.sni, k.cache = "", tls.NewLRUClientSessionCache(8)
		if resp, err := k.client(t, te).Get("https://" + testHost + "/"); err != nil || resp.StatusCode != 200 || resp.Body.Close() != nil {
			t.Fatal(resp, err)
		}
		if _, ok := k.cache.Get(testHost); !ok {
			t.Fatal("there is no session to forge with")
		}
		k.cache = forger{k.cache}
		if resp, err := k.client(t, te).Get("https://" + ruledHost + "/"); err == nil {
			t.Errorf("got %d", resp.StatusCode)
		}
		if asked.Load() != 1 {
			t.Errorf("the origin was asked %d times", asked.Load())
		}
	})
}

// TestClientCA_SessionsAreNotResumed: what was proved once must be proved again.
func TestClientCA_SessionsAreNotResumed(t *testing.T) {
	ca := newClientCA(t)
	allVersions(t, func(t *testing.T, k caller) {
		url, asked := countedOrigin(t, nil)
		te := startEdge(t, url, withSettings(t, ruledHost, ca.settings()))
		k.cert, k.cache = ca.issue("x"), tls.NewLRUClientSessionCache(8)
		if resp, err := k.client(t, te).Get("https://" + ruledHost + "/"); err != nil || resp.Body.Close() != nil {
			t.Fatal(err)
		}
		k.cert = nil
		if resp, err := k.client(t, te).Get("https://" + ruledHost + "/"); err == nil || asked.Load() != 1 {
			t.Errorf("got %d", resp.StatusCode)
		}
	})
}

// TestClientCA_HoldsOnConnectionsThatAreOlder changes what is set under connections.
func TestClientCA_HoldsOnConnectionsThatAreOlder(t *testing.T) {
	ca, next := newClientCA(t), newClientCA(t)
	allVersions(t, func(t *testing.T, k caller) {
		url, asked := countedOrigin(t, nil)
		te := startEdge(t, url)
		set := func(text string) { te.table.set(&shingle.Domain{Host: testHost, Settings: shingle.SettingsText(text)}) }
		status := func(c *http.Client) int {
			resp, err := c.Get("https://" + testHost + "/")
			if err != nil {
				return 0
			}
			_ = resp.Body.Close()
			return resp.StatusCode
		}
		after421 := func(c *http.Client) int { // HTTP/3 closes a moment later
			s := status(c)
			for k.http == 3 && s == 421 {
				s = status(c)
			}
			return s
		}
		without := k.client(t, te)
		k.cert = ca.issue("x")
		first, second := status(without), 0
		set(ca.settings())
		if second = status(without); first != 200 || second != 421 {
			t.Errorf("without a certificate: %d, and %d once one is needed", first, second)
		}
		if third := after421(without); third != 0 {
			t.Errorf("on a new connection: %d", third)
		}
		with := k.client(t, te)
		first = status(with)
		set(next.settings())
		if second = status(with); first != 200 || second != 421 || after421(with) != 0 {
			t.Errorf("with a certificate: %d, and %d when another CA is set", first, second)
		}
		if asked.Load() != 2 {
			t.Errorf("the origin was asked %d times", asked.Load())
		}
	})
}

// TestClientCA_CertificateThatEnds holds a connection open for longer than the
// client's certificate is good for.
func TestClientCA_CertificateThatEnds(t *testing.T) {
	ca := newClientCA(t)
	s, ok := newSecurity(&shingle.TLS{ClientCA: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}))})
	if !ok {
		t.Fatal("cannot be read")
	}
	r := &Request{Version: tls.VersionTLS13, Chains: [][]*x509.Certificate{{ca.issue("x").Leaf, ca.cert}}}
	if now := time.Now(); !s.satisfied(r, now) || s.satisfied(r, now.Add(2*time.Hour)) {
		t.Error("the end of the certificate does not count")
	}
	r.Chains[0][1] = newClientCA(t).cert
	if s.satisfied(r, time.Now()) {
		t.Error("another CA of the same name counts")
	}
}

func TestTLS_MinVersion(t *testing.T) {
	url, asked := countedOrigin(t, nil)
	te := startEdge(t, url, withSettings(t, ruledHost, `{"tls":{"min_version":"1.3"}}`))
	allVersions(t, func(t *testing.T, k caller) {
		before := asked.Load()
		resp, err := k.client(t, te).Get("https://" + ruledHost + "/")
		if wants := k.version == tls.VersionTLS13; wants != (err == nil) || wants != (asked.Load() > before) {
			t.Errorf("got %v, %v", resp, err)
		}
		if resp, err := k.client(t, te).Get("https://" + testHost + "/"); err != nil || resp.StatusCode != 200 {
			t.Errorf("another host: %v, %v", resp, err)
		}
	})
	k := caller{version: tls.VersionTLS12}
	c := k.client(t, te)
	for i, want := range []int{200, 421} {
		resp, err := c.Get("https://" + testHost + "/")
		if err != nil || resp.StatusCode != want {
			t.Errorf("%d: got %v, %v, want %d", i, resp, err, want)
		} else {
			_ = resp.Body.Close()
		}
		te.table.set(&shingle.Domain{Host: testHost, Settings: `{"tls":{"min_version":"1.3"}}`})
	}
}

// TestTLS_SessionsAreResumedUnderAMinVersion: that alone is no reason to do without.
func TestTLS_SessionsAreResumedUnderAMinVersion(t *testing.T) {
	te := startEdge(t, helloOrigin(t), withSettings(t, ruledHost, `{"tls":{"min_version":"1.3"}}`))
	v := newVisitor(t, tls.VersionTLS13)
	for i, want := range []bool{false, true} {
		if resumed, err := v.visit(te, ruledHost); err != nil || resumed != want {
			t.Errorf("%d: resumed %v, %v", i, resumed, err)
		}
	}
}

// TestClientCA_CAsValidateAllTheSame: a validation has no client certificate.
func TestClientCA_CAsValidateAllTheSame(t *testing.T) {
	url, asked := countedOrigin(t, nil)
	te := startEdge(t, url, withSettings(t, ruledHost, newClientCA(t).settings()))
	c, err := tls.Dial("tcp", te.https, &tls.Config{ServerName: ruledHost, RootCAs: te.certs.roots, NextProtos: []string{protoACME}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", ruledHost)
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil || asked.Load() != 0 {
		t.Errorf("the connection answers: %v", resp)
	}
	if resp, body := get(t, te.client(t, 1), "http://"+ruledHost+challengePath+"known"); body != "known.thumbprint" {
		t.Errorf("HTTP-01: %d %q", resp.StatusCode, body)
	}
}

// TestRules_HoldAfterARestartWithoutAStore starts from the snapshot alone.
func TestRules_HoldAfterARestartWithoutAStore(t *testing.T) {
	l := newLonely(t, testHost)
	ca := newClientCA(t)
	for host, text := range map[string]string{ruledHost: ca.settings(), "closed.customer.test": `{"access":{"allow":["192.0.2.1"]}}`} {
		d := shingle.Domain{Host: host, Settings: shingle.SettingsText(text)}
		if err := d.Validate(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.rows.CreateDomain(t.Context(), d, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	te, stop := l.start()
	awaitHealthy(t, te)
	stop()
	l.store.Inject(storetest.Refuse(shingle.ErrUnavailable))
	te, stop = l.start()
	defer stop()
	awaitHealthy(t, te)
	k := caller{version: tls.VersionTLS13, http: 2}
	if resp, err := k.client(t, te).Get("https://" + ruledHost + "/"); err == nil {
		t.Errorf("without a certificate: %d", resp.StatusCode)
	}
	k.cert = ca.issue("x")
	for host, want := range map[string]int{ruledHost: 200, testHost: 200, "closed.customer.test": 403} {
		if resp, err := k.client(t, te).Get("https://" + host + "/"); err != nil || resp.StatusCode != want {
			t.Errorf("%s: got %v, %v, want %d", host, resp, err, want)
		}
	}
}

func awaitHealthy(t *testing.T, te *testEdge) {
	t.Helper()
	for end := time.Now().Add(time.Minute); te.Healthy() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(te.Healthy())
		}
	}
}
