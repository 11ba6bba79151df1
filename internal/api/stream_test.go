package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// follow opens a stream and returns a function that reads its next block.
func follow(s *site, path string, header ...string) (*http.Response, func() string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), "GET", s.url+path, nil)
	check(s.t, err)
	req.Header.Set("Authorization", "Bearer "+s.token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	check(s.t, err)
	s.t.Cleanup(func() { resp.Body.Close() })
	lines := bufio.NewReader(resp.Body)
	return resp, func() string {
		var block strings.Builder
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return "end"
			}
			if line == "\n" {
				return block.String()
			}
			block.WriteString(line)
		}
	}
}

func TestStream_SendsWhatHappens(t *testing.T) {
	d := &diary{happen: make(chan shingle.Event)}
	ending := make(chan struct{})
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Events, c.Ending = d, ending })
	resp, next := follow(s, "/v1/events/stream?host=A.example.com&tenant=acme", "Last-Event-ID", "at-7")
	same(t, resp.Header.Get("Content-Type"), "text/event-stream")
	same(t, next(), "retry: 2000\n")
	same(t, next(), ":\n")
	same(t, d.asked, shingle.EventFilter{Host: "a.example.com", Tenant: "acme"})
	same(t, d.after, "at-7")
	d.happen <- shingle.Event{ID: "evt_1", Type: shingle.EventDomainStatus, At: clock, Host: "a.example.com", Data: []byte(`{"text":"two\nlines"}`)}
	same(t, next(), "id: at-evt_1\nevent: domain.status\ndata: "+`{"id":"evt_1","type":"domain.status","at":"2026-11-24T12:00:00Z","host":"a.example.com","data":{"text":"two\nlines"}}`+"\n")
	close(ending)
	same(t, next(), "end")
}

func TestStream_EndsWithItsToken(t *testing.T) {
	d := &diary{idle: make(chan struct{})}
	var minutes atomic.Int64
	s := open(t, &memory.Store{}, func(c *api.Config) {
		c.Events, c.Now = d, func() time.Time { return clock.Add(time.Duration(minutes.Load()) * time.Minute) }
	})
	made, err := s.client().CreateToken(t.Context(), api.NewToken{Name: "ci", Role: "read"})
	check(t, err)
	ci := &site{t: t, url: s.url, token: made.Token, log: s.log}
	_, next := follow(ci, "/v1/events/stream")
	next()
	same(t, next(), ":\n")
	check(t, s.client().DeleteToken(t.Context(), made.ID))
	minutes.Add(1)
	d.idle <- struct{}{}
	if got := next(); !strings.Contains(got, "event: problem") || !strings.Contains(got, "unauthorized") {
		t.Errorf("got %q", got)
	}
	same(t, next(), "end")
}

func TestStream_Refusals(t *testing.T) {
	d := &diary{}
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Events = d })
	for path, want := range map[string]int{"?host=co.uk": 422, "?tenant=%20": 422, "?colour=red": 422} {
		s.want(want, s.do("GET", "/v1/events/stream"+path, ""))
	}
	acme := s.as(shingle.RoleTenant, "acme")
	acme.want(404, acme.do("GET", "/v1/events/stream?tenant=rival", ""))
	d.fail = shingle.ErrNotFound
	s.want(404, s.do("GET", "/v1/events/stream", "", "Last-Event-ID", "old"))
	same(t, d.after, "old")
}

// openStreams opens n streams until the test ends, of which so many are refused.
func openStreams(t *testing.T, h http.Handler, token string, n, refused int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	codes := make(chan int, n)
	for range n {
		go func() {
			w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/v1/events/stream", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			h.ServeHTTP(w, r)
			codes <- w.Code
		}()
	}
	for range refused {
		if code := <-codes; code != http.StatusTooManyRequests {
			t.Errorf("refused by %d", code)
		}
	}
	t.Cleanup(func() {
		cancel()
		for range n - refused {
			if code := <-codes; code != http.StatusOK {
				t.Errorf("more than %d were refused, by %d", refused, code)
			}
		}
	})
}

// TestStream_AreBounded: those of one tenant so that they leave the others enough.
func TestStream_AreBounded(t *testing.T) {
	keeper, token := newTokens(t, time.Now)
	h, err := api.New(api.Config{Store: &memory.Store{}, Tokens: keeper, Events: &diary{}})
	check(t, err)
	var own [2]string
	for i := range own {
		own[i], _, err = keeper.CreateToken(t.Context(), shingle.Token{Name: fmt.Sprint("acme", i), Role: shingle.RoleTenant, Tenant: "acme"})
		check(t, err)
	}
	openStreams(t, h, own[0], 25, 5)
	openStreams(t, h, own[1], 3, 3)
	openStreams(t, h, token, 190, 10)
}

func nothing() error { return nil }

var errEnough = errors.New("enough")

func TestClient_Follow(t *testing.T) {
	d := &diary{happen: make(chan shingle.Event, 1)}
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Events = d })
	d.happen <- shingle.Event{ID: "evt_1", Type: shingle.EventDomainStatus, At: clock, Host: "a.example.com"}
	var got api.Event
	err := s.client().Follow(t.Context(), "a.example.com", nothing, func(e api.Event) error { got = e; return errEnough })
	is(t, err, errEnough)
	same(t, got.ID, "evt_1")
	s.token = "shingle_a_b"
	is(t, s.client().Follow(t.Context(), "", nothing, func(api.Event) error { return nil }), shingle.ErrUnauthorized)
}
