package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/shingle-proxy/shingle"
)

const testHost = "blog.customer.example"

var errStore = errors.New("connection refused")

func must(t *testing.T, m *Manager, host string) *tls.Certificate {
	t.Helper()
	cert, err := m.Certificate(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	return withLeaf(t, cert)
}

// withLeaf returns a copy that has the Leaf, which what we serve has not.
func withLeaf(t *testing.T, cert *tls.Certificate) *tls.Certificate {
	t.Helper()
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	with := *cert
	with.Leaf = leaf
	return &with
}

func wantCode(t *testing.T, err error, code shingle.Code) {
	t.Helper()
	if shingle.CodeOf(err) != code {
		t.Fatalf("got %v, want %s", err, code)
	}
}

func wantOrders(t *testing.T, c *testCA, n int64) {
	t.Helper()
	if got := c.orders.Load(); got != n {
		t.Fatalf("%d orders, want %d", got, n)
	}
}

// landed waits until no issuance is under way for host.
func landed(m *Manager, host string) {
	m.issues.mu.Lock()
	f := m.issues.running[host]
	m.issues.mu.Unlock()
	if f != nil {
		<-f.ended
	}
}

func TestClose_EndsIssuances(t *testing.T) {
	f := newFixture(t)
	arrived, release := f.ca.hold()
	m := f.start()
	result := make(chan error)
	go func() {
		_, err := m.Certificate(t.Context(), testHost)
		result <- err
	}()
	<-arrived
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, <-result, shingle.CodeUnavailable)
	if stacks := goroutines(); strings.Contains(stacks, "certs.(*flights)") || strings.Contains(stacks, "certs.(*Manager)") {
		t.Errorf("goroutines left:\n%s", stacks)
	}
	_, err := m.Certificate(t.Context(), testHost)
	wantCode(t, err, shingle.CodeUnavailable)
	release()
	must(t, f.start(), testHost) // nothing is stuck
}

func goroutines() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

func TestNew_RefusesBadConfig(t *testing.T) {
	f := newFixture(t)
	good := f.start().cfg
	for name, spoil := range map[string]func(*Config){
		"blobs":      func(c *Config) { c.Blobs = nil },
		"master key": func(c *Config) { c.MasterKey = nil },
		"directory":  func(c *Config) { c.CAs = []CA{{Directory: "http://ca.example/dir"}} },
		"terms":      func(c *Config) { c.TermsAgreed = false },
		"times":      func(c *Config) { c.RetryDelay = -1 },
		"sizes":      func(c *Config) { c.CacheBytes = 1 },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := New(cfg); !errors.Is(err, shingle.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
