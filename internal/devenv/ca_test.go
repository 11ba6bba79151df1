package devenv

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

const testHost = "shop.customer.localhost"

func TestCA_OrderVerifiesAgainstRootAlone(t *testing.T) {
	c := newTestCA(t, t.TempDir())
	client, account := c.client(t)
	issued := c.obtain(t, client, account)

	chain := parseChain(t, issued.ChainPEM)
	if len(chain) != 2 {
		t.Fatalf("chain has %d certificates, want leaf and intermediate", len(chain))
	}
	verify(t, chain, c.Pool())
	if n := c.Orders(); n != 1 {
		t.Errorf("Orders() = %d, want 1", n)
	}
	if n := c.stats(t); n != 1 {
		t.Errorf("stats say %d orders, want 1", n)
	}
	info, err := client.GetRenewalInfo(t.Context(), chain[0])
	if err != nil {
		t.Fatalf("renewal info (RFC 9773): %v", err)
	}
	if !info.HasWindow() || info.SuggestedWindow.End.After(chain[0].NotAfter) {
		t.Errorf("renewal window %v does not end before %v", info.SuggestedWindow, chain[0].NotAfter)
	}
}

func TestCA_TLSALPNIsValidated(t *testing.T) {
	c := newTestCA(t, t.TempDir())
	client, account := c.client(t)
	client.ChallengeSolvers = map[string]acmez.Solver{acme.ChallengeTypeTLSALPN01: c.tlsALPN}
	verify(t, parseChain(t, c.obtain(t, client, account).ChainPEM), c.Pool())
}

func TestCA_OldChainVerifiesAfterRestart(t *testing.T) {
	dir := t.TempDir()
	first := newTestCA(t, dir)
	client, account := first.client(t)
	old := parseChain(t, first.obtain(t, client, account).ChainPEM)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	second := newTestCA(t, dir)
	if string(second.RootPEM()) != string(first.RootPEM()) {
		t.Fatal("the root changed over a restart")
	}
	verify(t, old, second.Pool())
	client, account = second.client(t)
	verify(t, parseChain(t, second.obtain(t, client, account).ChainPEM), first.Pool())
}

func TestCA_ValidationIsReal(t *testing.T) {
	t.Setenv("PEBBLE_VA_ALWAYS_VALID", "1")
	c := newTestCA(t, t.TempDir())
	client, account := c.client(t)
	client.ChallengeSolvers = map[string]acmez.Solver{acme.ChallengeTypeHTTP01: silentSolver{}}
	if _, err := c.tryObtain(t.Context(), client, account); err == nil {
		t.Fatal("a certificate was issued though nobody answered the challenge")
	}
	if got := os.Getenv("PEBBLE_VA_ALWAYS_VALID"); got != "1" {
		t.Errorf("the environment was left as %q, want it as it was", got)
	}
}

func TestCA_RefusedRequestIsNoOrder(t *testing.T) {
	c := newTestCA(t, t.TempDir())
	resp, err := c.https().Post(strings.TrimSuffix(c.DirectoryURL(), "/dir")+newOrderPath, "application/jose+json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 400 || c.Orders() != 0 {
		t.Fatalf("status %d, %d orders, want a refusal and none", resp.StatusCode, c.Orders())
	}
}

// TestCA_DirectoryIsItsOwn has clients in one process tell two CAs apart that
// have had the same port.
func TestCA_DirectoryIsItsOwn(t *testing.T) {
	first, second := newTestCA(t, t.TempDir()), newTestCA(t, t.TempDir())
	for _, c := range []*testCA{first, second} {
		path := strings.TrimPrefix(c.DirectoryURL(), "https://"+c.listener.Addr().String())
		other := "https://" + c.listener.Addr().String() + "/other/dir"
		for url, want := range map[string]int{c.DirectoryURL(): http.StatusOK, other: http.StatusNotFound} {
			resp, err := c.https().Get(url)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s has status %d, want %d", url, resp.StatusCode, want)
			}
		}
		if c == second && strings.HasSuffix(first.DirectoryURL(), path) {
			t.Errorf("both have the directory at %s", path)
		}
	}
}

func TestCA_RootKeyIsPrivate(t *testing.T) {
	dir := t.TempDir()
	newTestCA(t, dir)
	info, err := os.Stat(filepath.Join(dir, rootKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the root key is %v, want 0600", info.Mode().Perm())
	}
}

func TestCA_BrokenRootIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	if _, err := openRoot(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := openRoot(dir); err != nil {
		t.Fatalf("reopening: %v", err)
	}
	other, err := openRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, rootFile), other.pem, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := openRoot(dir); err == nil {
		t.Fatal("a root that is not the key's was accepted")
	}
	now, err := os.ReadFile(filepath.Join(dir, rootFile))
	if err != nil || string(now) != string(other.pem) {
		t.Errorf("root.pem was rewritten (%v)", err)
	}
}

