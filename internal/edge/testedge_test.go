package edge

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

const testHost = "blog.customer.test"

// testStore is a store with domains that never change.
type testStore struct {
	shingle.DomainStore
	domains []shingle.Domain
	reads   atomic.Int64
}

func (s *testStore) Head(context.Context) (shingle.Cursor, error) { return "0", nil }

func (s *testStore) Domains(_ context.Context, after string, _ int) ([]shingle.Domain, error) {
	if after != "" {
		return nil, nil
	}
	return s.domains, nil
}

func (s *testStore) Changes(_ context.Context, after shingle.Cursor, _ int) ([]shingle.Change, shingle.Cursor, error) {
	return nil, after, nil
}

func (s *testStore) Domain(context.Context, string) (shingle.Domain, error) {
	s.reads.Add(1)
	return shingle.Domain{}, shingle.ErrNotFound
}

// testCerts has one certificate, good for every name under test.
type testCerts struct {
	cert  tls.Certificate
	roots *x509.CertPool
	asked atomic.Int64

	readiness atomic.Pointer[shingle.Readiness] // nil: ready

	degraded  string
	forgotten sync.Map // by domain
}

func newTestCerts(t testing.TB) *testCerts {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"*.customer.test", "customer.test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	c := &testCerts{cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots: x509.NewCertPool()}
	c.roots.AddCert(leaf)
	return c
}

func (c *testCerts) Certificate(context.Context, string) (*tls.Certificate, error) {
	c.asked.Add(1)
	return &c.cert, nil
}

func (c *testCerts) ChallengeCertificate(context.Context, string) (*tls.Certificate, error) {
	return &c.cert, nil
}

func (c *testCerts) Forget(domain string) { c.forgotten.Store(domain, true) }

func (c *testCerts) Degraded() string { return c.degraded }

func (c *testCerts) KeyAuthorization(_ context.Context, token string) (string, error) {
	if token != "known" {
		return "", shingle.ErrNotFound
	}
	return "known.thumbprint", nil
}

func (c *testCerts) Readiness(context.Context, string) shingle.Readiness {
	if r := c.readiness.Load(); r != nil {
		return *r
	}
	return shingle.Readiness{State: shingle.CertificateValid}
}

// testEdge is a running edge and a way to reach it.
type testEdge struct {
	*Edge
	https, http string
	certs       *testCerts
	store       *testStore
	stop        func() // ends it, and waits until it has; called at the test's end anyhow
}

func startEdge(t testing.TB, origin string, edit ...func(*Config)) *testEdge {
	t.Helper()
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	target, err := shingle.ParseOrigin(origin)
	if err != nil {
		t.Fatal(err)
	}
	te := &testEdge{certs: newTestCerts(t), store: &testStore{domains: []shingle.Domain{
		{Host: testHost},
		{Host: "other.customer.test"},
		{Host: "paused.customer.test", Paused: true},
		{Host: "customer.test", Redirect: "www.customer.test"},
	}}}
	https := listen()
	udp, err := net.ListenPacket("udp", https.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{HTTPS: https, HTTP: listen(), HTTP3: udp, Target: target, Store: te.store, Certificates: te.certs, Logger: slog.New(slog.DiscardHandler)}
	if cfg.Origins, err = shingle.ParseOriginPolicy([]string{"127.0.0.0/8"}); err != nil {
		t.Fatal(err)
	}
	for _, f := range edit {
		f(&cfg)
	}
	te.https, te.http = cfg.HTTPS.Addr().String(), cfg.HTTP.Addr().String()
	if te.Edge, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	if err := te.sites.step(ctx); err != nil {
		t.Fatal(err)
	}
	go func() { done <- te.Run(ctx) }()
	te.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(te.stop)
	return te
}

// client returns an HTTP client that reaches the edge under any name, by that major
// version of HTTP.
func (te *testEdge) client(t testing.TB, major int) *http.Client {
	t.Helper()
	if major == 3 {
		return te.clientHTTP3(t, &tls.Config{RootCAs: te.certs.roots})
	}
	tr := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: te.certs.roots},
		ForceAttemptHTTP2: major == 2,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			to := te.https
			if strings.HasSuffix(addr, ":80") {
				to = te.http
			}
			return new(net.Dialer).DialContext(ctx, network, to)
		},
		DisableCompression: true,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func origin(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func allProtocols(t *testing.T, f func(t *testing.T, major int)) {
	for major := 1; major <= 3; major++ {
		t.Run(fmt.Sprintf("http%d", major), func(t *testing.T) { f(t, major) })
	}
}

func get(t *testing.T, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func port(addr string) string { _, p, _ := net.SplitHostPort(addr); return p }
