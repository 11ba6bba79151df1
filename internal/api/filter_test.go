package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// states are statuses: every third domain is active.
type states struct{ asked atomic.Int64 }

func (s *states) Status(_ context.Context, host string) (st shingle.Status, err error) {
	s.asked.Add(1)
	if strings.HasSuffix(host, "none.example.com") {
		return st, shingle.ErrNotFound
	}
	st.State, st.Who = shingle.StatePending, shingle.WhoCustomer
	if n := 0; sscan(host, &n) && n%3 == 0 {
		st.State, st.Who = shingle.StateActive, shingle.WhoNobody
	}
	return st, nil
}

// created is when the nth domain was created: several at once, and out of step with their names.
func created(n int) int { return n * 7 % 10 }

func sscan(host string, n *int) bool { _, err := fmt.Sscanf(host, "h%d.", n); return err == nil }

func TestList_Filters(t *testing.T) {
	for _, sort := range []string{"host", "created", "-created"} {
		t.Run(sort, func(t *testing.T) {
			store, known := &memory.Store{}, &states{}
			s := open(t, store, func(c *api.Config) { c.Statuses = known })
			for i := range 60 {
				d := shingle.Domain{Host: fmt.Sprintf("h%02d.example.com", i), Tenant: []string{"acme", "rival"}[i%2], Paused: i%5 == 0}
				_, err := store.CreateDomain(t.Context(), d, clock.Add(time.Duration(created(i))*time.Second))
				check(t, err)
			}
			for query, want := range map[string]func(i int) bool{
				"":                                func(int) bool { return true },
				"&tenant=acme":                    func(i int) bool { return i%2 == 0 },
				"&tenant=nobody":                  func(int) bool { return false },
				"&paused=true":                    func(i int) bool { return i%5 == 0 },
				"&paused=false&tenant=rival":      func(i int) bool { return i%5 != 0 && i%2 == 1 },
				"&text=H1":                        func(i int) bool { return i/10 == 1 },
				"&state=active":                   func(i int) bool { return i%3 == 0 },
				"&state=active&tenant=acme":       func(i int) bool { return i%6 == 0 },
				"&who=customer":                   func(i int) bool { return i%3 != 0 },
				"&who=customer&state=active":      func(int) bool { return false },
				"&status=true&tenant=acme":        func(i int) bool { return i%2 == 0 },
				"&state=blocked":                  func(int) bool { return false },
				"&text=7.example&tenant=rival":    func(i int) bool { return i%10 == 7 },
				"&text=nothing.like.this&limit=3": func(int) bool { return false },
			} {
				var got, expected []int
				for i := range 60 {
					if want(i) {
						expected = append(expected, i)
					}
				}
				if sort != "host" {
					slices.SortStableFunc(expected, func(a, b int) int { return created(a) - created(b) })
				}
				if sort == "-created" {
					slices.Reverse(expected)
				}
				path := "/v1/domains?limit=7&sort=" + sort
				if strings.Contains(query, "limit") {
					path = "/v1/domains?sort=" + sort
				}
				for after := ""; ; {
					var page api.DomainList
					check(t, json.Unmarshal([]byte(s.want(200, s.do("GET", path+query+"&after="+after, "")).text), &page))
					for _, d := range page.Domains {
						n := -1
						sscan(d.Host, &n)
						if got = append(got, n); (d.Status != nil) != (strings.Contains(query, "stat") || strings.Contains(query, "who")) {
							t.Errorf("%s: status %v", query, d.Status)
						}
					}
					if after = page.Next; after == "" {
						break
					}
				}
				same(t, fmt.Sprint(got), fmt.Sprint(expected))
			}
			s.want(422, s.do("GET", "/v1/domains?state=lost", ""))
			s.want(422, s.do("GET", "/v1/domains?paused=perhaps", ""))
			acme := s.as(shingle.RoleTenant, "acme")
			if r := acme.want(200, acme.do("GET", "/v1/domains?tenant=rival", "")); strings.Contains(r.text, "example.com") {
				t.Errorf("another tenant's: %s", r.text)
			}
		})
	}
}

// A filter that nothing passes costs a bounded number of reads a page.
func TestList_PageIsBounded(t *testing.T) {
	store := &memory.Store{}
	rows := make([]shingle.Domain, 12_000)
	for i := range rows {
		rows[i] = shingle.Domain{Host: fmt.Sprintf("h%05d.example.com", i), Version: 1, CreatedAt: clock, UpdatedAt: clock}
	}
	check(t, store.LoadDomains(t.Context(), rows))
	known := &states{}
	s := open(t, store, func(c *api.Config) { c.Statuses = known })
	for query, want := range map[string]int{"text=nothing": 3, "state=blocked": 13} {
		pages := 0
		known.asked.Store(0)
		for after := ""; ; {
			var page api.DomainList
			check(t, json.Unmarshal([]byte(s.want(200, s.do("GET", "/v1/domains?"+query+"&after="+after, "")).text), &page))
			before := int(known.asked.Load())
			if pages++; before > 1000*pages {
				t.Fatalf("%s: %d statuses in %d pages", query, before, pages)
			}
			if after = page.Next; after == "" {
				break
			}
		}
		if pages > want {
			t.Errorf("%s took %d pages", query, pages)
		}
	}
}

// A cursor is of one order, and another order refuses it.
func TestList_CursorIsOfItsOrder(t *testing.T) {
	store := &memory.Store{}
	for i := range 3 {
		_, err := store.CreateDomain(t.Context(), shingle.Domain{Host: fmt.Sprintf("h%d.example.com", i)}, clock)
		check(t, err)
	}
	s := open(t, store)
	for _, sort := range []string{"host", "created", "-created"} {
		var page api.DomainList
		check(t, json.Unmarshal([]byte(s.want(200, s.do("GET", "/v1/domains?limit=1&sort="+sort, "")).text), &page))
		for _, other := range []string{"host", "created", "-created"} {
			want := 422
			if other == sort {
				want = 200
			}
			s.want(want, s.do("GET", "/v1/domains?sort="+other+"&after="+page.Next, ""))
		}
	}
	s.want(422, s.do("GET", "/v1/domains?sort=updated", ""))
}
