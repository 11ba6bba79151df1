package storetest

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Damage is a way in which rows and changes get unreadable. Each function changes what the
// store has in its own form.
type Damage struct {
	Name   string
	Row    func(t *testing.T, host string)
	Change func(t *testing.T, host string) // the last one of the host; nil: likewise not
}

// TestUnreadableDomains damages one row and one change among several, each in every way,
// and has the others go on. open returns an empty store that tells u.
func TestUnreadableDomains(t *testing.T, open func(t *testing.T, u *shingle.Unreadable) (shingle.DomainStore, []Damage)) {
	_, ways := open(t, nil)
	for n, way := range ways {
		t.Run(way.Name, func(t *testing.T) {
			u := shingle.NewUnreadable(Discard)
			s, ways := open(t, u)
			testUnreadableRow(t, s, u, ways[n])
		})
	}
}

func testUnreadableRow(t *testing.T, s shingle.DomainStore, u *shingle.Unreadable, way Damage) {
	ctx := t.Context()
	hosts := []string{"a.example.com", "b.example.com", "c.example.com", "d.example.com", "e.example.com"}
	for n, host := range hosts {
		_, err := s.CreateDomain(ctx, shingle.Domain{Host: host, Tenant: "acme"}, now.Add(time.Duration(n)*time.Second))
		check(t, err)
	}
	const bad = "c.example.com"
	good := slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return h == bad })
	from, err := s.Head(ctx)
	check(t, err)
	way.Row(t, bad)

	for _, limit := range []int{1, 2, 3, 1000} {
		for _, q := range []shingle.DomainQuery{{}, {Tenant: "acme"}, {Order: shingle.OldestFirst}, {Order: shingle.NewestFirst}, {Tenant: "acme", Order: shingle.NewestFirst}} {
			q.Limit = limit
			found := findAll(t, s, q)
			if q.Order == shingle.NewestFirst {
				slices.Reverse(found)
			}
			if q.Tenant != "" && slices.Contains([]string{"tenant", "host"}, way.Name) {
				continue // it may be nobody's
			}
			if !slices.Equal(found, good) {
				t.Errorf("%+v: %v", q, found)
			}
		}
	}
	row, err := s.Domain(ctx, bad)
	if way.Name != "host" {
		unreadable(t, "Domain", err)
		_, err = s.UpdateDomain(ctx, shingle.Domain{Host: bad, Version: max(1, row.Version)}, now)
		unreadable(t, "UpdateDomain", err)
		_, err = s.CreateDomain(ctx, shingle.Domain{Host: bad}, now)
		unreadable(t, "CreateDomain", err)
		unreadable(t, "DeleteDomain", s.DeleteDomain(ctx, bad, 0, "", now))
	}
	if !slices.ContainsFunc(u.Keys(), func(k string) bool { return strings.HasPrefix(k, "domain ") }) {
		t.Errorf("noted: %q", u.Keys())
	}

	for _, host := range []string{"a.example.com", "d.example.com", "e.example.com"} {
		_, err := s.UpdateDomain(ctx, shingle.Domain{Host: host, Tenant: "acme", Paused: true, Version: 1}, now.Add(time.Minute))
		check(t, err)
	}
	if way.Change == nil {
		return
	}
	way.Change(t, "d.example.com")
	told := map[string]shingle.Change{}
	for _, limit := range []int{1, 1000} {
		for after := from; ; {
			list, next, err := s.Changes(ctx, after, limit)
			check(t, err)
			for _, c := range list {
				told[c.Host] = c
			}
			if next == after {
				break
			}
			after = next
		}
		for _, host := range []string{"a.example.com", "d.example.com", "e.example.com"} {
			if c := told[host]; c.Deleted || c.Domain.Version != 2 || !c.Domain.Paused {
				t.Errorf("limit %d, %s: %+v", limit, host, c)
			}
		}
		clear(told)
	}
	if !slices.ContainsFunc(u.Keys(), func(k string) bool { return strings.HasPrefix(k, "change ") }) {
		t.Errorf("noted: %q", u.Keys())
	}
}

// findAll returns the hosts that q finds, page after page.
func findAll(t *testing.T, s shingle.DomainStore, q shingle.DomainQuery) (hosts []string) {
	t.Helper()
	for {
		list, err := s.FindDomains(t.Context(), q)
		check(t, err)
		for i := range list {
			hosts = append(hosts, list[i].Host)
			q.After = shingle.PlaceOf(&list[i])
		}
		if len(list) < q.Limit {
			return hosts
		}
	}
}

func unreadable(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, shingle.ErrUnreadable) {
		t.Errorf("%s: %v", what, err)
	}
}

// Discard is a logger whose lines nobody reads.
var Discard = slog.New(slog.DiscardHandler)
