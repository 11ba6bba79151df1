// Package storetest holds the conformance suites of the two storage contracts.
// Every backend and every fake runs them.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.FixedZone("", 3600))

// TestDomainStore checks the sentences of [shingle.DomainStore]. open returns
// an empty store that the test's end closes.
func TestDomainStore(t *testing.T, open func(*testing.T) shingle.DomainStore) {
	for name, test := range map[string]func(*testing.T, shingle.DomainStore){
		"RowsAndVersions": testRows, "Paging": testPaging, "FeedIsCompleteAndOrdered": testFeed,
		"OneWriterWins": testOneWriterWins, "Tokens": testTokens, "EndedContext": testEndedContext,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func testRows(t *testing.T, s shingle.DomainStore) {
	ctx := t.Context()
	d := shingle.Domain{Host: "a.example.com", Tenant: "acme", Origin: "https://o.example.com", Redirect: "b.example.com", Paused: true, Version: 77}
	got, err := s.CreateDomain(ctx, d, now)
	check(t, err)
	d.Version, d.CreatedAt = 1, now.UTC().Truncate(time.Microsecond)
	d.UpdatedAt = d.CreatedAt
	same(t, got, d)
	got, err = s.Domain(ctx, d.Host)
	check(t, err)
	same(t, got, d)

	_, err = s.CreateDomain(ctx, d, now)
	is(t, err, shingle.ErrExists)
	_, err = s.Domain(ctx, "b.example.com")
	is(t, err, shingle.ErrNotFound)
	_, err = s.UpdateDomain(ctx, shingle.Domain{Host: "b.example.com", Version: 1}, now)
	is(t, err, shingle.ErrNotFound)

	d.Tenant, d.Paused = "other", false
	got, err = s.UpdateDomain(ctx, d, now.Add(time.Hour))
	check(t, err)
	d.Version, d.UpdatedAt = 2, d.CreatedAt.Add(time.Hour)
	same(t, got, d)
	stale := d
	stale.Version = 1
	_, err = s.UpdateDomain(ctx, stale, now)
	is(t, err, shingle.ErrConflict)

	is(t, s.DeleteDomain(ctx, d.Host, 1), shingle.ErrConflict)
	check(t, s.DeleteDomain(ctx, d.Host, 2))
	is(t, s.DeleteDomain(ctx, d.Host, 0), shingle.ErrNotFound)
	_, err = s.CreateDomain(ctx, d, now)
	check(t, err)
	check(t, s.DeleteDomain(ctx, d.Host, 0))
}

func testPaging(t *testing.T, s shingle.DomainStore) {
	ctx := t.Context()
	for _, i := range []int{3, 1, 4, 0, 2} {
		_, err := s.CreateDomain(ctx, shingle.Domain{Host: fmt.Sprintf("h%d.example.com", i)}, now)
		check(t, err)
	}
	var hosts []string
	for after := ""; ; {
		list, err := s.Domains(ctx, after, 2)
		check(t, err)
		if len(list) == 0 {
			break
		}
		if len(list) > 2 {
			t.Fatalf("a page of %d", len(list))
		}
		for _, d := range list {
			hosts = append(hosts, d.Host)
		}
		after = hosts[len(hosts)-1]
	}
	same(t, hosts, []string{"h0.example.com", "h1.example.com", "h2.example.com", "h3.example.com", "h4.example.com"})
}

// testFeed writes from several goroutines while a reader follows, and checks
// that what the reader has in the end is what the store has.
func testFeed(t *testing.T, s shingle.DomainStore) {
	ctx := t.Context()
	_, err := s.CreateDomain(ctx, shingle.Domain{Host: "before.example.com"}, now)
	check(t, err)
	head, err := s.Head(ctx)
	check(t, err)

	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 10 {
				host := fmt.Sprintf("h%d-%d.example.com", w, i)
				d, err := s.CreateDomain(ctx, shingle.Domain{Host: host}, now)
				if err == nil && i%2 == 0 {
					d.Tenant = "updated"
					_, err = s.UpdateDomain(ctx, d, now)
				}
				if err == nil && i%3 == 0 {
					err = s.DeleteDomain(ctx, host, 0)
				}
				if err != nil {
					t.Errorf("write %s: %v", host, err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()

	seen := map[string]shingle.Domain{}
	for ended := false; ; {
		select {
		case <-done:
			ended = true
		default:
		}
		list, next, err := s.Changes(ctx, head, 7)
		check(t, err)
		if len(list) == 0 && next != head {
			t.Fatal("the cursor moved without a change")
		}
		for _, c := range list {
			if old, ok := seen[c.Host]; ok && !c.Deleted && c.Domain.Version <= old.Version {
				t.Errorf("%s: version %d behind %d", c.Host, c.Domain.Version, old.Version)
			}
			seen[c.Host] = c.Domain
			if c.Deleted {
				delete(seen, c.Host)
			}
		}
		if head = next; ended && len(list) == 0 {
			break
		}
	}
	list, err := s.Domains(ctx, "", 1000)
	check(t, err)
	stored := map[string]shingle.Domain{}
	for _, d := range list {
		if d.Host != "before.example.com" {
			stored[d.Host] = d
		}
	}
	same(t, seen, stored)
	if first, _, err := s.Changes(ctx, "", 1); err != nil || len(first) != 1 || first[0].Host != "before.example.com" {
		t.Errorf("the empty cursor: %v, %v", first, err)
	}
}

func testOneWriterWins(t *testing.T, s shingle.DomainStore) {
	ctx := t.Context()
	d, err := s.CreateDomain(ctx, shingle.Domain{Host: "a.example.com"}, now)
	check(t, err)
	for range 5 {
		wins := race(8, func() bool {
			_, err := s.UpdateDomain(ctx, d, now)
			if err != nil {
				is(t, err, shingle.ErrConflict)
			}
			return err == nil
		})
		if wins != 1 {
			t.Fatalf("%d writers won", wins)
		}
		d.Version++
	}
}

func testTokens(t *testing.T, s shingle.DomainStore) {
	ctx := t.Context()
	text, tok := shingle.NewToken("label", now)
	check(t, s.PutToken(ctx, tok))
	got, err := s.Token(ctx, tok.ID)
	check(t, err)
	same(t, got, tok)
	if !got.Matches(text) {
		t.Error("the stored token does not match")
	}
	_, err = s.Token(ctx, "unknown")
	is(t, err, shingle.ErrNotFound)
}

func testEndedContext(t *testing.T, s shingle.DomainStore) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.CreateDomain(ctx, shingle.Domain{Host: "a.example.com"}, now); err == nil {
		t.Error("a write with an ended context succeeded")
	}
	_, err := s.CreateDomain(t.Context(), shingle.Domain{Host: "a.example.com"}, now)
	check(t, err)
}

// race runs f n times at once and counts how often it returned true.
func race(n int, f func() bool) (wins int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if f() {
				mu.Lock()
				wins++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return wins
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
