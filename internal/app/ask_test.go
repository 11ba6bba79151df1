package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// askAt returns a store that asks h at path, over a store that is empty.
func askAt(t *testing.T, path string, h http.HandlerFunc) *askingStore {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	s, err := newAskingStore(&memory.Store{}, srv.URL+path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func TestAsk_AnAllowedDomainIsAskedAboutOnce(t *testing.T) {
	questions := make(chan *http.Request, 2)
	s := askAt(t, "/allowed?key=a+b&domain=x", func(_ http.ResponseWriter, r *http.Request) { questions <- r })
	for range 2 {
		d, err := s.Domain(t.Context(), testHost)
		if err != nil || d.Host != testHost || d.Version != 1 || d.Tenant != "" {
			t.Errorf("got %+v, %v", d, err)
		}
	}
	if n := len(questions); n != 1 {
		t.Fatalf("%d questions, want 1", n)
	}
	r := <-questions
	want := url.Values{"key": {"a b"}, "domain": {testHost}}
	if r.Method != http.MethodGet || r.URL.Path != "/allowed" || r.URL.Query().Encode() != want.Encode() {
		t.Errorf("asked %s %s", r.Method, r.URL)
	}
	if d, err := s.DomainStore.Domain(t.Context(), testHost); err != nil || d.Version != 1 {
		t.Errorf("stored %+v, %v", d, err)
	}
	// The operator deletes it; the service still allows it.
	if err := s.DeleteDomain(t.Context(), testHost, 0, "", time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Domain(t.Context(), testHost); err != nil || len(questions) != 1 {
		t.Errorf("after the deletion: %v, %d questions", err, len(questions))
	}
}

func TestAsk_Answers(t *testing.T) {
	for status, want := range map[int]error{
		200: nil, 204: nil, 299: nil,
		400: shingle.ErrNotFound, 403: shingle.ErrNotFound, 404: shingle.ErrNotFound, 429: shingle.ErrNotFound,
		302: shingle.ErrUnavailable, 308: shingle.ErrUnavailable, 500: shingle.ErrUnavailable, 503: shingle.ErrUnavailable,
	} {
		s := askAt(t, "/", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				t.Errorf("status %d was followed to %s", status, r.URL)
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		})
		if _, err := s.Domain(t.Context(), testHost); !errors.Is(err, want) {
			t.Errorf("status %d: %v, want %v", status, err, want)
		}
		if _, err := s.DomainStore.Domain(t.Context(), testHost); (err == nil) != (want == nil) {
			t.Errorf("status %d: the row is there: %t", status, err == nil)
		}
	}
}

// TestAsk_NoAnswerIsNotANo meets a service that is slow, and one that is gone,
// and both again when they are well.
func TestAsk_NoAnswerIsNotANo(t *testing.T) {
	var well atomic.Bool
	s := askAt(t, "/?key=secret", func(_ http.ResponseWriter, r *http.Request) {
		if !well.Load() {
			<-r.Context().Done()
		}
	})
	s.timeout = 50 * time.Millisecond
	_, err := s.Domain(t.Context(), testHost)
	if !errors.Is(err, shingle.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("slow: %v", err)
	}
	s.timeout = askTimeout
	there := s.url
	s.url.Host = "127.0.0.1:1"
	_, err = s.Domain(t.Context(), testHost)
	if !errors.Is(err, shingle.ErrUnavailable) || strings.Contains(err.Error(), "secret") {
		t.Errorf("gone: %v", err)
	}
	s.url = there
	well.Store(true)
	if _, err := s.Domain(t.Context(), testHost); err != nil {
		t.Errorf("well again: %v", err)
	}
}

// TestAsk_BodyIsNotRead counts what is read of an answer without an end.
func TestAsk_BodyIsNotRead(t *testing.T) {
	left := make(chan struct{})
	s := askAt(t, "/", func(w http.ResponseWriter, _ *http.Request) {
		defer close(left)
		for page := make([]byte, 64<<10); ; {
			if _, err := w.Write(page); err != nil {
				return
			}
		}
	})
	var read atomic.Int64
	s.client.Transport = countingTransport{s.client.Transport, &read}
	if _, err := s.Domain(t.Context(), testHost); err != nil {
		t.Fatal(err)
	}
	if n := read.Load(); n > askDrain {
		t.Errorf("read %d bytes of the body", n)
	}
	<-left // by our closing the connection
}

type countingTransport struct {
	http.RoundTripper
	read *atomic.Int64
}

func (c countingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(resp.Body, c), resp.Body}
	}
	return resp, err
}

