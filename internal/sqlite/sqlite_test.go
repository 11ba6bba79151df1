package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/sqlite"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func open(t testing.TB, cfg sqlite.Config) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), cfg)
	check(t, err)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func path(t testing.TB) string { return filepath.Join(t.TempDir(), "data", "shingle.db") }

func TestDB(t *testing.T) {
	storetest.TestDomainStore(t, func(t *testing.T) shingle.DomainStore { return open(t, sqlite.Config{Path: path(t)}) })
	storetest.TestMovableStore(t, func(t *testing.T) shingle.MovableStore { return open(t, sqlite.Config{Path: path(t)}) })
	blobs := func(t *testing.T) shingle.Blobs { return open(t, sqlite.Config{Path: path(t)}) }
	storetest.TestBlobs(t, blobs)
	storetest.TestBlobsLinearizable(t, blobs)
}

func TestOpen_MakesPrivateFiles(t *testing.T) {
	p := filepath.Join(t.TempDir(), "50% odd?#", "data", "a b.db")
	db := open(t, sqlite.Config{Path: p})
	_, err := db.CreateDomain(t.Context(), shingle.Domain{Host: "a.example.com"}, now)
	check(t, err)
	for name, want := range map[string]os.FileMode{filepath.Dir(p): 0o700, p: 0o600, p + "-wal": 0o600, p + "-shm": 0o600} {
		info, err := os.Stat(name)
		check(t, err)
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

// A power cut cannot be had in a test, so this one asks SQLite for the settings
// that withstand it.
func TestOpen_SetsDurability(t *testing.T) {
	db := open(t, sqlite.Config{Path: path(t)})
	for query, want := range map[string]string{
		"PRAGMA journal_mode": "wal", "PRAGMA synchronous": "2", "PRAGMA foreign_keys": "1", "PRAGMA busy_timeout": "5000",
	} {
		if got, err := db.Ask(t.Context(), query); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %s", query, got, err, want)
		}
	}
}

func TestOpen_RefusesWhatItCannotUse(t *testing.T) {
	newer := path(t)
	db := open(t, sqlite.Config{Path: newer})
	check(t, db.Exec(t.Context(), "PRAGMA user_version = 999"))
	text := filepath.Join(t.TempDir(), "text")
	check(t, os.WriteFile(text, []byte(strings.Repeat("not a database ", 100)), 0o600))
	for name, tt := range map[string]struct {
		cfg  sqlite.Config
		want string
	}{
		"no path":                {sqlite.Config{}, "path is missing"},
		"a negative bound":       {sqlite.Config{Path: path(t), KeepChanges: -1}, "cannot keep -1"},
		"a newer schema":         {sqlite.Config{Path: newer}, "schema 999, this one knows "},
		"a folder":               {sqlite.Config{Path: t.TempDir()}, "unable to open"},
		"a file of another kind": {sqlite.Config{Path: text}, "not a database"},
		"a file for a folder":    {sqlite.Config{Path: filepath.Join(text, "shingle.db")}, "make database folder"},
	} {
		db, err := sqlite.Open(t.Context(), tt.cfg)
		if err == nil {
			check(t, db.Close())
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDB_ComesBackAsItWas(t *testing.T) {
	p := path(t)
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: p})
	check(t, err)
	d, err := db.CreateDomain(t.Context(), shingle.Domain{Host: "a.example.com"}, now)
	check(t, err)
	head, err := db.Head(t.Context())
	check(t, err)
	version, err := db.Put(t.Context(), "k", []byte("v"), shingle.NoVersion)
	check(t, err)
	check(t, db.Close())

	db = open(t, sqlite.Config{Path: p})
	if got, err := db.Domain(t.Context(), d.Host); err != nil || got != d {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := db.Head(t.Context()); err != nil || got != head {
		t.Errorf("the head was %q and is %q, %v", head, got, err)
	}
	if _, err := db.Put(t.Context(), "k", nil, version); err != nil {
		t.Errorf("the version is not good any more: %v", err)
	}
}

func TestDB_RowAndChangeAreOneTransaction(t *testing.T) {
	db := open(t, sqlite.Config{Path: path(t)})
	d, err := db.CreateDomain(t.Context(), shingle.Domain{Host: "a.example.com"}, now)
	check(t, err)
	check(t, db.Exec(t.Context(), "CREATE TRIGGER no BEFORE INSERT ON changes BEGIN SELECT RAISE(ABORT, 'no change'); END"))
	_, errCreate := db.CreateDomain(t.Context(), shingle.Domain{Host: "b.example.com"}, now)
	_, errUpdate := db.UpdateDomain(t.Context(), d, now)
	for _, err := range []error{errCreate, errUpdate, db.DeleteDomain(t.Context(), d.Host, 0, "", time.Now())} {
		if err == nil || !strings.Contains(err.Error(), "no change") {
			t.Errorf("a write without its change: %v", err)
		}
	}
	if list, err := db.Domains(t.Context(), "", 10); err != nil || len(list) != 1 || list[0] != d {
		t.Errorf("rows %+v, %v", list, err)
	}
}

func TestDB_OnChangeIsBehindTheCommit(t *testing.T) {
	var db *sqlite.DB
	var heads []shingle.Cursor
	db = open(t, sqlite.Config{Path: path(t), OnChange: func() {
		head, err := db.Head(t.Context())
		check(t, err)
		heads = append(heads, head)
	}})
	d, err := db.CreateDomain(t.Context(), shingle.Domain{Host: "a.example.com"}, now)
	check(t, err)
	_, err = db.CreateDomain(t.Context(), d, now)
	if !errors.Is(err, shingle.ErrExists) {
		t.Error(err)
	}
	_, err = db.UpdateDomain(t.Context(), d, now)
	check(t, err)
	_, err = db.Put(t.Context(), "k", nil, shingle.NoVersion)
	check(t, err)
	check(t, db.DeleteDomain(t.Context(), d.Host, 0, "", time.Now()))
	if got := fmt.Sprint(heads); got != "[1 2 3]" {
		t.Errorf("the heads seen were %s", got)
	}
}

func TestDB_RefusesLimitsOutOfBounds(t *testing.T) {
	db := open(t, sqlite.Config{Path: path(t)})
	for _, limit := range []int{-1, 0, 1001} {
		_, errDomains := db.Domains(t.Context(), "", limit)
		_, _, errChanges := db.Changes(t.Context(), "", limit)
		_, errList := db.List(t.Context(), "", "", limit)
		for _, err := range []error{errDomains, errChanges, errList} {
			if !errors.Is(err, shingle.ErrInvalid) {
				t.Errorf("limit %d: %v", limit, err)
			}
		}
	}
}

// An edge keeps its cursor. When the file behind it is a new or an older one,
// silence would make the edge miss what changed.
func TestDB_CursorOfAReplacedFileIsNotFound(t *testing.T) {
	db := open(t, sqlite.Config{Path: path(t)})
	_, err := db.CreateDomain(t.Context(), shingle.Domain{Host: "a.example.com"}, now)
	check(t, err)
	if _, _, err := db.Changes(t.Context(), "2", 10); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("a cursor behind the end: %v", err)
	}
	if _, next, err := db.Changes(t.Context(), "1", 10); err != nil || next != "1" {
		t.Errorf("the end: %q, %v", next, err)
	}
}

func TestDB_TrimmedFeedSaysSo(t *testing.T) {
	const keep, writes = 4, 20
	db := open(t, sqlite.Config{Path: path(t), KeepChanges: keep})
	var heads []shingle.Cursor
	for i := range writes {
		head, err := db.Head(t.Context())
		check(t, err)
		heads = append(heads, head)
		_, err = db.CreateDomain(t.Context(), shingle.Domain{Host: fmt.Sprintf("h%d.example.com", i)}, now)
		check(t, err)
	}
	for i, at := range append(heads, "") {
		list, _, err := db.Changes(t.Context(), at, 100)
		if at == "" || i < writes-keep {
			if !errors.Is(err, shingle.ErrNotFound) {
				t.Errorf("behind %q: %d changes, %v", at, len(list), err)
			}
		} else if err != nil || len(list) != writes-i {
			t.Errorf("behind %q: %d changes, %v", at, len(list), err)
		}
	}
	head, err := db.Head(t.Context())
	check(t, err)
	if list, next, err := db.Changes(t.Context(), head, 100); err != nil || len(list) != 0 || next != head {
		t.Errorf("the head: %v %v %v", list, next, err)
	}
}

func TestDB_LoweredBoundIsReachedInSteps(t *testing.T) {
	p := path(t)
	db := open(t, sqlite.Config{Path: p})
	for i := range 50 {
		_, err := db.CreateDomain(t.Context(), shingle.Domain{Host: fmt.Sprintf("h%d.example.com", i)}, now)
		check(t, err)
	}
	db = open(t, sqlite.Config{Path: p, KeepChanges: 1})
	for i, want := range []string{"35", "20", "5", "1", "1"} {
		_, err := db.CreateDomain(t.Context(), shingle.Domain{Host: fmt.Sprintf("l%d.example.com", i)}, now)
		check(t, err)
		if got, err := db.Ask(t.Context(), "SELECT count(*) FROM changes"); err != nil || got != want {
			t.Errorf("%s entries after write %d, %v; want %s", got, i, err, want)
		}
	}
}

func TestDB_BusyIsUnavailable(t *testing.T) {
	p := path(t)
	holder, db := open(t, sqlite.Config{Path: p}), open(t, sqlite.Config{Path: p})
	_, err := holder.Put(t.Context(), "k", []byte("v"), shingle.NoVersion)
	check(t, err)
	check(t, holder.Exec(t.Context(), "BEGIN IMMEDIATE"))
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel) // in its wait or before it: the error is the same
	if _, err := db.Put(ctx, "l", nil, shingle.NoVersion); !errors.Is(err, context.Canceled) {
		t.Errorf("a write that was given up: %v", err)
	}
	if b, err := db.Get(t.Context(), "k"); err != nil || string(b.Value) != "v" {
		t.Errorf("a read beside a writer: %q, %v", b.Value, err)
	}
	check(t, db.Exec(t.Context(), "PRAGMA busy_timeout = 1"))
	_, err = db.Put(t.Context(), "l", nil, shingle.NoVersion)
	if !errors.Is(err, shingle.ErrUnavailable) || strings.Contains(shingle.MessageOf(err), "SQLITE") || !strings.Contains(err.Error(), "SQLITE_BUSY") {
		t.Errorf("a write that met another: %v", err)
	}
	check(t, holder.Exec(t.Context(), "ROLLBACK"))
	if _, err := db.Put(t.Context(), "l", nil, shingle.NoVersion); err != nil {
		t.Errorf("a write afterwards: %v", err)
	}
}

// TestDB_TwoHandlesAreOneStore opens a file twice, as two processes would.
func TestDB_TwoHandlesAreOneStore(t *testing.T) {
	p := path(t)
	handles := []*sqlite.DB{open(t, sqlite.Config{Path: p}), open(t, sqlite.Config{Path: p})}
	const rounds = 20
	var all sync.WaitGroup
	for n, db := range handles {
		all.Go(func() {
			for i := range rounds {
				if err := increment(t.Context(), db); err != nil {
					t.Error(err)
				}
				if _, err := db.CreateDomain(t.Context(), shingle.Domain{Host: fmt.Sprintf("h%d-%d.example.com", n, i)}, now); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for _, db := range handles {
		if b, err := db.Get(t.Context(), "counter"); err != nil || len(b.Value) != 2*rounds {
			t.Errorf("counted to %d, %v", len(b.Value), err)
		}
		if list, _, err := db.Changes(t.Context(), "", 1000); err != nil || len(list) != 2*rounds {
			t.Errorf("%d changes, %v", len(list), err)
		}
	}
}

// increment makes the counter's value a byte longer.
func increment(ctx context.Context, db *sqlite.DB) error {
	for {
		b, err := db.Get(ctx, "counter")
		if err != nil && !errors.Is(err, shingle.ErrNotFound) {
			return err
		}
		if _, err = db.Put(ctx, "counter", append(b.Value, 'x'), b.Version); !errors.Is(err, shingle.ErrConflict) {
			return err
		}
	}
}

// A token of before still opens everything, now as a record among the blobs.
func TestMigration_KeepsTokens(t *testing.T) {
	file := path(t)
	check(t, os.MkdirAll(filepath.Dir(file), 0o700))
	old, err := sql.Open("sqlite", file)
	check(t, err)
	for _, name := range []string{"001_start.sql", "002_who.sql"} {
		script, err := os.ReadFile(filepath.Join("migrations", name))
		check(t, err)
		_, err = old.ExecContext(t.Context(), string(script))
		check(t, err)
	}
	_, err = old.ExecContext(t.Context(), "INSERT INTO tokens VALUES ('abc', x'00ff', 'made at the first start', 1764000000000000); PRAGMA user_version = 2")
	check(t, err)
	check(t, old.Close())
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: file})
	check(t, err)
	defer db.Close()
	b, err := db.Get(t.Context(), "tokens/ids/abc")
	check(t, err)
	if want := `{"hash":"00ff","name":"first-abc","role":"admin","created_at":"2025-11-24T16:00:00Z"}`; string(b.Value) != want {
		t.Errorf("got %s, want %s", b.Value, want)
	}
	_, err = db.Put(t.Context(), b.Key, []byte("{}"), b.Version)
	check(t, err)
}

// TestMigrations_EachHasANumber: a database knows how many it had, so two that were written
// side by side must not have the same.
func TestMigrations_EachHasANumber(t *testing.T) {
	names, err := filepath.Glob("migrations/*.sql")
	check(t, err)
	for i, name := range names {
		if want := fmt.Sprintf("%03d_", i+1); !strings.HasPrefix(filepath.Base(name), want) {
			t.Errorf("%s: its number is to be %s, behind all that are there", name, want)
		}
	}
}
