package storetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// testFeed checks what the feed says of each write, from each place in it.
func testFeed(t *testing.T, s shingle.DomainStore) {
	ctx := t.Context()
	first, err := s.CreateDomain(ctx, shingle.Domain{Host: "a.example.com", Tenant: "acme", UpdatedBy: "ann"}, now)
	check(t, err)
	other := create(t, s, "b.example.com")
	second := first
	second.Origin, second.Paused, second.UpdatedBy = "https://o.example.com", true, "bob"
	second, err = s.UpdateDomain(ctx, second, now.Add(time.Minute))
	check(t, err)
	check(t, s.DeleteDomain(ctx, first.Host, second.Version, "cid", now.Add(time.Hour)))
	again := create(t, s, first.Host)
	check(t, s.DeleteDomain(ctx, other.Host, 0, "", now))
	want := []shingle.Change{
		{Host: first.Host, Domain: first, At: stored, By: "ann"},
		{Host: other.Host, Domain: other, At: stored},
		{Host: first.Host, Domain: second, Before: first, At: stored.Add(time.Minute), By: "bob"},
		{Host: first.Host, Deleted: true, Domain: shingle.Domain{Host: first.Host}, Before: second, At: stored.Add(time.Hour), By: "cid"},
		{Host: first.Host, Domain: again, At: stored},
		{Host: other.Host, Deleted: true, Domain: shingle.Domain{Host: other.Host}, Before: other, At: stored},
	}
	head, err := s.Head(ctx)
	check(t, err)

	at := []shingle.Cursor{""} // at[i] is behind the first i changes
	for i := range want {
		list, next, err := s.Changes(ctx, at[i], 1)
		check(t, err)
		same(t, list, want[i:i+1])
		at = append(at, next)
	}
	for i := range at {
		list, next, err := s.Changes(ctx, at[i], pageLimit)
		check(t, err)
		same(t, len(list), len(want)-i)
		if i < len(want) {
			same(t, list, want[i:])
			isEnd(t, s, next)
		} else {
			same(t, next, at[i])
		}
	}
	isEnd(t, s, head)
}

func testEmptyFeed(t *testing.T, s shingle.DomainStore) {
	isEnd(t, s, "")
	head, err := s.Head(t.Context())
	check(t, err)
	isEnd(t, s, head)
	d := create(t, s, host)
	for _, after := range []shingle.Cursor{"", head} {
		list, _, err := s.Changes(t.Context(), after, 10)
		check(t, err)
		same(t, list, []shingle.Change{{Host: host, Domain: d, At: stored}})
	}
}

// testForeignCursor checks that a cursor which no such store, or none with so few
// changes, has made is like one that is too old.
func testForeignCursor(t *testing.T, s shingle.DomainStore) {
	create(t, s, host)
	for _, c := range []shingle.Cursor{
		"nonsense", "-1", "1x", " 1", "999999999999", "99999999999999999999999", "\x00", "é", "d0.1",
		"d1." + shingle.Cursor(strings.Repeat("zz.", 15)) + "zz", "d1.1", "d1.",
	} {
		list, _, err := s.Changes(t.Context(), c, 10)
		if !errors.Is(err, shingle.ErrNotFound) || len(list) > 0 {
			t.Errorf("from %q: %v, %v", c, list, err)
		}
	}
}

// testFeedOfFailures checks that only a write of a domain makes a change.
func testFeedOfFailures(t *testing.T, s shingle.DomainStore) {
	ctx := t.Context()
	d := create(t, s, host)
	head, err := s.Head(ctx)
	check(t, err)
	_, err = s.CreateDomain(ctx, d, now)
	is(t, err, shingle.ErrExists)
	_, err = s.UpdateDomain(ctx, shingle.Domain{Host: host, Version: 5}, now)
	is(t, err, shingle.ErrConflict)
	_, err = s.UpdateDomain(ctx, shingle.Domain{Host: "b.example.com", Version: 1}, now)
	is(t, err, shingle.ErrNotFound)
	is(t, s.DeleteDomain(ctx, host, 5, "", now), shingle.ErrConflict)
	is(t, s.DeleteDomain(ctx, "b.example.com", 0, "", now), shingle.ErrNotFound)
	isEnd(t, s, head)
}

// testFeedUnderWriters follows the feed while several goroutines write.
// Whatever their order was, each host's changes come in the order of its
// writes, none is left out, and a second reader sees the same: of each host, for
// writes at the same time have no order that all must agree on.
func testFeedUnderWriters(t *testing.T, s shingle.DomainStore) {
	start, err := s.Head(t.Context())
	check(t, err)
	w := startWriters(t, s)
	f := follower{t: t, store: s, at: start}
	f.until(w.done)
	same(t, f.perHost(), w.wrote())
	same(t, f.rows, allRows(t, s))

	second := follower{t: t, store: s, at: start}
	second.toTheEnd()
	same(t, second.perHost(), w.wrote())
	same(t, len(second.changes), len(f.changes))
}

// testFollow is what an edge does at its start, in the middle of writes.
func testFollow(t *testing.T, s shingle.DomainStore) {
	for i := range 10 {
		create(t, s, fmt.Sprintf("before%d.example.com", i))
	}
	w := startWriters(t, s)
	<-w.first
	head, err := s.Head(t.Context())
	check(t, err)
	f := follower{t: t, store: s, at: head, rows: allRows(t, s)}
	f.until(w.done)
	same(t, f.rows, allRows(t, s))
}

