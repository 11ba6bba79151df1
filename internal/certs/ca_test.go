package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/keyfile"
	"github.com/shingle-proxy/shingle/internal/memory"
)

const acmeALPN = "acme-tls/1" // RFC 8737 section 6.2

func TestMain(m *testing.M) {
	for key, value := range map[string]string{"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"} {
		if err := os.Setenv(key, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// testCA is Pebble, with a DNS that answers 127.0.0.1 for all names and two
// ports of an edge that answers validations by way of a Manager.
type testCA struct {
	t        *testing.T
	server   *httptest.Server
	pebble   atomic.Pointer[http.Handler]
	issuer   *ca.CAImpl
	db       *db.MemoryStore
	dns      string
	http     net.Listener
	tls      net.Listener
	edge     atomic.Pointer[Manager] // answers validations
	httpDown atomic.Bool
	tlsDown  atomic.Bool
	requests atomic.Int64
	orders   atomic.Int64                             // accepted by Pebble
	before   atomic.Pointer[func(*http.Request) bool] // false: drop the connection
	answer   atomic.Pointer[http.HandlerFunc]         // instead of Pebble's for newOrder
}

func newTestCA(t *testing.T) *testCA {
	c := &testCA{t: t, dns: serveDNS(t)}
	c.http = c.listen(&c.httpDown)
	c.tls = c.listen(&c.tlsDown)
	c.reset()
	c.serveEdge()
	c.server = httptest.NewUnstartedServer(http.HandlerFunc(c.serve))
	c.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	c.server.StartTLS()
	t.Cleanup(c.server.Close)
	return c
}

// reset starts Pebble anew: it has no accounts and another root.
func (c *testCA) reset() {
	quiet := slog.NewLogLogger(slog.DiscardHandler, 0)
	store := db.NewMemoryStore()
	c.db = store
	c.issuer = ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {ValidityPeriod: 90 * 24 * 3600}})
	validator := va.New(quiet, port(c.http), port(c.tls), true, c.dns, store)
	front := wfe.New(quiet, store, validator, c.issuer, []string{"pebble.example"}, true, false, 0, 0)
	handler := front.Handler()
	c.pebble.Store(&handler)
}

func (c *testCA) serve(w http.ResponseWriter, r *http.Request) {
	c.requests.Add(1)
	if before := c.before.Load(); before != nil && !(*before)(r) {
		panic(http.ErrAbortHandler)
	}
	isOrder := r.URL.Path == "/order-plz"
	if answer := c.answer.Load(); answer != nil && isOrder {
		(*answer)(w, r)
		return
	}
	sw := &statusWriter{ResponseWriter: w}
	(*c.pebble.Load()).ServeHTTP(sw, r)
	if isOrder && sw.status == http.StatusCreated {
		c.orders.Add(1)
	}
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// hold makes newOrder requests wait until the returned function is called, and
// says on the channel that one has come.
func (c *testCA) hold() (arrived <-chan struct{}, release func()) {
	came, gate := make(chan struct{}, 100), make(chan struct{})
	hook := func(r *http.Request) bool {
		if r.URL.Path == "/order-plz" {
			came <- struct{}{}
			<-gate
		}
		return true
	}
	c.before.Store(&hook)
	release = sync.OnceFunc(func() { c.before.Store(nil); close(gate) })
	c.t.Cleanup(release) // a held request would keep the server from closing
	return came, release
}

// down makes the CA drop each connection.
func (c *testCA) down() {
	drop := func(*http.Request) bool { return false }
	c.before.Store(&drop)
}

func (c *testCA) up() { c.before.Store(nil) }

// refuse makes newOrder answer with an ACME problem.
func (c *testCA) refuse(status int, problem, detail, retryAfter string) {
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Retry-After", retryAfter)
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "urn:ietf:params:acme:error:" + problem, "detail": detail})
	})
	c.answer.Store(&answer)
}

func (c *testCA) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.server.Certificate())
	return pool
}

// issued checks that cert was issued by this CA for host.
func (c *testCA) issued(cert *tls.Certificate, host string) {
	c.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(c.issuer.GetRootCert(0).Cert)
	rest := x509.NewCertPool()
	for _, der := range cert.Certificate[1:] {
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			c.t.Fatal(err)
		}
		rest.AddCert(parsed)
	}
	if _, err := withLeaf(c.t, cert).Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: rest}); err != nil {
		c.t.Error(err)
	}
}

