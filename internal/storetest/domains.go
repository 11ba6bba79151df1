package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// TestDomainStore checks the sentences of [shingle.DomainStore]. open returns
// an empty store that the test's end closes.
func TestDomainStore(t *testing.T, open func(t *testing.T) shingle.DomainStore) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, shingle.DomainStore)
	}{
		{"Create", testCreate},
		{"UpdateComparesVersions", testUpdate},
		{"SetupGenerationOnlyGrows", testSetupGeneration},
		{"DeleteComparesVersions", testDeleteDomain},
		{"FieldsComeBackWhole", testFields},
		{"Paging", testPaging},
		{"Orders", testOrders},
		{"OrdersFollowWrites", testOrdersFollowWrites},
		{"Counts", testCounts},
		{"OrdersUnderWriters", testOrdersUnderWriters},
		{"OneCreatorWins", testOneCreatorWins},
		{"OneWriterWins", testOneWriterWins},
		{"NoLostUpdate", testNoLostDomainUpdate},
		{"EndedContext", testEndedContext},
		{"CancelledInFlight", testCancelledInFlight},
		{"FeedSaysWhatHappened", testFeed},
		{"FeedOfAnEmptyStore", testEmptyFeed},
		{"FeedOfAnotherStore", testForeignCursor},
		{"FeedLeavesOutWhatFailed", testFeedOfFailures},
		{"FeedIsCompleteAndOrdered", testFeedUnderWriters},
		{"HeadThenDomainsThenChangesMissesNothing", testFollow},
		{"ResultsAreCopies", testResultsAreCopies},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

const host = "a.example.com"

func testCreate(t *testing.T, s shingle.DomainStore) {
	ctx := t.Context()
	_, err := s.Domain(ctx, host)
	is(t, err, shingle.ErrNotFound)
	// Version and times of the argument do not count.
	got, err := s.CreateDomain(ctx, shingle.Domain{Host: host, Tenant: "acme", Version: 77, CreatedAt: now.Add(-time.Hour)}, now)
	check(t, err)
	want := shingle.Domain{Host: host, Tenant: "acme", Version: 1, CreatedAt: stored, UpdatedAt: stored}
	same(t, got, want)
	isStored(t, s, want)

	_, err = s.CreateDomain(ctx, shingle.Domain{Host: host, Tenant: "other"}, now.Add(time.Hour))
	is(t, err, shingle.ErrExists)
	isStored(t, s, want)
}

func testUpdate(t *testing.T, s shingle.DomainStore) {
	ctx := t.Context()
	_, err := s.UpdateDomain(ctx, shingle.Domain{Host: host, Version: 1}, now)
	is(t, err, shingle.ErrNotFound)
	_, err = s.Domain(ctx, host)
	is(t, err, shingle.ErrNotFound)

	d := create(t, s, host)
	d.Tenant, d.Paused, d.CreatedAt = "acme", true, time.Time{}
	got, err := s.UpdateDomain(ctx, d, now.Add(time.Hour))
	check(t, err)
	want := shingle.Domain{Host: host, Tenant: "acme", Paused: true, Version: 2, CreatedAt: stored, UpdatedAt: stored.Add(time.Hour), SetupGeneration: 1}
	same(t, got, want)
	isStored(t, s, want)

	for _, version := range []int64{0, 1, 3} {
		_, err = s.UpdateDomain(ctx, shingle.Domain{Host: host, Tenant: "late", Version: version}, now)
		is(t, err, shingle.ErrConflict)
	}
	isStored(t, s, want)
}

// testSetupGeneration has a domain go from one tenant to another and back, which no
// link made for the first survives, whatever a writer says of it.
func testSetupGeneration(t *testing.T, s shingle.DomainStore) {
	ctx := t.Context()
	d, err := s.CreateDomain(ctx, shingle.Domain{Host: host, Tenant: "acme"}, now)
	check(t, err)
	for _, step := range []struct {
		tenant     string
		said, want int64
	}{{"acme", 0, 0}, {"rival", 0, 1}, {"acme", 0, 2}, {"acme", 0, 2}, {"acme", 3, 3}, {"acme", 1, 3}, {"", 9, 4}} {
		d.Tenant, d.SetupGeneration = step.tenant, step.said
		d, err = s.UpdateDomain(ctx, d, now)
		check(t, err)
		same(t, d.SetupGeneration, step.want)
		isStored(t, s, d)
	}
}

func testDeleteDomain(t *testing.T, s shingle.DomainStore) {
	ctx := t.Context()
	is(t, s.DeleteDomain(ctx, host, 0, "", now), shingle.ErrNotFound)
	is(t, s.DeleteDomain(ctx, host, 1, "", now), shingle.ErrNotFound)
	d, err := s.UpdateDomain(ctx, create(t, s, host), now)
	check(t, err)
	is(t, s.DeleteDomain(ctx, host, 1, "", now), shingle.ErrConflict)
	isStored(t, s, d)
	check(t, s.DeleteDomain(ctx, host, 2, "", now))
	_, err = s.Domain(ctx, host)
	is(t, err, shingle.ErrNotFound)
	is(t, s.DeleteDomain(ctx, host, 2, "", now), shingle.ErrNotFound)

	_, err = s.UpdateDomain(ctx, create(t, s, host), now) // counts from 1 again
	check(t, err)
	check(t, s.DeleteDomain(ctx, host, 0, "", now))
	_, err = s.Domain(ctx, host)
	is(t, err, shingle.ErrNotFound)
}

func testFields(t *testing.T, s shingle.DomainStore) {
	label := strings.Repeat("l", 62) + "."
	longest := strings.Repeat(label, 4)[:shingle.MaxHost-4] + ".org"
	for _, d := range []shingle.Domain{
		{Host: "all.example.com", Tenant: "Acme:eu@1", Origin: "https://[2001:db8::1]:8443", Redirect: "b.example.com", Paused: true, UpdatedBy: "token1", SetupGeneration: 1 << 40, Settings: `{"tags":["eu"],"metadata":{"name":"B\u00fccher \u003cb\u003e"}}`},
		{Host: "large.example.com", Settings: shingle.SettingsText(`"` + strings.Repeat("ü", shingle.MaxSettings/2-1) + `"`)},
		{Host: "xn--bcher-kva.example.com", Origin: "http://origin.example.com"},
		{Host: longest, Tenant: strings.Repeat("T", shingle.MaxTenant), Origin: "https://" + longest, Redirect: "r" + longest[1:]},
	} {
		_, err := s.CreateDomain(t.Context(), d, now)
		check(t, err)
		d.Version, d.CreatedAt, d.UpdatedAt = 1, stored, stored
		isStored(t, s, d)
	}
}

func testPaging(t *testing.T, s shingle.DomainStore) {
	ctx := t.Context()
	list, err := s.Domains(ctx, "", 10)
	check(t, err)
	same(t, len(list), 0)
	sorted := []string{"a-b.example.com", "a.example.com", "a0.example.com", "aa.example.com", "b.example.com"}
	for _, i := range []int{3, 1, 4, 0, 2} {
		create(t, s, sorted[i])
	}
	create(t, s, "gone.example.com")
	check(t, s.DeleteDomain(ctx, "gone.example.com", 0, "", now))
	for _, tt := range []struct {
		after string
		limit int
		want  []string
	}{
		{"", pageLimit, sorted},
		{"", 2, sorted[:2]},
		{sorted[1], 2, sorted[2:4]},
		{"a.example.con", 1, sorted[2:3]}, // a host that is not there
		{sorted[3], 2, sorted[4:]},
		{sorted[4], 2, nil},
	} {
		list, err := s.Domains(ctx, tt.after, tt.limit)
		check(t, err)
		var hosts []string
		for _, d := range list {
			hosts = append(hosts, d.Host)
			isStored(t, s, d)
		}
		same(t, hosts, tt.want)
	}
}

func testOneCreatorWins(t *testing.T, s shingle.DomainStore) {
	for round := range 5 {
		wins := race(8, func(i int) bool {
			_, err := s.CreateDomain(t.Context(), shingle.Domain{Host: host, Tenant: fmt.Sprint("t", i)}, now)
			return won(t, err, shingle.ErrExists)
		})
		if wins != 1 {
			t.Fatalf("round %d: %d creators won", round, wins)
		}
		check(t, s.DeleteDomain(t.Context(), host, 1, "", now))
	}
}

// testOneWriterWins lets updates and deletes race from the same version.
func testOneWriterWins(t *testing.T, s shingle.DomainStore) {
	for round := range 5 {
		d := create(t, s, host)
		wins := race(8, func(i int) bool {
			if i%2 == 0 {
				_, err := s.UpdateDomain(t.Context(), d, now)
				return won(t, err, shingle.ErrConflict, shingle.ErrNotFound)
			}
			return won(t, s.DeleteDomain(t.Context(), host, d.Version, "", now), shingle.ErrConflict, shingle.ErrNotFound)
		})
		if wins != 1 {
			t.Fatalf("round %d: %d writers won", round, wins)
		}
		if err := s.DeleteDomain(t.Context(), host, 0, "", now); !errors.Is(err, shingle.ErrNotFound) {
			check(t, err)
		}
	}
}

// testNoLostDomainUpdate counts up in a field, from several goroutines.
func testNoLostDomainUpdate(t *testing.T, s shingle.DomainStore) {
	const writers, rounds = 6, 5
	create(t, s, host)
	race(writers, func(int) bool {
		for done := 0; done < rounds; {
			d, err := s.Domain(t.Context(), host)
			if err == nil {
				runtime.Gosched()              // let others in between, in a fast store too
				n, _ := strconv.Atoi(d.Tenant) // the first is empty: 0
				d.Tenant = strconv.Itoa(n + 1)
				_, err = s.UpdateDomain(t.Context(), d, now)
			}
			if won(t, err, shingle.ErrConflict) {
				done++
			} else if !errors.Is(err, shingle.ErrConflict) {
				return false
			}
		}
		return true
	})
	d, err := s.Domain(t.Context(), host)
	check(t, err)
	same(t, d.Tenant, strconv.Itoa(writers*rounds))
	same(t, d.Version, int64(1+writers*rounds))
}

func testEndedContext(t *testing.T, s shingle.DomainStore) {
	d := create(t, s, host)
	head, err := s.Head(t.Context())
	check(t, err)
	ctx, errs := ended(t), map[string]error{}
	_, errs["CreateDomain"] = s.CreateDomain(ctx, shingle.Domain{Host: "b.example.com"}, now)
	_, errs["Domain"] = s.Domain(ctx, host)
	_, errs["UpdateDomain"] = s.UpdateDomain(ctx, d, now)
	_, errs["Domains"] = s.Domains(ctx, "", 10)
	_, errs["FindDomains"] = s.FindDomains(ctx, shingle.DomainQuery{Order: shingle.NewestFirst, Limit: 10})
	_, errs["Head"] = s.Head(ctx)
	_, _, errs["Changes"] = s.Changes(ctx, head, 10)
	errs["DeleteDomain"] = s.DeleteDomain(ctx, host, 0, "", now)
	refusals(t, errs)
	create(t, s, "after.example.com")
}

// testCancelledInFlight ends the context in the middle of writes. What was
// acknowledged must be there, with its change, and the store goes on working.
func testCancelledInFlight(t *testing.T, s shingle.DomainStore) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var acknowledged sync.Map
	race(8, func(w int) bool {
		for i := range 100 {
			d, err := s.CreateDomain(ctx, shingle.Domain{Host: fmt.Sprintf("h%d-%d.example.com", w, i)}, now)
			if err != nil {
				return false
			}
			acknowledged.Store(d.Host, d)
			if i == 3 {
				cancel()
			}
		}
		return true
	})
	if ctx.Err() == nil {
		t.Fatal("no writer got far enough")
	}
	create(t, s, "after.example.com")
	f := follower{t: t, store: s}
	f.toTheEnd()
	for h, d := range acknowledged.Range {
		isStored(t, s, d.(shingle.Domain))
		same(t, f.rows[h.(string)], d)
	}
	same(t, f.rows, allRows(t, s))
}

