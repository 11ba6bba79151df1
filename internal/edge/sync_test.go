package edge

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// TestFollower_MissIsRememberedAndAFailureIsNot looks up a name that the table
// does not know, with a store that fails, has no such name, and then has it.
func TestFollower_MissIsRememberedAndAFailureIsNot(t *testing.T) {
	const host = "new.example.com"
	rows := &memory.Store{}
	store := &storetest.FaultyDomainStore{Store: rows}
	table := newTable(shingle.Origin{Host: "127.0.0.1", Port: 80}, 443, nil)
	f := newFollower(&Config{Store: store, Logger: slog.New(slog.DiscardHandler)}, table)
	store.Inject(storetest.Refuse(shingle.ErrUnavailable))
	if served(f.find(t.Context(), host)) || len(f.misses) != 0 {
		t.Error("a failure is taken for an answer")
	}
	store.Inject(nil)
	if served(f.find(t.Context(), host)) || f.misses[host] == nil {
		t.Error("an unknown name is not remembered")
	}
	if _, err := rows.CreateDomain(t.Context(), shingle.Domain{Host: host}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if served(f.find(t.Context(), host)) {
		t.Error("an unknown name was looked up twice")
	}
	f.forget(host) // as its change does
	if !served(f.find(t.Context(), host)) {
		t.Error("a name that is there now is not served")
	}
}

// rewound is a store whose head is the beginning of its feed, as a replica's may
// be, and that tells of each read of the feed.
type rewound struct {
	*memory.Store
	changes func()
}

// Head implements [shingle.DomainStore].
func (rewound) Head(context.Context) (shingle.Cursor, error) { return "", nil }

// Changes implements [shingle.DomainStore], one at a time.
func (r rewound) Changes(ctx context.Context, after shingle.Cursor, _ int) ([]shingle.Change, shingle.Cursor, error) {
	r.changes()
	return r.Store.Changes(ctx, after, 1)
}

// A domain that was deleted and added again must not be gone for a moment when all
// domains are read again, and the feed from before that.
func TestFollower_ReadsAllWithoutGoingBack(t *testing.T) {
	const again, gone = "again.example.com", "gone.example.com"
	rows := &memory.Store{}
	for _, host := range []string{again, gone} {
		if _, err := rows.CreateDomain(t.Context(), shingle.Domain{Host: host}, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := rows.DeleteDomain(t.Context(), host, 0, "", time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := rows.CreateDomain(t.Context(), shingle.Domain{Host: again}, time.Now()); err != nil {
		t.Fatal(err)
	}
	table := newTable(shingle.Origin{Host: "127.0.0.1", Port: 80}, 443, nil)
	table.set(&shingle.Domain{Host: again})
	reads := 0
	store := rewound{rows, func() {
		reads++
		if !table.lookup(again).served() || table.lookup(gone).served() {
			t.Errorf("at read %d of the feed the table has gone back", reads)
		}
	}}
	f := newFollower(&Config{Store: store, Logger: slog.New(slog.DiscardHandler)}, table)
	if err := f.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if reads < 5 || !table.lookup(again).served() || table.lookup(gone).served() || !f.loaded.Load() {
		t.Errorf("after %d reads: %v, %v", reads, table.lookup(again), table.lookup(gone))
	}
}

// TestFollower_ForgetsWhatIsDeleted, before the name can be another tenant's.
func TestFollower_ForgetsWhatIsDeleted(t *testing.T) {
	const host = "again.example.com"
	rows := &memory.Store{}
	table := newTable(shingle.Origin{Host: "127.0.0.1", Port: 80}, 443, nil)
	f := newFollower(&Config{Store: rows, Logger: slog.New(slog.DiscardHandler)}, table)
	var dropped []string
	f.dropped = func(domain string) {
		dropped = append(dropped, domain)
		if table.lookup(host) != nil {
			t.Error("the next row is served before the certificate is forgotten")
		}
	}
	add := func(tenant string) {
		if _, err := rows.CreateDomain(t.Context(), shingle.Domain{Host: host, Tenant: tenant}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	add("acme")
	if err := f.step(t.Context()); err != nil || len(dropped) != 0 {
		t.Fatalf("%v, dropped %v", err, dropped)
	}
	if err := rows.DeleteDomain(t.Context(), host, 0, "", time.Now()); err != nil {
		t.Fatal(err)
	}
	add("newco")
	if err := f.step(t.Context()); err != nil || len(dropped) != 1 || dropped[0] != host || table.lookup(host) == nil {
		t.Errorf("%v, dropped %v", err, dropped)
	}
}

// forgetful is a store whose feed does not go back to a place that it is asked
// about, and that counts the pages of its rows.
type forgetful struct {
	*memory.Store
	pages int
}

// Changes implements [shingle.DomainStore].
func (s *forgetful) Changes(ctx context.Context, after shingle.Cursor, limit int) ([]shingle.Change, shingle.Cursor, error) {
	if after == "of last year" {
		return nil, "", shingle.ErrNotFound
	}
	return s.Store.Changes(ctx, after, limit)
}

// Domains implements [shingle.DomainStore].
func (s *forgetful) Domains(ctx context.Context, after string, limit int) ([]shingle.Domain, error) {
	s.pages++
	return s.Store.Domains(ctx, after, limit)
}

// A follower that was away for longer than the feed goes back reads all rows in
// pages, says so, and goes on from there.
func TestFollower_BehindTheFeedReadsAllAgain(t *testing.T) {
	store := &forgetful{Store: &memory.Store{}}
	const rows = 2*syncPage + 1
	for i := range rows {
		if _, err := store.CreateDomain(t.Context(), shingle.Domain{Host: host(i)}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	f := newFollower(&Config{Store: store, Logger: slog.New(slog.NewTextHandler(&log, nil))}, newTable(shingle.Origin{Host: "127.0.0.1", Port: 80}, 443, nil))
	f.loaded.Store(true) // from a snapshot
	f.cursor = "of last year"
	f.table.set(&shingle.Domain{Host: "gone.example.com"})
	if err := f.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := f.table.count.Load(); n != rows || f.table.lookup("gone.example.com") != nil || store.pages != 4 {
		t.Errorf("%d of %d domains, read in %d pages", n, rows, store.pages)
	}
	if !strings.Contains(log.String(), "fell behind the change feed, reading all domains again") {
		t.Errorf("the log says %q", log.String())
	}
	if _, err := store.CreateDomain(t.Context(), shingle.Domain{Host: "next.example.com"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := f.step(t.Context()); err != nil || !f.table.lookup("next.example.com").served() || store.pages != 4 {
		t.Errorf("after that: %v, %d pages", err, store.pages)
	}
}