func TestCA_ConfigNamesTheKey(t *testing.T) {
	good := CAConfig{Dir: "x", HTTPPort: 1, TLSPort: 1, DNSAddr: "127.0.0.1:53", Logger: slog.New(slog.DiscardHandler)}
	for key, spoil := range map[string]func(*CAConfig){
		"Dir":         func(c *CAConfig) { c.Dir = "" },
		"HTTPPort":    func(c *CAConfig) { c.HTTPPort = 0 },
		"TLSPort":     func(c *CAConfig) { c.TLSPort = 65536 },
		"DNSAddr":     func(c *CAConfig) { c.DNSAddr = "nowhere" },
		"NonceReject": func(c *CAConfig) { c.NonceReject = 100 },
		"Logger":      func(c *CAConfig) { c.Logger = nil },
		"names":       func(c *CAConfig) { c.Profiles = []Profile{{Lifetime: time.Hour}} },
		"lifetime":    func(c *CAConfig) { c.Profiles = []Profile{{Name: "a", Lifetime: time.Millisecond}} },
		"MAC key":     func(c *CAConfig) { c.ExternalAccount = &ExternalAccount{KeyID: "a", MACKey: "!"} },
		"KeyID":       func(c *CAConfig) { c.ExternalAccount = &ExternalAccount{MACKey: "AAAA"} },
	} {
		cfg := good
		spoil(&cfg)
		if err := cfg.validate(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: got %v", key, err)
		}
	}
	if err := good.validate(); err != nil {
		t.Error(err)
	}
}

// testCA is a CA with the DNS and the two challenge ports that it validates on.
type testCA struct {
	*CA
	http01  *httpSolver
	tlsALPN *alpnSolver
}

func newTestCA(t *testing.T, dir string, change ...func(*CAConfig)) *testCA {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	dns, err := NewDNS(DNSConfig{ZoneFile: filepath.Join(t.TempDir(), "zone.txt"), Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dns.Close() })
	tc := &testCA{http01: &httpSolver{}, tlsALPN: &alpnSolver{}}
	httpPort, tlsPort := tc.http01.listen(t), tc.tlsALPN.listen(t)
	cfg := CAConfig{Dir: dir, HTTPPort: httpPort, TLSPort: tlsPort, DNSAddr: dns.Addr(), Logger: logger}
	for _, f := range change {
		f(&cfg)
	}
	tc.CA, err = NewCA(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tc.Close() })
	return tc
}

func (c *testCA) https() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: c.Pool()},
	}}
}

func (c *testCA) newClient() *acmez.Client {
	return &acmez.Client{
		Client: &acme.Client{
			Directory: c.DirectoryURL(), HTTPClient: c.https(), UserAgent: "test", PollInterval: 10 * time.Millisecond,
			Logger: slog.New(slog.DiscardHandler),
		},
		ChallengeSolvers: map[string]acmez.Solver{acme.ChallengeTypeHTTP01: c.http01},
	}
}

func (c *testCA) client(t *testing.T) (*acmez.Client, acme.Account) {
	t.Helper()
	client := c.newClient()
	account, err := client.NewAccount(t.Context(), acme.Account{TermsOfServiceAgreed: true, PrivateKey: newKey(t)})
	if err != nil {
		t.Fatal(err)
	}
	return client, account
}

func (c *testCA) obtain(t *testing.T, client *acmez.Client, account acme.Account) acme.Certificate {
	t.Helper()
	issued, err := c.tryObtain(t.Context(), client, account)
	if err != nil {
		t.Fatal(err)
	}
	return issued[0]
}

func (c *testCA) tryObtain(ctx context.Context, client *acmez.Client, account acme.Account) ([]acme.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return client.ObtainCertificateForSANs(ctx, account, key, []string{testHost})
}

func (c *testCA) stats(t *testing.T) int64 {
	t.Helper()
	resp, err := c.https().Get(c.StatsURL())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct{ Orders int64 }
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	return got.Orders
}

// silentSolver promises an answer that never comes.
type silentSolver struct{}

func (silentSolver) Present(context.Context, acme.Challenge) error { return nil }
func (silentSolver) CleanUp(context.Context, acme.Challenge) error { return nil }

// httpSolver answers HTTP-01 (RFC 8555 section 8.3).
type httpSolver struct{ answers sync.Map }

func (s *httpSolver) listen(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

func (s *httpSolver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, ok := s.answers.Load(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write([]byte(answer.(string)))
}

func (s *httpSolver) Present(_ context.Context, c acme.Challenge) error {
	s.answers.Store(c.HTTP01ResourcePath(), c.KeyAuthorization)
	return nil
}

func (s *httpSolver) CleanUp(_ context.Context, c acme.Challenge) error {
	s.answers.Delete(c.HTTP01ResourcePath())
	return nil
}

// alpnSolver answers TLS-ALPN-01 (RFC 8737).
type alpnSolver struct{ certs sync.Map }

func (s *alpnSolver) listen(t *testing.T) int {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		NextProtos: []string{acmez.ACMETLS1Protocol},
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if cert, ok := s.certs.Load(h.ServerName); ok {
				return cert.(*tls.Certificate), nil
			}
			return nil, net.ErrClosed
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = conn.(*tls.Conn).Handshake(); _ = conn.Close() }()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *alpnSolver) Present(_ context.Context, c acme.Challenge) error {
	cert, err := acmez.TLSALPN01ChallengeCert(c)
	if err == nil {
		s.certs.Store(c.Identifier.Value, cert)
	}
	return err
}

func (s *alpnSolver) CleanUp(_ context.Context, c acme.Challenge) error {
	s.certs.Delete(c.Identifier.Value)
	return nil
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func parseChain(t *testing.T, data []byte) []*x509.Certificate {
	t.Helper()
	var chain []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		t.Fatal("no certificate in the chain")
	}
	return chain
}

func verify(t *testing.T, chain []*x509.Certificate, roots *x509.CertPool) {
	t.Helper()
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: testHost, Roots: roots, Intermediates: intermediates})
	if err != nil {
		t.Errorf("verify: %v", err)
	}
}
