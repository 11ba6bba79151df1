package events

import (
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
)

func TestFeed_SaysWhoChangedWhat(t *testing.T) {
	f := newFixture(t)
	store := &memory.Store{}
	f.cfg.Domains = store
	ctx := t.Context()
	d, err := store.CreateDomain(ctx, shingle.Domain{Host: "a.customer.com", Tenant: "acme", UpdatedBy: "ann"}, f.now())
	check(t, err)
	d.Paused, d.UpdatedBy = true, "bob"
	d, err = store.UpdateDomain(ctx, d, f.now().Add(time.Second))
	check(t, err)
	check(t, store.DeleteDomain(ctx, d.Host, d.Version, "cid", f.now().Add(2*time.Second)))
	h := f.hub()
	stop := f.run(h)
	until(t, "logged", func() bool { return f.count(logPrefix) == 3 })
	stop()
	list, _, err := h.Log(ctx, shingle.EventFilter{Host: d.Host}, "", 10)
	check(t, err)
	for i, want := range []struct {
		kind     shingle.EventType
		by, data string
	}{
		{shingle.EventDomainDeleted, "cid", `{"before":{"tenant":"acme","paused":true,"version":2}}`},
		{shingle.EventDomainUpdated, "bob", `{"before":{"tenant":"acme","paused":false,"version":1},"after":{"tenant":"acme","paused":true,"version":2}}`},
		{shingle.EventDomainCreated, "ann", `{"after":{"tenant":"acme","paused":false,"version":1}}`},
	} {
		if e := list[i]; e.Type != want.kind || e.By != want.by || string(e.Data) != want.data || e.Tenant != "acme" {
			t.Errorf("event %d is %+v, %s", i, e, e.Data)
		}
	}
	// A crash before the position was written makes them again: they are the same.
	check(t, h.records.Remove(ctx, h.feed().Key))
	f.run(f.hub())
	until(t, "read again", func() bool { return f.count(h.feed().Key) == 1 && f.count(outboxPrefix) == 0 })
	if n := f.count(logPrefix); n != 3 {
		t.Errorf("%d events", n)
	}
}

// TestFeed_TellsTheFormerTenant has a domain go from one tenant to another: each is told, and
// nothing of the other.
func TestFeed_TellsTheFormerTenant(t *testing.T) {
	f, former, next := newFixture(t), newReceiver(t), newReceiver(t)
	store := &memory.Store{}
	f.cfg.Domains = store
	ctx := t.Context()
	h := f.hub()
	for url, tenant := range map[string]string{former.URL: "acme", next.URL: "rival"} {
		_, _, err := h.CreateWebhook(ctx, shingle.Webhook{URL: url, Tenant: tenant, Types: []shingle.EventType{shingle.EventDomainMoved, shingle.EventDomainUpdated}})
		check(t, err)
	}
	d, err := store.CreateDomain(ctx, shingle.Domain{Host: "a.customer.com", Tenant: "acme", UpdatedBy: "ann"}, f.now())
	check(t, err)
	d.Tenant, d.UpdatedBy = "rival", "rival-token"
	_, err = store.UpdateDomain(ctx, d, f.now().Add(time.Second))
	check(t, err)
	f.run(h)
	got := former.next(t).event
	if got.Type != shingle.EventDomainMoved || strings.Contains(string(got.Data.Detail), "rival") || !strings.Contains(string(got.Data.Detail), `"tenant":"acme"`) {
		t.Errorf("the former tenant's is %+v, %s", got, got.Data.Detail)
	}
	got = next.next(t).event
	if got.Type != shingle.EventDomainUpdated || strings.Contains(string(got.Data.Detail), "acme") {
		t.Errorf("the next tenant's is %+v, %s", got, got.Data.Detail)
	}
	list, _, err := h.Log(ctx, shingle.EventFilter{Host: d.Host, Tenant: "acme"}, "", 10)
	check(t, err)
	for _, e := range list {
		if strings.Contains(e.By+string(e.ForTenant("acme").Data), "rival") {
			t.Errorf("the former tenant's log has %+v, %s", e, e.Data)
		}
	}
}
