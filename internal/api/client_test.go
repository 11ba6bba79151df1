package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

const clientToken = "shingle_id_neverprintthis"

// fake is a client of a server that answers as told.
func fake(t *testing.T, h http.HandlerFunc) *api.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c, err := api.NewClient(srv.URL+"/", clientToken)
	check(t, err)
	return c
}

func TestClient_ListsMoreThanAPage(t *testing.T) {
	store := &memory.Store{}
	const n = 2000 // two full pages, and so an empty one
	for i := range n {
		_, err := store.CreateDomain(t.Context(), shingle.Domain{Host: fmt.Sprintf("h%04d.example.com", i)}, clock)
		check(t, err)
	}
	c := open(t, store).client()
	i := 0
	for d, err := range c.Domains(t.Context()) {
		check(t, err)
		if want := fmt.Sprintf("h%04d.example.com", i); d.Host != want {
			t.Fatalf("got %s, want %s", d.Host, want)
		}
		i++
	}
	same(t, i, n)
	for _, err := range c.Domains(t.Context()) {
		check(t, err)
		break // the caller may stop
	}
}

func TestClient_ErrorsKeepCodeAndField(t *testing.T) {
	c, ctx := open(t, &memory.Store{}).client(), t.Context()
	_, err := c.CreateDomain(ctx, api.NewDomain{Host: "a.example.com"})
	check(t, err)
	_, err = c.CreateDomain(ctx, api.NewDomain{Host: "a.example.com"})
	is(t, err, shingle.ErrExists)
	same(t, err.Error(), "a.example.com exists already")

	_, err = c.CreateDomain(ctx, api.NewDomain{Host: "b.example.com", Redirect: "co.uk"})
	e, ok := errors.AsType[*shingle.Error](err)
	if !ok || e.Code != shingle.CodeInvalid || e.Field != "redirect" || !strings.Contains(e.Message, "public suffix") {
		t.Errorf("got %#v", err)
	}
	for _, host := range []string{"", "..", "x/../../health", "192.0.2.1"} { // not sent: they could become another path
		_, err = c.Domain(ctx, host)
		is(t, err, shingle.ErrInvalid)
		_, err = c.UpdateDomain(ctx, host, api.DomainPatch{})
		is(t, err, shingle.ErrInvalid)
		is(t, c.DeleteDomain(ctx, host), shingle.ErrInvalid)
	}
}

func TestClient_ServerOutOfReach(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	c, err := api.NewClient(srv.URL, clientToken)
	check(t, err)
	_, err = c.Domain(t.Context(), "a.example.com")
	is(t, err, shingle.ErrUnavailable)
	if text := err.Error(); !strings.Contains(text, "is shingle running at "+srv.URL+"?") || strings.Contains(text, "\n") {
		t.Error(text)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	_, err = c.Domain(ended, "a.example.com")
	if !errors.Is(err, context.Canceled) || errors.Is(err, shingle.ErrUnavailable) {
		t.Errorf("an ended caller: %v", err)
	}
}

func TestClient_AnswersOfOthers(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed, with Authorization %q", r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	for want, h := range map[string]http.HandlerFunc{
		"answered 502 Bad Gateway": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, "<html>")
		},
		"answered 404 Not Found": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, "{}")
		},
		"answered 307 Temporary Redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		},
		"is not the one of a shingle API": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") },
		"was cut short": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "{}")
		},
		"is too large": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, io.LimitReader(blanks{}, 9<<20)) },
	} {
		_, err := fake(t, h).Domain(t.Context(), "a.example.com")
		is(t, err, shingle.ErrUnavailable)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "neverprintthis") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestClient_RepeatedCursorEnds is about a server that never says the end.
func TestClient_RepeatedCursorEnds(t *testing.T) {
	c := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"domains":[{"host":"a.example.com"}],"next":"x"}`)
	})
	var err error
	n := 0
	for _, err = range c.Domains(t.Context()) {
		if n++; n > 3 {
			t.Fatal("the list has no end")
		}
	}
	is(t, err, shingle.ErrUnavailable)
}

func TestNewClient_Refuses(t *testing.T) {
	for _, base := range []string{"", "127.0.0.1:8090", "ftp://x", "http://", "http://u:neverprintthis@x", "http://x?y", "http://x#y", "http://a b"} {
		_, err := api.NewClient(base, clientToken)
		if is(t, err, shingle.ErrInvalid); err != nil && strings.Contains(err.Error(), "neverprintthis") {
			t.Errorf("%s: %v", base, err)
		}
	}
	for _, token := range []string{"", "two\nneverprintthis", "b\x00d"} {
		_, err := api.NewClient("http://x", token)
		if is(t, err, shingle.ErrInvalid); err != nil && strings.Contains(err.Error(), "neverprintthis") {
			t.Errorf("%q: %v", token, err)
		}
	}
}

type blanks struct{}

func (blanks) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}
