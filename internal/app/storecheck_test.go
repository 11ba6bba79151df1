package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/certs"
	"github.com/shingle-proxy/shingle/internal/sqlite"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// finding returns what was found about one thing.
func finding(r *StoreReport, check string) shingle.StoreFinding {
	for _, f := range r.Findings {
		if f.Check == check {
			return f
		}
	}
	return shingle.StoreFinding{}
}

// The table is SQLite here; what a bucket lacks is named.
func TestCheckStore_NamesTheMissingPermission(t *testing.T) {
	for method, action := range map[string]string{"GET": "s3:GetObject", "LIST": "s3:ListBucket", http.MethodPut: "s3:PutObject", http.MethodDelete: "s3:DeleteObject"} {
		s3 := storetest.NewS3Server(t)
		s3.Before = func(w http.ResponseWriter, r *http.Request) bool {
			is := r.Method
			if is == http.MethodGet && r.URL.Query().Has("list-type") {
				is = "LIST"
			}
			if is == method {
				storetest.RefuseS3(w, http.StatusForbidden, "AccessDenied")
			}
			return is == method
		}
		t.Setenv("AWS_ACCESS_KEY_ID", "key")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
		cfg := Config{Data: t.TempDir(), Blobs: "s3://" + storetest.S3Bucket, BlobsRegion: "us-east-1", S3Endpoint: s3.URL}
		db, err := sqlite.Open(t.Context(), sqlite.Config{Path: cfg.file("shingle.db")})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		reports, err := CheckStore(t.Context(), cfg)
		if err != nil || len(reports) != 2 || reports[0].Failed() || !reports[1].Failed() {
			t.Fatalf("%s: %+v, %v", method, reports, err)
		}
		text, said := "", map[string]bool{}
		for _, f := range reports[1].Findings {
			if f.Severity == shingle.SeverityFailed {
				text += f.Message
			}
			if said[f.Message] && f.Severity != shingle.SeverityOK {
				t.Errorf("%s: said twice: %s", method, f.Message)
			}
			said[f.Message] = true
		}
		if !strings.Contains(text, "lacks "+action+" ") {
			t.Errorf("%s: %s", method, text)
		}
	}
}

// The most a copy or a restored backup can lack is the key to it.
func TestCheckStore_TriesTheMasterKey(t *testing.T) {
	t.Parallel()
	cfg := Config{Data: t.TempDir()}
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: cfg.file("shingle.db")})
	must(t, err)
	defer db.Close()
	key := func(want shingle.Severity, says string) {
		t.Helper()
		reports, err := CheckStore(t.Context(), cfg)
		must(t, err)
		if f := finding(reports[0], "master key"); f.Severity != want || !strings.Contains(f.Message, says) || (f.Do != "") != (want == shingle.SeverityFailed) {
			t.Errorf("%+v", f)
		}
	}
	key(shingle.SeverityOK, "nothing is sealed yet")
	if _, err := os.Stat(cfg.file(keyFileName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key was made: %v", err)
	}
	master, err := cfg.openMasterKey(t.Context())
	must(t, err)
	m, err := certs.New(certs.Config{
		Blobs: db, MasterKey: master, Domains: db, CAs: []certs.CA{{Directory: "https://127.0.0.1:1/dir"}}, TermsAgreed: true,
		Permission: shingle.PermissionFunc(func(context.Context, string) error { return nil }), Logger: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	_, err = m.Seal(t.Context(), []byte("secret"), "certs/a.example.com")
	must(t, err)
	must(t, m.Close())
	key(shingle.SeverityOK, "opens all data keys, 1 of them")
	must(t, os.Rename(cfg.file(keyFileName), cfg.file("away")))
	key(shingle.SeverityFailed, "1 of 1 data keys are not opened")
	_, err = cfg.openMasterKey(t.Context()) // another one, as a process makes
	must(t, err)
	key(shingle.SeverityFailed, "1 of 1 data keys are not opened")
}

func TestCheckStore_MakesNothing(t *testing.T) {
	t.Parallel()
	cfg := Config{Data: filepath.Join(t.TempDir(), "nowhere")}
	reports, err := CheckStore(t.Context(), cfg)
	if err != nil || !reports[0].Failed() || reports[0].Findings[0].Do == "" {
		t.Errorf("%+v, %v", reports, err)
	}
	if _, err := os.Stat(cfg.Data); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder was made: %v", err)
	}
}

func TestDiskState_Finding(t *testing.T) {
	t.Parallel()
	for says, d := range map[string]diskState{
		"10 GiB of 20 GiB free": {free: 10 << 30, total: 20 << 30},
		"512 MiB":               {free: 512 << 20, total: 20 << 30},
		"0 B":                   {total: 20 << 30},
		"NFS":                   {free: 10 << 30, network: "NFS"},
		"inode":                 {free: 10 << 30, noNames: true},
	} {
		f := d.finding()
		if want := map[string]shingle.Severity{"512 MiB": shingle.SeverityWarning, "10 GiB of 20 GiB free": shingle.SeverityOK}[says]; want != "" && f.Severity != want ||
			want == "" && f.Severity != shingle.SeverityFailed || !strings.Contains(f.Message, says) || (f.Do == "") != (f.Severity == shingle.SeverityOK) {
			t.Errorf("%+v", f)
		}
	}
}