func testResultsAreCopies(t *testing.T, s shingle.DomainStore) {
	d := create(t, s, host)
	for range 2 {
		rows, err := s.Domains(t.Context(), "", 10)
		check(t, err)
		same(t, rows, []shingle.Domain{d})
		rows[0] = shingle.Domain{}
		changes, _, err := s.Changes(t.Context(), "", 10)
		check(t, err)
		same(t, changes, []shingle.Change{{Host: host, Domain: d, At: stored}})
		changes[0] = shingle.Change{}
	}
}

// writers are goroutines that write hosts of their own.
type writers struct {
	first chan struct{} // closed when the first write has returned
	done  chan struct{} // closed when all have

	mu     sync.Mutex
	byHost map[string][]string // host to its writes, as describe says them
}

func startWriters(t *testing.T, s shingle.DomainStore) *writers {
	w := &writers{first: make(chan struct{}), done: make(chan struct{}), byHost: map[string][]string{}}
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			for i := range 10 {
				if err := w.write(t, s, fmt.Sprintf("h%d-%d.example.com", n, i), i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	go func() {
		all.Wait()
		close(w.done)
	}()
	t.Cleanup(func() { <-w.done })
	return w
}

// write creates a host, and updates or deletes it as its number says.
func (w *writers) write(t *testing.T, s shingle.DomainStore, host string, number int) error {
	d, err := s.CreateDomain(t.Context(), shingle.Domain{Host: host}, now)
	if err != nil {
		return fmt.Errorf("create %s: %w", host, err)
	}
	w.returned(shingle.Change{Host: host, Domain: d})
	for range number % 3 {
		if d, err = s.UpdateDomain(t.Context(), d, now); err != nil {
			return fmt.Errorf("update %s: %w", host, err)
		}
		w.returned(shingle.Change{Host: host, Domain: d})
	}
	if number%4 != 0 {
		return nil
	}
	if err := s.DeleteDomain(t.Context(), host, d.Version, "", now); err != nil {
		return fmt.Errorf("delete %s: %w", host, err)
	}
	w.returned(shingle.Change{Host: host, Deleted: true})
	return nil
}

func (w *writers) returned(c shingle.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.byHost) == 0 {
		close(w.first)
	}
	w.byHost[c.Host] = append(w.byHost[c.Host], describe(c))
}

// wrote returns all writes. It must not be called before done is closed.
func (w *writers) wrote() map[string][]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.byHost
}

func describe(c shingle.Change) string {
	if c.Deleted {
		return "deleted"
	}
	return fmt.Sprint("version ", c.Domain.Version)
}

// follower reads the feed from a cursor on, and keeps what it makes of it.
type follower struct {
	t       *testing.T
	store   shingle.DomainStore
	at      shingle.Cursor
	rows    map[string]shingle.Domain
	changes []shingle.Change
}

// until follows the feed until done is closed and its end is reached.
func (f *follower) until(done <-chan struct{}) {
	f.t.Helper()
	for {
		select {
		case <-done:
			f.toTheEnd()
			return
		default:
			f.toTheEnd()
		}
	}
}

// perHost returns the changes of each host as describe says them.
func (f *follower) perHost() map[string][]string {
	m := map[string][]string{}
	for _, c := range f.changes {
		m[c.Host] = append(m[c.Host], describe(c))
	}
	return m
}

func (f *follower) toTheEnd() {
	f.t.Helper()
	const limit = 7
	for {
		list, next, err := f.store.Changes(f.t.Context(), f.at, limit)
		check(f.t, err)
		if len(list) > limit {
			f.t.Fatalf("a page of %d, the limit was %d", len(list), limit)
		}
		if len(list) == 0 {
			same(f.t, next, f.at)
			return
		}
		if next == f.at {
			f.t.Fatalf("%d changes, and the cursor stays at %q", len(list), next)
		}
		for _, c := range list {
			f.apply(c)
		}
		f.at = next
	}
}

// apply takes in a change. Its row was written with it, so the store's own row
// cannot be older.
func (f *follower) apply(c shingle.Change) {
	f.t.Helper()
	f.changes = append(f.changes, c)
	if f.rows == nil {
		f.rows = map[string]shingle.Domain{}
	}
	delete(f.rows, c.Host)
	if c.Deleted {
		return
	}
	f.rows[c.Host] = c.Domain
	d, err := f.store.Domain(f.t.Context(), c.Host)
	if err == nil && d.Version >= c.Domain.Version || errors.Is(err, shingle.ErrNotFound) {
		return // later writes may have followed
	}
	f.t.Errorf("%s: version %d is in the feed, the row is %d, %v", c.Host, c.Domain.Version, d.Version, err)
}

// isEnd checks that nothing follows a cursor.
func isEnd(t *testing.T, s shingle.DomainStore, at shingle.Cursor) {
	t.Helper()
	list, next, err := s.Changes(t.Context(), at, 10)
	check(t, err)
	if len(list) != 0 || next != at {
		t.Errorf("%d changes behind the end, and the cursor %q became %q", len(list), at, next)
	}
}
