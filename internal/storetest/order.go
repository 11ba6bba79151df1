package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

var orders = []shingle.DomainOrder{shingle.ByHost, shingle.OldestFirst, shingle.NewestFirst}

// ordered sorts rows as the contract says.
func ordered(rows []shingle.Domain, order shingle.DomainOrder) []shingle.Domain {
	slices.SortFunc(rows, func(a, b shingle.Domain) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 && order != shingle.ByHost {
			return c
		}
		return strings.Compare(a.Host, b.Host)
	})
	if order == shingle.NewestFirst {
		slices.Reverse(rows)
	}
	return rows
}

// found reads all that q wants, page by page.
func found(t *testing.T, s shingle.DomainStore, q shingle.DomainQuery) (rows []shingle.Domain) {
	t.Helper()
	for {
		page, err := s.FindDomains(t.Context(), q)
		check(t, err)
		rows = append(rows, page...)
		if len(page) < q.Limit {
			return rows
		}
		q.After = shingle.PlaceOf(&page[len(page)-1])
	}
}

// testOrders has domains of several tenants, created out of step with their names, some at
// the same moment.
func testOrders(t *testing.T, s shingle.DomainStore) {
	var rows []shingle.Domain
	for i := range 40 {
		d := shingle.Domain{Host: fmt.Sprintf("%c%d.example.com", 'a'+i*7%26, i%3), Tenant: []string{"acme", "acme2", "acm", ""}[i%4]}
		d, err := s.CreateDomain(t.Context(), d, now.Add(time.Duration(i*11%20)*time.Second))
		check(t, err)
		rows = append(rows, d)
	}
	for _, order := range orders {
		for _, tenant := range []string{"", "acme", "acm", "nobody"} {
			var want []shingle.Domain
			for _, d := range rows {
				if tenant == "" || tenant == d.Tenant {
					want = append(want, d)
				}
			}
			want = ordered(want, order)
			for _, limit := range []int{1, 3, pageLimit} {
				same(t, found(t, s, shingle.DomainQuery{Tenant: tenant, Order: order, Limit: limit}), want)
			}
		}
	}
	for _, q := range []shingle.DomainQuery{{Limit: 0}, {Limit: pageLimit + 1}, {Order: "updated", Limit: 1}} {
		_, err := s.FindDomains(t.Context(), q)
		is(t, err, shingle.ErrInvalid)
	}
}

// testOrdersFollowWrites has a domain change its tenant, go, and come back.
func testOrdersFollowWrites(t *testing.T, s shingle.DomainStore) {
	ctx := t.Context()
	others := []shingle.Domain{create(t, s, "b.example.com"), create(t, s, "c.example.com")}
	holds := func(rows ...shingle.Domain) {
		t.Helper()
		for _, order := range orders {
			same(t, found(t, s, shingle.DomainQuery{Order: order, Limit: 2}), ordered(slices.Concat(others, rows), order))
			for _, tenant := range []string{"acme", "rival"} {
				var want []shingle.Domain
				for _, d := range rows {
					if d.Tenant == tenant {
						want = append(want, d)
					}
				}
				same(t, found(t, s, shingle.DomainQuery{Order: order, Tenant: tenant, Limit: 2}), want)
			}
		}
	}
	d, err := s.CreateDomain(ctx, shingle.Domain{Host: host, Tenant: "acme"}, now.Add(time.Hour))
	check(t, err)
	holds(d)
	d.Tenant = "rival"
	d, err = s.UpdateDomain(ctx, d, now.Add(2*time.Hour))
	check(t, err)
	holds(d)
	d.Tenant = ""
	d, err = s.UpdateDomain(ctx, d, now.Add(3*time.Hour))
	check(t, err)
	holds(d)
	check(t, s.DeleteDomain(ctx, host, 0, "", now))
	holds()
	d, err = s.CreateDomain(ctx, shingle.Domain{Host: host, Tenant: "acme"}, now.Add(-time.Hour))
	check(t, err)
	holds(d)
}

// testOrdersUnderWriters has many write, and then every order agree with the rows.
func testOrdersUnderWriters(t *testing.T, s shingle.DomainStore) {
	race(6, func(w int) bool {
		for i := range 12 {
			name := fmt.Sprintf("h%d.example.com", (w+i)%5)
			d, err := s.CreateDomain(t.Context(), shingle.Domain{Host: name, Tenant: fmt.Sprint("t", w%3)}, now.Add(time.Duration(w*100+i)*time.Second))
			if won(t, err, shingle.ErrExists) && i%2 == 0 {
				d.Tenant = fmt.Sprint("t", i%3)
				_, err = s.UpdateDomain(t.Context(), d, now)
				won(t, err, shingle.ErrConflict, shingle.ErrNotFound)
			}
			if i%3 == w%3 {
				won(t, s.DeleteDomain(t.Context(), name, 0, "", now), shingle.ErrNotFound)
			}
		}
		return true
	})
	all := allRows(t, s)
	for _, order := range orders {
		seen := 0
		for _, tenant := range []string{"", "t0", "t1", "t2"} {
			rows := found(t, s, shingle.DomainQuery{Order: order, Tenant: tenant, Limit: 2})
			for i, d := range rows {
				same(t, d, all[d.Host])
				if i > 0 && ordered([]shingle.Domain{rows[i-1], d}, order)[1] != d {
					t.Errorf("%s: %s after %s", order, d.Host, rows[i-1].Host)
				}
			}
			seen += len(rows)
		}
		same(t, seen, 2*len(all)) // once among all, once among its tenant's
	}
}
