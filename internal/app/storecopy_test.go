package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/sqlite"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// copyJournal is the record that marks half a copy.
const copyJournal = "store-copy/journal"

// fill writes an installation, and returns its place.
func fill(t *testing.T, db *sqlite.DB) {
	t.Helper()
	ctx, now := t.Context(), time.Now()
	for i := range 30 {
		d, err := db.CreateDomain(ctx, shingle.Domain{Host: fmt.Sprintf("h%d.example.com", i), Tenant: "acme", UpdatedBy: "ann"}, now.Add(time.Duration(i)*time.Minute))
		must(t, err)
		for range i % 4 {
			d.Paused = !d.Paused
			d, err = db.UpdateDomain(ctx, d, now.Add(time.Hour))
			must(t, err)
		}
	}
	for i := range 200 {
		_, err := db.Put(ctx, fmt.Sprintf("certs/h%d.example.com", i), []byte(strings.Repeat("x", i*30)), shingle.NoVersion)
		must(t, err)
	}
	for _, key := range append([]string{"keys/data-1", "accounts/key", "budgets/a/orders", "due/20261125/new/h1", "events/log/1", "leases/certs/h1.example.com", "webhooks/1"}, feedPositions...) {
		_, err := db.Put(ctx, key, []byte(`{"holder":""}`), shingle.NoVersion)
		must(t, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// filled returns the place of an installation of 30 domains and 207
// records, and of 3 that are not copied.
func filled(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shingle.db")
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	must(t, err)
	fill(t, db)
	must(t, db.Close())
	return "sqlite:" + path
}

func copyConfig(from, to string) CopyConfig {
	return CopyConfig{From: from, To: to, watch: func(context.Context) error { return nil }}
}

func TestCopyStore_ThereAndBackByEveryKindOfPlace(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	s3 := storetest.NewS3Server(t)
	bucket := "s3://" + storetest.S3Bucket + "/a?region=us-east-1&endpoint=" + s3.URL
	dir := t.TempDir()
	places := []string{
		filled(t),
		"sqlite:" + filepath.Join(dir, "two.db") + "," + bucket,
		"sqlite:" + filepath.Join(dir, "three.db") + ",files:" + filepath.Join(dir, "folder"),
		"sqlite:" + filepath.Join(dir, "four.db"),
	}
	digest := ""
	for i := range len(places) - 1 {
		r, err := CopyStore(t.Context(), copyConfig(places[i], places[i+1]))
		must(t, err)
		if r.Domains != 30 || r.Records != 207 || r.Written != 237 || r.Resumed || r.Digest == "" {
			t.Errorf("%s: %+v", places[i+1], r)
		}
		if digest != "" && r.Digest != digest {
			t.Errorf("%s: another digest", places[i+1])
		}
		digest = r.Digest
	}
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(dir, "four.db")})
	must(t, err)
	defer db.Close()
	d, err := db.Domain(t.Context(), "h3.example.com")
	must(t, err)
	if d.Version != 4 || d.UpdatedBy != "ann" || !d.UpdatedAt.After(d.CreatedAt) {
		t.Errorf("%+v", d)
	}
	for _, key := range append([]string{copyJournal}, feedPositions...) {
		if _, err := db.Get(t.Context(), key); !errors.Is(err, shingle.ErrNotFound) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if list, _, err := db.Changes(t.Context(), "", 10); err != nil || len(list) > 0 {
		t.Errorf("the copy is told as changes: %+v, %v", list, err)
	}
}

// Only the records move: then the places in the feed are still true.
func TestCopyStore_RecordsAlone(t *testing.T) {
	t.Parallel()
	from, folder := filled(t), filepath.Join(t.TempDir(), "folder")
	r, err := CopyStore(t.Context(), copyConfig(from, from+",files:"+folder))
	must(t, err)
	if r.Domains != 0 || r.Records != 210 {
		t.Errorf("%+v", r)
	}
}

func TestCopyStore_DryRunWritesNothing(t *testing.T) {
	t.Parallel()
	to := filepath.Join(t.TempDir(), "to.db")
	cfg := copyConfig(filled(t), "sqlite:"+to)
	cfg.DryRun = true
	r, err := CopyStore(t.Context(), cfg)
	must(t, err)
	if r.Domains != 30 || r.Records != 207 || r.Written != 0 || r.Digest != "" {
		t.Errorf("%+v", r)
	}
	if found, err := filepath.Glob(to + "*"); err != nil || len(found) > 0 {
		t.Errorf("%q, %v", found, err)
	}
}

func TestCopyStore_OverwritesNothing(t *testing.T) {
	t.Parallel()
	for says, write := range map[string]func(*sqlite.DB) error{
		"the domain x.example.com": func(db *sqlite.DB) error {
			_, err := db.CreateDomain(t.Context(), shingle.Domain{Host: "x.example.com"}, time.Now())
			return err
		},
		"the record tickets": func(db *sqlite.DB) error {
			_, err := db.Put(t.Context(), "tickets", nil, shingle.NoVersion)
			return err
		},
		"half a copy of sqlite:/other.db": func(db *sqlite.DB) error {
			_, err := db.Put(t.Context(), copyJournal, []byte(`{"from":"sqlite:/other.db"}`), shingle.NoVersion)
			return err
		},
	} {
		path := filepath.Join(t.TempDir(), "to.db")
		db, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
		must(t, err)
		must(t, write(db))
		must(t, db.Close())
		if _, err := CopyStore(t.Context(), copyConfig(filled(t), "sqlite:"+path)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

// What was cut short is gone on with, and what changed in between is taken over.
func TestCopyStore_GoesOn(t *testing.T) {
	t.Parallel()
	from, to := filled(t), "sqlite:"+filepath.Join(t.TempDir(), "to.db")
	ctx, cut := context.WithCancel(t.Context())
	cfg := copyConfig(from, to)
	cfg.Progress = func(p CopyProgress) {
		if p.Records == 100 {
			cut()
		}
	}
	if _, err := CopyStore(ctx, cfg); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "goes on from here") {
		t.Fatalf("got %v", err)
	}
	starts := Config{Role: RoleAll, Data: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: starts.file("shingle.db")})
	must(t, err)
	_, err = db.Put(t.Context(), copyJournal, []byte(`{"from":"sqlite:/a.db"}`), shingle.NoVersion)
	must(t, err)
	must(t, db.Close())
	s, err := openStores(t.Context(), &starts, nil)
	if err == nil || !strings.Contains(err.Error(), "half a copy of sqlite:/a.db") {
		t.Errorf("a process starts on half a copy: %v", err)
	}
	must(t, s.close())

	db, err = sqlite.Open(t.Context(), sqlite.Config{Path: strings.TrimPrefix(from, "sqlite:")})
	must(t, err)
	must(t, db.DeleteDomain(t.Context(), "h1.example.com", 0, "", time.Now()))
	old, err := db.Get(t.Context(), "certs/h10.example.com")
	must(t, err)
	_, err = db.Put(t.Context(), old.Key, []byte("new"), old.Version)
	must(t, err)
	old, err = db.Get(t.Context(), "accounts/key")
	must(t, err)
	must(t, db.Delete(t.Context(), old.Key, old.Version))
	must(t, db.Close())

	r, err := CopyStore(t.Context(), copyConfig(from, to))
	must(t, err)
	if !r.Resumed || r.Domains != 29 || r.Records != 206 || r.Written == 0 || r.Written >= 200 {
		t.Errorf("%+v", r)
	}
}

func TestCopyStore_RefusesWhileAFleetIsAtWork(t *testing.T) {
	t.Parallel()
	from := filled(t)
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: strings.TrimPrefix(from, "sqlite:")})
	must(t, err)
	defer db.Close()
	version, err := db.Put(t.Context(), "leases/worker", []byte(`{"holder":"a"}`), shingle.NoVersion)
	must(t, err)
	cfg := copyConfig(from, "sqlite:"+filepath.Join(t.TempDir(), "to.db"))
	idle := cfg.watch
	cfg.watch = func(ctx context.Context) (err error) {
		version, err = db.Put(ctx, "leases/worker", []byte(`{"holder":"a"}`), version)
		return err
	}
	if _, err := CopyStore(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "the lease worker is being renewed") {
		t.Errorf("got %v", err)
	}
	live := cfg
	live.Live = true
	r, err := CopyStore(t.Context(), live)
	if err != nil || r.AtWork == "" || r.Written != 238 || r.Digest != "" {
		t.Errorf("%+v, %v", r, err)
	}
	cfg.watch = idle
	r, err = CopyStore(t.Context(), cfg) // its holder was killed
	if err != nil || r.AtWork != "" || !r.Resumed || r.Written > 1 || r.Digest == "" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestParseInstallation(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"sqlite:/a/b.db":                                "sqlite:/a/b.db",
		"dynamodb:eu-central-1/t":                       "dynamodb:eu-central-1/t",
		"dynamodb:eu-central-1/t,s3://b/p/":             "dynamodb:eu-central-1/t,s3://b/p",
		"sqlite:/a,files:/f":                            "sqlite:/a,files:/f",
		"sqlite:/a,s3://b?region=r&endpoint=http://h:1": "sqlite:/a,s3://b",
		"":                          "",
		"shingle.db":                "",
		"sqlite:":                   "",
		"dynamodb:t":                "",
		"dynamodb:r/":               "",
		"s3://b":                    "",
		"files:/f":                  "",
		"sqlite:/a,sqlite:/b":       "",
		"dynamodb:r/t,s3:b":         "",
		"dynamodb:r/t,dynamodb:r/u": "",
	} {
		i, err := parseInstallation(text)
		if (err == nil) != (want != "") || err == nil && i.String() != want {
			t.Errorf("%q: %s, %v", text, i, err)
		}
	}
	i, err := parseInstallation("dynamodb:eu-central-1/t?endpoint=http://h:1,s3://b")
	if err != nil || i.domains.endpoint != "http://h:1" || i.blobs.region != "eu-central-1" {
		t.Errorf("%+v, %v", i, err)
	}
}
