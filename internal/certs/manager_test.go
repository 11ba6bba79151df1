package certs_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/certs"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// The flow against a real CA is tested through the binary, in cmd/shingle.
// Here is what must happen without one.

const host = "blog.customer.test"

// deadCA is a CA at which every request fails; it counts them.
func deadCA(t *testing.T) (url string, requests *atomic.Int64) {
	t.Helper()
	requests = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(s.Close)
	return s.URL, requests
}

func newManager(t *testing.T, edit func(*certs.Config)) *certs.Manager {
	t.Helper()
	sealer, err := certs.OpenKeyFile(filepath.Join(t.TempDir(), "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := certs.Config{
		Blobs: &memory.Store{}, Sealer: sealer, Directory: "http://127.0.0.1:1/dir", Logger: slog.New(slog.DiscardHandler),
		Permission: shingle.PermissionFunc(func(context.Context, string) error { return nil }),
	}
	edit(&cfg)
	m, err := certs.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func TestManager_PermissionComesBeforeTheCA(t *testing.T) {
	url, requests := deadCA(t)
	m := newManager(t, func(c *certs.Config) {
		c.Directory = url
		c.Permission = shingle.PermissionFunc(func(context.Context, string) error { return shingle.ErrForbidden })
	})
	for range 3 {
		if _, err := m.Certificate(t.Context(), host); !errors.Is(err, shingle.ErrForbidden) {
			t.Errorf("got %v", err)
		}
	}
	if n := requests.Load(); n != 0 {
		t.Errorf("%d requests to the CA", n)
	}
}

func TestManager_FailureIsNotRepeatedAtOnce(t *testing.T) {
	url, requests := deadCA(t)
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	var clock atomic.Int64
	m := newManager(t, func(c *certs.Config) {
		c.Directory = url
		c.Now = func() time.Time { return now.Add(time.Duration(clock.Load())) }
	})
	var first int64
	for i := range 10 {
		if _, err := m.Certificate(t.Context(), host); !errors.Is(err, shingle.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		if i == 0 {
			first = requests.Load()
		}
	}
	if n := requests.Load(); n != first || first == 0 {
		t.Errorf("%d requests to the CA, %d for the first attempt", n, first)
	}
	clock.Store(int64(2 * time.Minute))
	_, _ = m.Certificate(t.Context(), host)
	if n := requests.Load(); n == first {
		t.Error("no attempt after the wait")
	}
}

// failingBlobs is a store that does not answer.
type failingBlobs struct{ shingle.Blobs }

func (failingBlobs) Get(context.Context, string) (shingle.Blob, error) {
	return shingle.Blob{}, errors.New("out of reach")
}

func TestManager_StoreFailureIsNotAbsence(t *testing.T) {
	url, requests := deadCA(t)
	m := newManager(t, func(c *certs.Config) { c.Directory, c.Blobs = url, failingBlobs{} })
	if _, err := m.Certificate(t.Context(), host); !errors.Is(err, shingle.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if n := requests.Load(); n != 0 {
		t.Errorf("%d requests to the CA", n)
	}
}

func TestManager_WaitIsBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // a CA that never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	m := newManager(t, func(c *certs.Config) {
		c.Directory, c.HandshakeWait = "http://"+l.Addr().String(), time.Millisecond
	})
	if _, err := m.Certificate(t.Context(), host); !errors.Is(err, shingle.ErrUnavailable) || !strings.Contains(err.Error(), "being obtained") {
		t.Errorf("got %v", err)
	}
}

func TestManager_QueueIsBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	m := newManager(t, func(c *certs.Config) {
		c.Directory, c.HandshakeWait, c.MaxWaiting = "http://"+l.Addr().String(), time.Millisecond, 2
	})
	for _, h := range []string{"a.test", "b.test"} {
		_, _ = m.Certificate(t.Context(), h)
	}
	if _, err := m.Certificate(t.Context(), "c.test"); !errors.Is(err, shingle.ErrLimited) {
		t.Errorf("got %v", err)
	}
}

func TestManager_KeyAuthorizationTakesOnlyTokens(t *testing.T) {
	m := newManager(t, func(*certs.Config) {})
	for _, token := range []string{"", "a/b", "<script>", strings.Repeat("a", 129)} {
		if _, err := m.KeyAuthorization(t.Context(), token); !errors.Is(err, shingle.ErrNotFound) {
			t.Errorf("%q: %v", token, err)
		}
	}
	if _, err := m.KeyAuthorization(t.Context(), "token"); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("without an account: %v", err)
	}
}

func TestKeyFile_OpensOnlyWhatItSealedThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	one, err := certs.OpenKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := certs.OpenKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other, err := certs.OpenKeyFile(filepath.Join(t.TempDir(), "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := one.Seal([]byte("secret"), "certs/a")
	if err != nil || strings.Contains(string(sealed), "secret") {
		t.Fatalf("sealed to %q, %v", sealed, err)
	}
	if plain, err := again.Open(sealed, "certs/a"); err != nil || string(plain) != "secret" {
		t.Errorf("got %q, %v", plain, err)
	}
	if _, err := one.Open(sealed, "certs/b"); err == nil {
		t.Error("opened in another record")
	}
	if _, err := other.Open(sealed, "certs/a"); err == nil {
		t.Error("opened with another key")
	}
	if _, err := one.Open(sealed[:10], "certs/a"); err == nil {
		t.Error("opened a part")
	}
}
