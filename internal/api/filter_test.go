package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// plainStore is a store that cannot find a tenant's domains by itself.
type plainStore struct{ shingle.DomainStore }

// states are statuses: every third domain is active.
type states struct{ asked int }

func (s *states) Status(_ context.Context, host string) (st shingle.Status, err error) {
	s.asked++
	if strings.HasSuffix(host, "none.example.com") {
		return st, shingle.ErrNotFound
	}
	st.State, st.Who = shingle.StatePending, shingle.WhoCustomer
	if n := 0; sscan(host, &n) && n%3 == 0 {
		st.State, st.Who = shingle.StateActive, shingle.WhoNobody
	}
	return st, nil
}

func sscan(host string, n *int) bool { _, err := fmt.Sscanf(host, "h%d.", n); return err == nil }

func TestList_Filters(t *testing.T) {
	for name, store := range map[string]shingle.DomainStore{"by index": &memory.Store{}, "row by row": plainStore{&memory.Store{}}} {
		t.Run(name, func(t *testing.T) {
			known := &states{}
			s := open(t, store, func(c *api.Config) { c.Statuses = known })
			for i := range 60 {
				d := shingle.Domain{Host: fmt.Sprintf("h%02d.example.com", i), Tenant: []string{"acme", "rival"}[i%2], Paused: i%5 == 0}
				_, err := store.CreateDomain(t.Context(), d, clock)
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
				var got, expected []string
				for i := range 60 {
					if want(i) {
						expected = append(expected, fmt.Sprintf("h%02d.example.com", i))
					}
				}
				path := "/v1/domains?limit=7"
				if strings.Contains(query, "limit") {
					path = "/v1/domains?"
				}
				for after := ""; ; {
					var page api.DomainList
					check(t, json.Unmarshal([]byte(s.want(200, s.do("GET", path+query+"&after="+after, "")).text), &page))
					for _, d := range page.Domains {
						if got = append(got, d.Host); (d.Status != nil) != (strings.Contains(query, "stat") || strings.Contains(query, "who")) {
							t.Errorf("%s: status %v", query, d.Status)
						}
					}
					if after = page.Next; after == "" {
						break
					}
				}
				same(t, strings.Join(got, " "), strings.Join(expected, " "))
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
		known.asked = 0
		for after := ""; ; {
			var page api.DomainList
			check(t, json.Unmarshal([]byte(s.want(200, s.do("GET", "/v1/domains?"+query+"&after="+after, "")).text), &page))
			before := known.asked
			if pages++; before > 1000*pages {
				t.Fatalf("%s: %d statuses in %d pages", query, known.asked, pages)
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
