package api_test

import (
	"cmp"
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

// ledger has statuses, and an index of them that may be behind.
type ledger struct {
	statuses map[string]shingle.Status
	listed   []shingle.ListedStatus
	asked    atomic.Int64
}

func (l *ledger) add(s shingle.Status) {
	if l.statuses == nil {
		l.statuses = map[string]shingle.Status{}
	}
	l.statuses[s.Host] = s
	l.listed = append(l.listed, shingle.ListedStatus{StatusKind: shingle.StatusKind{State: s.State, Who: s.Who}, Host: s.Host, Tenant: s.Tenant, Changed: s.Changed.Truncate(time.Microsecond)})
}

func (l *ledger) Status(_ context.Context, host string) (shingle.Status, error) {
	l.asked.Add(1)
	s, ok := l.statuses[host]
	if !ok {
		return s, shingle.ErrNotFound
	}
	return s, nil
}

func (l *ledger) Listed(_ context.Context, kind shingle.StatusKind, after shingle.ListedStatus, limit int) (list []shingle.ListedStatus, err error) {
	order := func(a, b shingle.ListedStatus) int {
		return cmp.Or(-a.Changed.Compare(b.Changed), strings.Compare(a.Host+"/", b.Host+"/"))
	}
	for _, e := range l.listed {
		if e.StatusKind == kind && (after.Host == "" || order(e, after) > 0) {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, order)
	return list[:min(limit, len(list))], nil
}

// whole lists all pages.
func (s *site) whole(query string) (hosts []string) {
	s.t.Helper()
	for after := ""; ; {
		var page api.DomainList
		check(s.t, json.Unmarshal([]byte(s.want(200, s.do("GET", "/v1/domains?"+query+"&after="+after, "")).text), &page))
		for _, d := range page.Domains {
			hosts = append(hosts, d.Host)
		}
		if after = page.Next; after == "" {
			return hosts
		}
	}
}

func TestList_ByChangeOfStatus(t *testing.T) {
	store, known := &memory.Store{}, &ledger{}
	s := open(t, store, func(c *api.Config) { c.Statuses, c.StatusIndex = known, known })
	var all []shingle.Status
	for i := range 60 {
		d := shingle.Domain{Host: fmt.Sprintf("h%02d.example.com", i), Tenant: []string{"acme", "rival"}[i%2], Paused: i%5 == 0}
		_, err := store.CreateDomain(t.Context(), d, clock)
		check(t, err)
		st := shingle.Status{Host: d.Host, Tenant: d.Tenant, State: shingle.States[i%3], Who: shingle.Whos[i%4], Changed: clock.Add(time.Duration(i*7%20) * time.Millisecond)}
		known.add(st)
		all = append(all, st)
	}
	gone := shingle.Status{Host: "gone.example.com", State: shingle.StatePending, Who: shingle.WhoCustomer, Changed: clock}
	known.add(gone) // the row was deleted, and the checks have not heard
	moved := all[7]
	moved.State, moved.Changed = shingle.StateDrifting, clock.Add(-time.Second)
	known.add(moved) // the old entry is still there
	all[7] = moved
	slices.SortFunc(all, func(a, b shingle.Status) int {
		return cmp.Or(-a.Changed.Compare(b.Changed), strings.Compare(a.Host, b.Host))
	})
	for query, wanted := range map[string]func(s shingle.Status) bool{
		"":                            func(shingle.Status) bool { return true },
		"&who=operator":               func(s shingle.Status) bool { return s.Who == shingle.WhoOperator },
		"&state=issuing":              func(s shingle.Status) bool { return s.State == shingle.StateIssuing },
		"&state=drifting&who=nobody":  func(s shingle.Status) bool { return s.State == shingle.StateDrifting },
		"&tenant=acme":                func(s shingle.Status) bool { return s.Tenant == "acme" },
		"&text=h1&who=customer":       func(s shingle.Status) bool { return s.Host[1] == '1' && s.Who == shingle.WhoCustomer },
		"&state=blocked&tenant=rival": func(shingle.Status) bool { return false },
	} {
		var want []string
		for _, st := range all {
			if wanted(st) {
				want = append(want, st.Host)
			}
		}
		same(t, strings.Join(s.whole("sort=-changed&limit=7"+query), " "), strings.Join(want, " "))
		slices.Sort(want)
		if query == "" {
			continue
		}
		for _, limit := range []string{"7", "1000"} {
			same(t, strings.Join(s.whole("limit="+limit+query), " "), strings.Join(want, " "))
		}
	}
	if text := s.want(422, s.do("GET", "/v1/domains?sort=changed", "")).text; !strings.Contains(text, "sort by -changed") {
		t.Error(text)
	}
	s.want(422, open(t, store).do("GET", "/v1/domains?sort=-changed", ""))
}

// TestList_FewAmongMany finds the domains that somebody must do something about without
// looking at those that are well.
func TestList_FewAmongMany(t *testing.T) {
	store, known := &memory.Store{}, &ledger{}
	rows := make([]shingle.Domain, 12_000)
	want := []string{}
	for i := range rows {
		rows[i] = shingle.Domain{Host: fmt.Sprintf("h%05d.example.com", i), Tenant: []string{"acme", "rival"}[i%2], Version: 1, CreatedAt: clock, UpdatedAt: clock}
		st := shingle.Status{Host: rows[i].Host, Tenant: rows[i].Tenant, State: shingle.StateActive, Who: shingle.WhoNobody, Changed: clock}
		if i%3001 == 0 {
			st.Who, want = shingle.WhoOperator, append(want, st.Host)
		}
		known.add(st)
	}
	check(t, store.LoadDomains(t.Context(), rows))
	s := open(t, store, func(c *api.Config) { c.Statuses, c.StatusIndex = known, known })
	for _, query := range []string{"who=operator", "who=operator&sort=-changed", "who=operator&state=active"} {
		known.asked.Store(0)
		same(t, strings.Join(s.whole(query), " "), strings.Join(want, " "))
		if n := known.asked.Load(); n != int64(len(want)) {
			t.Errorf("%s: %d statuses were read for %d domains", query, n, len(want))
		}
	}
	counted := func(text string) string {
		var out api.StatusCounts
		check(t, json.Unmarshal([]byte(text), &out))
		return fmt.Sprint(out.Counts)
	}
	same(t, counted(s.want(200, s.do("GET", "/v1/statuses", "")).text), "[{active operator 4 false {}}]")
	acme := s.as(shingle.RoleTenant, "acme")
	same(t, counted(acme.want(200, acme.do("GET", "/v1/statuses", "")).text), "[{active operator 2 false {}}]")
	same(t, strings.Join(acme.whole("who=operator"), " "), strings.Join([]string{want[0], want[2]}, " "))
	for i := range rows[:11_000] { // most are broken: they are found row by row
		st := known.statuses[rows[i].Host]
		st.Who = shingle.WhoCustomer
		known.add(st)
	}
	if n := len(s.whole("who=customer&limit=1000")); n != 11_000 {
		t.Errorf("%d of 11000", n)
	}
	same(t, counted(s.want(200, s.do("GET", "/v1/statuses", "")).text), "[{active operator 4 false {}} {active customer 10000 true {}}]")
	s.want(404, open(t, store).do("GET", "/v1/statuses", ""))
}
