package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/certs"
	"github.com/shingle-proxy/shingle/internal/devenv"
	"github.com/shingle-proxy/shingle/internal/keyfile"
	"github.com/shingle-proxy/shingle/internal/memory"
)

const testHost = "blog.customer.localhost"

// TestCerts_OneReachablePortIsEnough obtains certificates from a real CA that
// can reach only one of the two challenge ports.
func TestCerts_OneReachablePortIsEnough(t *testing.T) {
	for name, open := range map[string][2]bool{"http only": {true, false}, "tls only": {false, true}} {
		t.Run(name, func(t *testing.T) {
			httpListener, tlsListener := loopback(t), loopback(t)
			ca := startCA(t, httpListener, tlsListener)
			m := newManager(t, ca, &memory.Store{})
			if open[0] {
				serveHTTP01(t, m, httpListener)
			} else {
				_ = httpListener.Close()
			}
			if open[1] {
				serveTLSALPN01(t, m, tlsListener)
			} else {
				_ = tlsListener.Close()
			}
			cert, err := m.Certificate(t.Context(), testHost)
			if err != nil {
				t.Fatal(err)
			}
			verify(t, cert, ca)
		})
	}
}

// TestCerts_SurviveTheLossOfTheAccount meets a CA that has forgotten everything.
func TestCerts_SurviveTheLossOfTheAccount(t *testing.T) {
	store := &memory.Store{}
	key, err := keyfile.Open(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	thumbprints := map[string]bool{}
	for _, host := range []string{testHost, "shop.customer.localhost"} {
		httpListener := loopback(t)
		ca := startCAIn(t, dir, httpListener, loopback(t))
		m := newManagerWith(t, ca, store, key)
		serveHTTP01(t, m, httpListener)
		cert, err := m.Certificate(t.Context(), host)
		if err != nil {
			t.Fatal(err)
		}
		verify(t, cert, ca)
		auth, err := m.KeyAuthorization(t.Context(), "token")
		if err != nil {
			t.Fatal(err)
		}
		thumbprints[auth] = true
		// What the first CA issued is served without an order.
		before := ca.Orders()
		if _, err := m.Certificate(t.Context(), testHost); err != nil || ca.Orders() != before {
			t.Errorf("the first certificate: %v, %d orders", err, ca.Orders()-before)
		}
	}
	if len(thumbprints) != 1 {
		t.Error("the account key changed")
	}
}

func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func startCA(t *testing.T, httpListener, tlsListener net.Listener) *devenv.CA {
	t.Helper()
	return startCAIn(t, t.TempDir(), httpListener, tlsListener)
}

func startCAIn(t *testing.T, dir string, httpListener, tlsListener net.Listener) *devenv.CA {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	dns, err := devenv.NewDNS(devenv.DNSConfig{ZoneFile: filepath.Join(t.TempDir(), "zone.txt"), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dns.Close() })
	ca, err := devenv.NewCA(devenv.CAConfig{Dir: dir, HTTPPort: port(httpListener), TLSPort: port(tlsListener), DNSAddr: dns.Addr(), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ca.Close() })
	return ca
}

func newManager(t *testing.T, ca *devenv.CA, store shingle.Blobs) *certs.Manager {
	t.Helper()
	key, err := keyfile.Open(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	return newManagerWith(t, ca, store, key)
}

func newManagerWith(t *testing.T, ca *devenv.CA, store shingle.Blobs, key shingle.MasterKey) *certs.Manager {
	t.Helper()
	m, err := certs.New(certs.Config{
		Blobs: store, MasterKey: key, CAs: []certs.CA{{Directory: ca.DirectoryURL(), Roots: pool(t, ca)}}, TermsAgreed: true,
		HandshakeWait: time.Minute, Logger: slog.New(slog.DiscardHandler),
		Permission: shingle.PermissionFunc(func(context.Context, string) error { return nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func pool(t *testing.T, ca *devenv.CA) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(ca.RootPath())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return roots
}

func serveHTTP01(t *testing.T, m *certs.Manager, l net.Listener) {
	t.Helper()
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := m.KeyAuthorization(r.Context(), strings.TrimPrefix(r.URL.Path, "/.well-known/acme-challenge/"))
		if err != nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte(answer))
	})}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
}

func serveTLSALPN01(t *testing.T, m *certs.Manager, l net.Listener) {
	t.Helper()
	secure := tls.NewListener(l, &tls.Config{
		NextProtos: []string{"acme-tls/1"},
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return m.ChallengeCertificate(h.Context(), h.ServerName)
		},
	})
	go func() {
		for {
			c, err := secure.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_ = c.(*tls.Conn).Handshake()
				_ = c.Close()
			}
		}
	}()
}

func verify(t *testing.T, cert *tls.Certificate, ca *devenv.CA) {
	t.Helper()
	between := x509.NewCertPool()
	for _, der := range cert.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		between.AddCert(c)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool(t, ca), Intermediates: between}); err != nil {
		t.Error(err)
	}
}
