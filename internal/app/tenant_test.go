package app

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/events"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/tokens"
)

// eventSite is the API over a log of events, and tokens by their names.
type eventSite struct {
	t   *testing.T
	url string
	hub *events.Hub
	as  map[string]string
}

func newEventSite(t *testing.T) *eventSite {
	t.Helper()
	store := &memory.Store{}
	hub, err := events.New(events.Config{Blobs: store, Sealer: noSealer{}, Poll: 5 * time.Millisecond})
	must(t, err)
	keeper, err := tokens.New(tokens.Config{Blobs: store})
	must(t, err)
	handler, err := api.New(api.Config{Store: store, Tokens: keeper, Events: hub})
	must(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = hub.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	s := &eventSite{t, server.URL, hub, map[string]string{}}
	for _, is := range []shingle.Token{{Name: "ops", Role: shingle.RoleAdmin}, {Name: "acme", Role: shingle.RoleTenant, Tenant: "acme"}} {
		s.as[is.Name], _, err = keeper.CreateToken(t.Context(), is)
		must(t, err)
	}
	return s
}

type noSealer struct{}

func (noSealer) Seal(context.Context, []byte, string) ([]byte, error) {
	return nil, shingle.ErrUnavailable
}
func (noSealer) Open(context.Context, []byte, string) ([]byte, error) {
	return nil, shingle.ErrUnavailable
}

// get returns what is at a path for whoever has a token.
func (s *eventSite) get(who, path string) io.Reader {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+path, nil)
	must(s.t, err)
	r.Header.Set("Authorization", "Bearer "+s.as[who])
	resp, err := http.DefaultClient.Do(r)
	must(s.t, err)
	s.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s", path, resp.Status)
	}
	return resp.Body
}

func (s *eventSite) page(who, query string) (list api.EventList) {
	s.t.Helper()
	must(s.t, json.NewDecoder(s.get(who, "/v1/events?"+query)).Decode(&list))
	return list
}

// record has events happen, and waits until they are in the log.
func (s *eventSite) record(list ...shingle.Event) {
	s.t.Helper()
	for _, e := range list {
		must(s.t, s.hub.Record(s.t.Context(), e))
	}
	for waiting := true; waiting; time.Sleep(time.Millisecond) {
		var err error
		waiting, err = s.hub.Waiting(s.t.Context())
		must(s.t, err)
	}
}

// TestTenant_LearnsNothingOfAnothersEvents: not that there are any either, or when.
func TestTenant_LearnsNothingOfAnothersEvents(t *testing.T) {
	s := newEventSite(t)
	now := time.Now()
	for i, e := range []shingle.Event{
		{Host: "shop.rival.com", Tenant: "rival"}, {Host: "shop.rival.com", Tenant: "rival"},
		{Host: "sold.customer.com", Tenant: "acme"}, {Host: "sold.customer.com", Tenant: "rival"},
		{Host: "shop.acme.com", Tenant: "acme"},
	} {
		e.ID, e.Type, e.At = fmt.Sprint("evt_", i), shingle.EventDomainStatus, now.Add(time.Duration(i)*time.Second)
		s.record(e)
	}
	for host, want := range map[string]string{"shop.rival.com": "", "sold.customer.com": "evt_2", "shop.acme.com": "evt_4"} {
		var ids []string
		for after, n := "", 0; n == 0 || after != "" && n < 10; n++ {
			p := s.page("acme", "limit=1&host="+host+"&after="+after)
			for _, e := range p.Events {
				ids = append(ids, e.ID)
			}
			after = p.Next
			place, err := base64.RawURLEncoding.DecodeString(after)
			if _, id, _ := strings.Cut(string(place), "/"); err != nil || after != "" && id != "evt_2" && id != "evt_4" {
				t.Errorf("%s: another's event is at %s, %v", host, place, err)
			}
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%s: %s", host, got)
		}
	}
}

// TestTenant_SeesNotWhatADomainWasBefore has a domain go from one tenant to the next.
func TestTenant_SeesNotWhatADomainWasBefore(t *testing.T) {
	s := newEventSite(t)
	const before, after = `"before":{"tenant":"rival","origin":"https://rival.example.net","version":1}`, `"after":{"tenant":"acme","version":2}`
	moved := func(id string) shingle.Event {
		return shingle.Event{
			ID: id, Type: shingle.EventDomainUpdated, At: time.Now(), Host: "sold.customer.com", Tenant: "acme", Data: []byte("{" + before + "," + after + "}"),
		}
	}
	s.record(moved("evt_1"))
	for who, want := range map[string]string{"acme": "{" + after + "}", "ops": "{" + before + "," + after + "}"} {
		if p := s.page(who, ""); len(p.Events) != 1 || string(p.Events[0].Data) != want {
			t.Errorf("%s sees %+v", who, p.Events)
		}
	}
	lines := bufio.NewScanner(s.get("acme", "/v1/events/stream"))
	for lines.Scan() && lines.Text() != ":" { // it has begun
	}
	s.record(moved("evt_2"))
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if !strings.Contains(data, "evt_2") || strings.Contains(data, "rival") {
				t.Errorf("streamed %s", data)
			}
			break
		}
	}
}