func (c countingTransport) Write(p []byte) (int, error) {
	c.read.Add(int64(len(p)))
	return len(p), nil
}

func TestAsk_ManyAtOnceMakeOneRow(t *testing.T) {
	s := askAt(t, "/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "yes") })
	var visitors sync.WaitGroup
	for range askBurst {
		visitors.Go(func() {
			if d, err := s.Domain(t.Context(), testHost); err != nil || d.Version != 1 {
				t.Errorf("got %+v, %v", d, err)
			}
		})
	}
	visitors.Wait()
	if changes, _, err := s.Changes(t.Context(), "", 1000); err != nil || len(changes) != 1 {
		t.Errorf("%d changes, %v", len(changes), err)
	}
}

func TestAsk_URL(t *testing.T) {
	for _, bad := range []string{"app.example.com", "ftp://x/", "http://", "https://x/#y", "http://x/?a;b=secret", "http://x:y/", "%"} {
		if _, err := parseAskURL(bad); err == nil || !strings.HasPrefix(err.Error(), "--ask-url: ") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestAsk_IsNotAskedAboutWildcards has a service that allows everything: it must
// not make a wildcard of it.
func TestAsk_IsNotAskedAboutWildcards(t *testing.T) {
	s := askAt(t, "/", func(http.ResponseWriter, *http.Request) { t.Error("asked") })
	if _, err := s.Domain(t.Context(), "*.customer.localhost"); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

// TestAsk_NamesBelowOneDomainAreBounded invents names below a domain that the
// service allows with all that is below it, and below one that it does not know.
func TestAsk_NamesBelowOneDomainAreBounded(t *testing.T) {
	var questions atomic.Int64
	s := askAt(t, "/", func(w http.ResponseWriter, r *http.Request) {
		questions.Add(1)
		if strings.HasSuffix(r.URL.Query().Get("domain"), ".no.example") {
			w.WriteHeader(http.StatusNotFound)
		}
	})
	s.questions = shingle.NewLimiter[string](2*rowBurst, time.Hour)
	s.rows = shingle.NewLimiter[string](rowBurst, time.Hour)
	for _, below := range []string{"yes.example", "no.example"} {
		questions.Store(0)
		for i := range 1000 {
			_, err := s.Domain(t.Context(), fmt.Sprintf("www.n%d.%s", i, below))
			if err == nil && below == "no.example" || err != nil && !errors.Is(err, shingle.ErrNotFound) && !errors.Is(err, shingle.ErrLimited) {
				t.Fatal(err)
			}
		}
		if n := questions.Load(); n != 2*rowBurst {
			t.Errorf("%s: %d questions", below, n)
		}
	}
	if list, err := s.Domains(t.Context(), "", 1000); err != nil || len(list) != rowBurst {
		t.Errorf("%d rows, %v", len(list), err)
	}
	if s.allowed.Load() != rowBurst || s.denied.Load() != 2*rowBurst || s.limited.Load() != 2000-3*rowBurst {
		t.Errorf("%d allowed, %d denied, %d limited", s.allowed.Load(), s.denied.Load(), s.limited.Load())
	}
	if _, err := s.Domain(t.Context(), "other.example"); err != nil {
		t.Errorf("another domain: %v", err)
	}
}
