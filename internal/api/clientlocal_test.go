package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

func TestLocalClient_IsOneAmongOthers(t *testing.T) {
	keeper, text := newTokens(t, time.Now)
	h, err := api.New(api.Config{Store: &memory.Store{}, Tokens: keeper, Statuses: &states{}})
	check(t, err)
	c, err := api.NewLocalClient(h, text, &http.Request{RemoteAddr: "192.0.2.1:1234"})
	check(t, err)
	ctx := t.Context()
	for _, host := range []string{"h3.example.com", "h4.example.com"} {
		_, err := c.CreateDomain(ctx, api.NewDomain{Host: host, Tenant: "acme"})
		check(t, err)
	}
	page, err := c.DomainPage(ctx, api.DomainQuery{FilterInput: api.FilterInput{Who: "customer", Tenant: "acme"}, Limit: 10})
	check(t, err)
	if len(page.Domains) != 1 || page.Domains[0].Host != "h4.example.com" || page.Domains[0].Status == nil {
		t.Fatalf("got %+v", page)
	}
	was := page.Domains[0].ETag()
	paused := true
	_, err = c.UpdateDomainIf(ctx, "h4.example.com", was, api.DomainPatch{Paused: &paused})
	check(t, err)
	_, err = c.UpdateDomainIf(ctx, "h4.example.com", was, api.DomainPatch{Paused: new(bool)})
	is(t, err, shingle.ErrConflict)

	// Wrong tokens are bounded by where whoever sends them is, as they are from outside.
	for _, from := range []string{"192.0.2.2:1", "192.0.2.3:1"} {
		limited := false
		for range 60 {
			wrong, err := api.NewLocalClient(h, "shingle_abcdefghij_wrong", &http.Request{RemoteAddr: from})
			check(t, err)
			_, err = wrong.OwnToken(ctx)
			limited = limited || shingle.CodeOf(err) == shingle.CodeLimited
		}
		if !limited {
			t.Errorf("%s may guess without an end", from)
		}
	}
	_, err = c.OwnToken(ctx)
	check(t, err)
}

func TestLocalClient_DoesNotWaitForALimit(t *testing.T) {
	calls := 0
	c, err := api.NewLocalClient(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = w.Write([]byte(`{"code":"limited","detail":"too many"}`))
	}), "shingle_x_y", &http.Request{})
	check(t, err)
	_, err = c.OwnToken(t.Context())
	is(t, err, shingle.ErrLimited)
	same(t, calls, 1)
}
