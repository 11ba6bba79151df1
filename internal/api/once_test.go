package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

func TestOnce_TheSameRequestIsAnsweredAsBefore(t *testing.T) {
	blobs := &memory.Store{}
	now := clock
	var mu sync.Mutex
	s := open(t, &memory.Store{}, func(c *api.Config) {
		c.Blobs = blobs
		c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	create := func(key, body string) reply { return s.do("POST", "/v1/domains", body, "Idempotency-Key", key) }
	first := s.want(201, create("k1", `{"host":"a.example.com"}`))
	again := s.want(201, create(`"k1"`, `{"host":"a.example.com"}`)) // as the draft writes it
	if again.text != first.text || again.Header.Get("ETag") != first.Header.Get("ETag") || again.Header.Get("Location") != first.Header.Get("Location") ||
		again.Header.Get("Idempotency-Replayed") != "true" || first.Header.Get("Idempotency-Replayed") != "" {
		t.Errorf("first %v %s\nagain %v %s", first.Header, first.text, again.Header, again.text)
	}
	s.want(409, create("k2", `{"host":"a.example.com"}`))
	s.want(409, create("k2", `{"host":"a.example.com"}`)) // a refusal is an answer too
	for _, body := range []string{`{"host":"b.example.com"}`, `{"host":"a.example.com"} `} {
		r := s.want(422, create("k1", body))
		if !strings.Contains(r.text, "header.Idempotency-Key") {
			t.Errorf("another request: %s", r.text)
		}
	}
	for _, key := range []string{"a b", strings.Repeat("x", 256), `"`} {
		s.want(422, create(key, `{"host":"c.example.com"}`))
	}
	// Another token's key is another key.
	other := s.as(shingle.RoleOperator, "")
	other.want(409, other.do("POST", "/v1/domains", `{"host":"a.example.com"}`, "Idempotency-Key", "k1"))
	// Secrets are in the answer, and nowhere else.
	made := s.want(201, s.do("POST", "/v1/tokens", `{"name":"x","role":"read"}`, "Idempotency-Key", "k3"))
	if s.want(201, s.do("POST", "/v1/tokens", `{"name":"x","role":"read"}`, "Idempotency-Key", "k3")).text != made.text {
		t.Error("another token was made")
	}
	keys, err := blobs.List(t.Context(), "", "", 100)
	check(t, err)
	for _, key := range keys {
		b, err := blobs.Get(t.Context(), key)
		check(t, err)
		if strings.Contains(key+string(b.Value), "shingle_") || strings.Contains(string(b.Value), "example.com") {
			t.Errorf("%s: %s", key, b.Value)
		}
	}
	// After two days all of it is gone.
	mu.Lock()
	now = now.Add(48 * time.Hour)
	mu.Unlock()
	s.want(409, create("k1", `{"host":"a.example.com"}`))
	if keys, err := blobs.List(t.Context(), "", "", 100); err != nil || len(keys) != 1 {
		t.Errorf("left: %q, %v", keys, err)
	}
}

// TestOnce_AtMidnightClocksMayDiffer has a process answer for which it is tomorrow, and
// the request sent again to one for which it is not.
func TestOnce_AtMidnightClocksMayDiffer(t *testing.T) {
	midnight := clock.Truncate(24 * time.Hour).Add(24 * time.Hour)
	var at atomic.Int64
	s := open(t, &memory.Store{}, func(c *api.Config) {
		c.Blobs, c.Now = &memory.Store{}, func() time.Time { return midnight.Add(time.Duration(at.Load())) }
	})
	for _, behind := range []time.Duration{10 * time.Second, -10 * time.Second, 10 * time.Second} {
		at.Store(int64(behind))
		s.want(201, s.do("POST", "/v1/domains", `{"host":"a.example.com"}`, "Idempotency-Key", "k"))
	}
}

func TestOnce_OneOfManyAtOnceIsCarriedOut(t *testing.T) {
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Blobs = &memory.Store{} })
	codes := make([]int, 20)
	var all sync.WaitGroup
	for i := range codes {
		all.Go(func() {
			codes[i] = s.do("POST", "/v1/domains", `{"host":"a.example.com"}`, "Idempotency-Key", "k").StatusCode
		})
	}
	all.Wait()
	for _, code := range codes {
		if code != http.StatusCreated && code != http.StatusConflict {
			t.Errorf("answers %v", codes)
		}
	}
	if !slices.Contains(codes, http.StatusCreated) {
		t.Errorf("answers %v", codes)
	}
	s.want(201, s.do("POST", "/v1/domains", `{"host":"a.example.com"}`, "Idempotency-Key", "k"))
}

