package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// countedStore counts how often tenants' domains are counted.
type countedStore struct {
	*memory.Store
	counts atomic.Int64
}

func (c *countedStore) CountDomains(ctx context.Context, tenant string, most int) (int, error) {
	c.counts.Add(1)
	return c.Store.CountDomains(ctx, tenant, most)
}

// number is how many domains a tenant has.
func number(t *testing.T, store *memory.Store, tenant string) int {
	t.Helper()
	n, err := store.CountDomains(t.Context(), tenant, 1_000_000)
	check(t, err)
	return n
}

// TestQuota_HoldsForEveryWay fills a tenant's quota, and then tries every way in.
func TestQuota_HoldsForEveryWay(t *testing.T) {
	store, l := &memory.Store{}, &lens{owners: map[string]shingle.Reason{"acme": shingle.ReasonPointsHere}}
	var ahead atomic.Int64
	cfg := func(c *api.Config) {
		c.MaxDomains, c.MaxDomainsOf = 2, map[string]int{"large": 3, "free": 0}
		c.Checker, c.Blobs, c.CloudflareZone = l, &memory.Store{}, zone
		c.Now = func() time.Time { return clock.Add(time.Duration(ahead.Load())) }
	}
	s := open(t, store, cfg)
	acme := s.as(shingle.RoleTenant, "acme")
	acme.want(201, acme.do("POST", "/v1/domains", `{"host":"a.customer.com"}`))
	s.want(201, s.do("POST", "/v1/domains", `{"host":"b.customer.com","tenant":"acme"}`))

	refused := acme.want(429, acme.do("POST", "/v1/domains", `{"host":"c.customer.com"}`))
	if !strings.Contains(refused.text, `"code":"limited"`) || !strings.Contains(refused.text, "as many domains as it may have, 2") || refused.Header.Get("Retry-After") != "" {
		t.Errorf("%s", refused.text)
	}
	acme.want(409, acme.do("POST", "/v1/domains", `{"host":"a.customer.com"}`)) // it is there: that is said first
	s.want(429, s.do("POST", "/v1/domains", `{"host":"c.customer.com","tenant":"acme"}`))
	acme.want(429, acme.do("POST", hostnamesPath, `{"hostname":"c.customer.com","ssl":{"method":"http","type":"dv"}}`))
	acme.want(429, acme.do("POST", "/v1/domains/c.customer.com/claim", `{"tenant":"acme"}`))
	s.want(201, s.do("POST", "/v1/domains", `{"host":"d.customer.com"}`)) // which is nobody's
	s.want(429, s.do("PATCH", "/v1/domains/d.customer.com", `{"tenant":"acme"}`))
	acme.want(429, acme.do("POST", "/v1/domains/d.customer.com/claim", `{"tenant":"acme"}`))
	bulk := api.Config{Store: store}
	cfg(&bulk)
	line, err := api.NewBulk(bulk).Do(t.Context(), &shingle.Job{Kind: shingle.JobCreate, By: "acme", Tenant: "acme"}, json.RawMessage(`{"host":"c.customer.com"}`), false)
	if check(t, err); line.Code != shingle.CodeLimited || line.Result != shingle.JobLineFailed {
		t.Errorf("by a job: %+v", line)
	}
	if n := number(t, store, "acme"); n != 2 {
		t.Errorf("acme has %d domains", n)
	}

	acme.want(200, acme.do("PATCH", "/v1/domains/a.customer.com", `{"redirect":"www.customer.com"}`)) // no more than before
	for n := range 5 {
		want := map[bool]int{true: 201, false: 429}[n < 3]
		s.want(want, s.do("POST", "/v1/domains", fmt.Sprintf(`{"host":"h%d.large.com","tenant":"large"}`, n)))
		s.want(201, s.do("POST", "/v1/domains", fmt.Sprintf(`{"host":"h%d.free.com","tenant":"free"}`, n)))
	}
	acme.want(204, acme.do("DELETE", "/v1/domains/a.customer.com", ""))
	ahead.Add(int64(6 * time.Second))
	acme.want(201, acme.do("POST", "/v1/domains", `{"host":"c.customer.com"}`))
}

// TestQuota_ManyAtOnce has more come at once than there is room for, to two processes.
func TestQuota_ManyAtOnce(t *testing.T) {
	const limit = 20
	store := &countedStore{Store: &memory.Store{}}
	first, second := open(t, store, func(c *api.Config) { c.MaxDomains = limit }), open(t, store, func(c *api.Config) { c.MaxDomains = limit })
	var all sync.WaitGroup
	for n := range 2 * limit {
		all.Go(func() { first.do("POST", "/v1/domains", fmt.Sprintf(`{"host":"h%d.one.com","tenant":"one"}`, n)) })
	}
	all.Wait()
	if n := number(t, store.Store, "one"); n != limit {
		t.Errorf("%d domains of one process", n)
	}
	for n := range 2 * limit {
		s := []*site{first, second}[n%2]
		s.do("POST", "/v1/domains", fmt.Sprintf(`{"host":"h%d.two.com","tenant":"two"}`, n))
	}
	if n := number(t, store.Store, "two"); n < limit || n > limit+1 {
		t.Errorf("%d domains of two processes", n)
	}
}

// TestQuota_CostsFewCounts fills a large quota, and asks on.
func TestQuota_CostsFewCounts(t *testing.T) {
	const limit = 3000
	store := &countedStore{Store: &memory.Store{}}
	cfg := api.Config{Store: store, MaxDomains: limit, Now: func() time.Time { return clock }}
	bulk := api.NewBulk(cfg)
	j := shingle.Job{Kind: shingle.JobCreate, By: "a"}
	for n := range limit + 500 {
		_, err := bulk.Do(t.Context(), &j, json.RawMessage(fmt.Sprintf(`{"host":"h%d.large.com","tenant":"large"}`, n)), false)
		check(t, err)
	}
	if n, counts := number(t, store.Store, "large"), store.counts.Load(); n != limit || counts > 100 {
		t.Errorf("%d domains, counted %d times", n, counts)
	}
}
