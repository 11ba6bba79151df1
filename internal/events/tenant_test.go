package events

import (
	"testing"

	"github.com/shingle-proxy/shingle"
)

// TestDelivery_OfATenantHasNothingOfAnother has a domain go from one tenant to the next.
func TestDelivery_OfATenantHasNothingOfAnother(t *testing.T) {
	f, own, all := newFixture(t), newReceiver(t), newReceiver(t)
	h := f.hub()
	for url, tenant := range map[string]string{own.URL: "acme", all.URL: ""} {
		_, _, err := h.CreateWebhook(t.Context(), shingle.Webhook{URL: url, Tenant: tenant})
		check(t, err)
	}
	f.run(h)
	const before, after = `"before":{"tenant":"rival","origin":"https://rival.example.net"}`, `"after":{"tenant":"acme"}`
	e := shingle.Event{ID: "evt_1", Type: shingle.EventDomainUpdated, At: f.now(), Host: "sold.customer.com", Tenant: "acme", Data: []byte("{" + before + "," + after + "}")}
	check(t, h.Record(t.Context(), e))
	if got := string(own.next(t).event.Data.Detail); got != "{"+after+"}" {
		t.Errorf("the tenant's got %s", got)
	}
	if got := string(all.next(t).event.Data.Detail); got != string(e.Data) {
		t.Errorf("the operator's got %s", got)
	}
}