func TestOnce_WhatFailedIsTriedAgain(t *testing.T) {
	store := &storetest.FaultyDomainStore{Store: &memory.Store{}}
	s := open(t, store, func(c *api.Config) { c.Blobs = &memory.Store{} })
	store.Inject(func(context.Context, string, string, func() error) error { return errors.New("away") })
	s.want(500, s.do("POST", "/v1/domains", `{"host":"a.example.com"}`, "Idempotency-Key", "k"))
	store.Inject(func(context.Context, string, string, func() error) error { panic("fault") })
	s.want(500, s.do("POST", "/v1/domains", `{"host":"a.example.com"}`, "Idempotency-Key", "k"))
	store.Inject(nil)
	s.want(201, s.do("POST", "/v1/domains", `{"host":"a.example.com"}`, "Idempotency-Key", "k"))
}

func TestRateLimit(t *testing.T) {
	now := clock
	s := open(t, &memory.Store{}, func(c *api.Config) { c.RateLimit, c.Now = 10, func() time.Time { return now } })
	for i := range 100 {
		r := s.want(200, s.do("GET", "/v1/domains", ""))
		same(t, r.Header.Get("RateLimit-Policy"), `"token";q=100;w=10`)
		if want := fmt.Sprintf(`"token";r=%d;t=%d`, 99-i, (i+10)/10); r.Header.Get("RateLimit") != want {
			t.Fatalf("%d: %s, want %s", i, r.Header.Get("RateLimit"), want)
		}
	}
	r := s.want(429, s.do("GET", "/v1/domains", ""))
	same(t, r.Header.Get("RateLimit"), `"token";r=0;t=10`)
	same(t, r.Header.Get("Retry-After"), "1")
	s.want(200, s.do("GET", "/health", "")) // needs no token
	now = now.Add(time.Second)
	for range 10 {
		s.want(200, s.do("GET", "/v1/domains", ""))
	}
	s.want(429, s.do("GET", "/v1/domains", ""))
	now = now.Add(time.Hour)
	acme := s.as(shingle.RoleTenant, "acme")
	r = acme.want(200, acme.do("GET", "/v1/domains", ""))
	same(t, r.Header.Get("RateLimit-Policy"), `"token";q=10;w=10`)
}

// The client is slowed down, not refused.
func TestClient_WaitsForTheRateLimit(t *testing.T) {
	var seconds atomic.Int64
	s := open(t, &memory.Store{}, func(c *api.Config) {
		c.RateLimit = 1
		c.Now = func() time.Time { return clock.Add(time.Duration(seconds.Load()) * time.Second) }
	})
	for range 10 {
		s.want(200, s.do("GET", "/v1/domains", ""))
	}
	s.want(429, s.do("GET", "/v1/domains", ""))
	time.AfterFunc(500*time.Millisecond, func() { seconds.Store(5) }) // while it waits
	_, err := s.client().Domain(t.Context(), "a.example.com")
	is(t, err, shingle.ErrNotFound)
}

func TestCORS(t *testing.T) {
	const page = "https://panel.example.com"
	preflight := []string{"Authorization", "", "Access-Control-Request-Method", "POST", "Origin", page}
	off := open(t, &memory.Store{})
	r := off.want(401, off.do("OPTIONS", "/v1/domains", "", preflight...))
	same(t, r.Header.Get("Access-Control-Allow-Origin"), "")

	s := open(t, &memory.Store{}, func(c *api.Config) { c.PageOrigins = []string{page} })
	r = s.want(204, s.do("OPTIONS", "/v1/domains", "", preflight...))
	same(t, r.Header.Get("Access-Control-Allow-Origin"), page)
	if !strings.Contains(r.Header.Get("Access-Control-Allow-Headers"), "Authorization") || r.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%v", r.Header)
	}
	r = s.want(401, s.do("GET", "/v1/domains", "", "Authorization", "", "Origin", page))
	same(t, r.Header.Get("Access-Control-Allow-Origin"), page) // so that the page can read the problem
	for _, other := range []string{"https://evil.example.com", "null", page + ".evil.example.com"} {
		r = s.want(200, s.do("GET", "/v1/domains", "", "Origin", other))
		same(t, r.Header.Get("Access-Control-Allow-Origin"), "")
		same(t, r.Header.Get("Vary"), "Origin")
	}
}