// create stores a domain that has only a host.
func create(t *testing.T, s shingle.DomainStore, host string) shingle.Domain {
	t.Helper()
	d, err := s.CreateDomain(t.Context(), shingle.Domain{Host: host}, now)
	check(t, err)
	return d
}

// isStored checks what the row is.
func isStored(t *testing.T, s shingle.DomainStore, want shingle.Domain) {
	t.Helper()
	got, err := s.Domain(t.Context(), want.Host)
	check(t, err)
	same(t, got, want)
}

// allRows reads all domains, page by page.
func allRows(t *testing.T, s shingle.DomainStore) map[string]shingle.Domain {
	t.Helper()
	rows := map[string]shingle.Domain{}
	for after := ""; ; {
		page, err := s.Domains(t.Context(), after, 7)
		check(t, err)
		if len(page) == 0 {
			return rows
		}
		for _, d := range page {
			if d.Host <= after {
				t.Fatalf("%q came after %q", d.Host, after)
			}
			rows[d.Host], after = d, d.Host
		}
	}
}

// testCounts counts the domains of tenants that come and go.
func testCounts(t *testing.T, s shingle.DomainStore) {
	counter, ok := s.(shingle.DomainCounter)
	if !ok {
		t.Fatal("it does not count")
	}
	want := func(tenant string, most, want int) {
		t.Helper()
		n, err := counter.CountDomains(t.Context(), tenant, most)
		if check(t, err); n != want {
			t.Errorf("%d domains of %q, at most %d: want %d", n, tenant, most, want)
		}
	}
	want("acme", 10, 0)
	for n := range 7 {
		tenant := []string{"acme", "", "acme2"}[n%3]
		_, err := s.CreateDomain(t.Context(), shingle.Domain{Host: fmt.Sprintf("h%d.example.com", n), Tenant: tenant}, now)
		check(t, err)
	}
	want("acme", 10, 3)
	want("acme", 2, 2)
	want("acme2", 1, 1)
	want("acme2", 10, 2)
	_, err := s.UpdateDomain(t.Context(), shingle.Domain{Host: "h0.example.com", Tenant: "acme2", Version: 1}, now)
	check(t, err)
	check(t, s.DeleteDomain(t.Context(), "h3.example.com", 0, "", now))
	want("acme", 10, 1)
	want("acme2", 10, 3)
}