// serveEdge answers validations on both ports.
func (c *testCA) serveEdge() {
	plain := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.URL.Path, "/.well-known/acme-challenge/")
		answer, err := c.edge.Load().KeyAuthorization(r.Context(), token)
		if err != nil {
			http.Error(w, "no", http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, answer)
	})}
	secure := &http.Server{ReadHeaderTimeout: time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), TLSConfig: &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{acmeALPN},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.edge.Load().ChallengeCertificate(hello.Context(), hello.ServerName)
		},
	}, TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){
		acmeALPN: func(_ *http.Server, conn *tls.Conn, _ http.Handler) { _ = conn.Close() },
	}}
	go func() { _ = plain.Serve(c.http) }()
	go func() { _ = secure.ServeTLS(c.tls, "", "") }()
	c.t.Cleanup(func() { _, _ = plain.Close(), secure.Close() })
}

// listen returns a loopback listener that closes its connections at once while
// down is set.
func (c *testCA) listen(down *atomic.Bool) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	return &gatedListener{l, down}
}

type gatedListener struct {
	net.Listener
	down *atomic.Bool
}

func (l *gatedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil || !l.down.Load() {
			return conn, err
		}
		_ = conn.Close()
	}
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

func serveDNS(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			r.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1},
				A:   net.IPv4(127, 0, 0, 1),
			}}
		}
		_ = w.WriteMsg(r)
	})}
	go func() { _ = s.ActivateAndServe() }()
	t.Cleanup(func() { _ = s.Shutdown() })
	return l.Addr().String()
}

// fixture is what a Manager in a test is made of.
type fixture struct {
	t       *testing.T
	ca      *testCA
	blobs   *faultyBlobs
	keyFile string
	allowed func(host string) error
	asked   atomic.Int64
	skew    atomic.Int64 // of the clock, in nanoseconds
	cfg     Config       // overrides
}

func newFixture(t *testing.T) *fixture {
	return &fixture{
		t: t, ca: newTestCA(t), blobs: &faultyBlobs{Blobs: &memory.Store{}},
		keyFile: filepath.Join(t.TempDir(), "seal.key"), allowed: func(string) error { return nil },
	}
}

func (f *fixture) now() time.Time { return time.Now().Add(time.Duration(f.skew.Load())) }

func (f *fixture) advance(d time.Duration) { f.skew.Add(int64(d)) }

// start returns a new Manager over the fixture's store, as a restart does. It is
// the edge that the CA validates.
func (f *fixture) start() *Manager {
	f.t.Helper()
	key, err := keyfile.Open(f.keyFile)
	if err != nil {
		f.t.Fatal(err)
	}
	cfg := f.cfg
	cfg.Blobs, cfg.MasterKey, cfg.Now = f.blobs, key, f.now
	cfg.TermsAgreed, cfg.Email = true, "ops@example.com"
	if cfg.CAs == nil {
		cfg.CAs = []CA{{}}
	}
	cfg.CAs = slices.Clone(cfg.CAs)
	cfg.CAs[0].Directory, cfg.CAs[0].Roots = f.ca.server.URL+wfe.DirectoryPath, f.ca.roots()
	cfg.Permission = shingle.PermissionFunc(func(_ context.Context, host string) error {
		f.asked.Add(1)
		return f.allowed(host)
	})
	m, err := New(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := m.Close(); err != nil {
			f.t.Error(err)
		}
	})
	m.cas[0].client.PollInterval = 10 * time.Millisecond
	f.ca.edge.Store(m)
	return m
}

// faultyBlobs is a store whose operations may fail.
type faultyBlobs struct {
	shingle.Blobs
	onGet atomic.Pointer[func(key string) error]
	// onPut gets the write; the default is to do it.
	onPut atomic.Pointer[func(key string, write func() (string, error)) (string, error)]
}

func (b *faultyBlobs) Get(ctx context.Context, key string) (shingle.Blob, error) {
	if f := b.onGet.Load(); f != nil {
		if err := (*f)(key); err != nil {
			return shingle.Blob{}, err
		}
	}
	return b.Blobs.Get(ctx, key)
}

func (b *faultyBlobs) Put(ctx context.Context, key string, value []byte, ifVersion string) (string, error) {
	write := func() (string, error) { return b.Blobs.Put(ctx, key, value, ifVersion) }
	if f := b.onPut.Load(); f != nil {
		return (*f)(key, write)
	}
	return write()
}

func (b *faultyBlobs) put(f func(key string, write func() (string, error)) (string, error)) {
	b.onPut.Store(&f)
}
