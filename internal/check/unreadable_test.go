package check

import (
	"fmt"
	"slices"
	"testing"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// TestKeeper_DamagedRecords has statuses, and the place in the change feed, be unreadable:
// all other domains are checked, and the damaged statuses stay as they are.
func TestKeeper_DamagedRecords(t *testing.T) {
	for _, damage := range []string{`{"host":`, "null", `{"host":"d1.example.com","state":"of a newer version","who":"nobody"}`} {
		t.Run(damage, func(t *testing.T) {
			h := newHousehold(t)
			u := shingle.NewUnreadable(storetest.Discard)
			h.cfg.Unreadable = u
			k := h.keeper()
			stop := h.run(k)
			for n := range 4 {
				h.add(fmt.Sprintf("d%d.example.com", n), "a")
			}
			for n := range 4 {
				h.until(k, fmt.Sprintf("d%d.example.com", n), "checked", func(s shingle.Status) bool { return !s.Checked.IsZero() })
			}
			stop()
			versions := map[string]string{}
			for _, key := range []string{statusKey("d1.example.com"), FeedPosition} {
				b, err := h.store.Get(t.Context(), key)
				if err == nil {
					versions[key], err = h.store.Put(t.Context(), key, []byte(damage), b.Version)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			d, err := h.store.Domain(t.Context(), "d1.example.com")
			if err == nil {
				_, err = h.store.UpdateDomain(t.Context(), d, h.now())
			}
			if err != nil {
				t.Fatal(err)
			}
			h.add("d4.example.com", "a")
			k = h.keeper()
			h.run(k)
			h.until(k, "d4.example.com", "checked", func(s shingle.Status) bool { return !s.Checked.IsZero() })
			d, err = h.store.Domain(t.Context(), "d2.example.com")
			if err == nil {
				d.Tenant = "b"
				_, err = h.store.UpdateDomain(t.Context(), d, h.now())
			}
			if err != nil {
				t.Fatal(err)
			}
			h.until(k, "d2.example.com", "the new tenant's", func(s shingle.Status) bool { return s.Tenant == "b" })
			key := statusKey("d1.example.com")
			if b, err := h.store.Get(t.Context(), key); err != nil || b.Version != versions[key] {
				t.Errorf("the damaged status is now %q, %v", b.Value, err)
			}
			if !slices.Contains(u.Keys(), key) {
				t.Errorf("told of %q", u.Keys())
			}
		})
	}
}
