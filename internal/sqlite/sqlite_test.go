package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/sqlite"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, cfg sqlite.Config) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func path(t *testing.T) string { return filepath.Join(t.TempDir(), "data", "shingle.db") }

func TestDB(t *testing.T) {
	storetest.TestDomainStore(t, func(t *testing.T) shingle.DomainStore { return open(t, sqlite.Config{Path: path(t)}) })
	storetest.TestBlobs(t, func(t *testing.T) shingle.Blobs { return open(t, sqlite.Config{Path: path(t)}) })
}

func TestDB_TrimmedFeedSaysSo(t *testing.T) {
	woken := 0
	db := open(t, sqlite.Config{Path: path(t), KeepChanges: 4, OnChange: func() { woken++ }})
	start, err := db.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if _, err := db.CreateDomain(t.Context(), shingle.Domain{Host: fmt.Sprintf("h%d.example.com", i)}, now); err != nil {
			t.Fatal(err)
		}
	}
	if woken != 20 {
		t.Errorf("woken %d times", woken)
	}
	if _, _, err := db.Changes(t.Context(), start, 100); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("a cursor before the trimmed part: %v", err)
	}
	head, err := db.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if list, next, err := db.Changes(t.Context(), head, 100); err != nil || len(list) != 0 || next != head {
		t.Errorf("the head: %v %v %v", list, next, err)
	}
}

func TestDB_IsPrivateAndRefusesNewerSchema(t *testing.T) {
	p := path(t)
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: p})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Exec(t.Context(), "PRAGMA user_version = 999"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(p)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := sqlite.Open(t.Context(), sqlite.Config{Path: p}); err == nil || !strings.Contains(err.Error(), "update shingle") {
		t.Errorf("a newer schema: %v", err)
	}
}

// TestDB_KillLosesNoAcknowledgedWrite kills a writer, again and again.
func TestDB_KillLosesNoAcknowledgedWrite(t *testing.T) {
	p := path(t)
	acknowledged := map[string]bool{}
	for round := range 4 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChildWrites$")
		cmd.Env = append(os.Environ(), "SHINGLE_TEST_DB="+p, fmt.Sprintf("SHINGLE_TEST_ROUND=%d", round))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 5+7*round && lines.Scan(); n++ {
			acknowledged[lines.Text()] = true
		}
		_ = cmd.Process.Kill()
		for lines.Scan() { // what was acknowledged before the kill hit
			acknowledged[lines.Text()] = true
		}
		_ = cmd.Wait()
	}
	db := open(t, sqlite.Config{Path: p})
	rows := map[string]bool{}
	changes, _, err := db.Changes(t.Context(), "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		rows[c.Host] = true
	}
	for host := range acknowledged {
		if !strings.HasPrefix(host, "h") {
			continue
		}
		if _, err := db.Domain(t.Context(), host); err != nil || !rows[host] {
			t.Errorf("%s was acknowledged: %v, in the feed %v", host, err, rows[host])
		}
		if _, err := db.Get(t.Context(), "blobs/"+host); err != nil {
			t.Errorf("blob of %s: %v", host, err)
		}
	}
	if len(acknowledged) < 20 {
		t.Errorf("only %d writes were acknowledged", len(acknowledged))
	}
}

// TestChildWrites is the process that the kill test kills.
func TestChildWrites(t *testing.T) {
	p := os.Getenv("SHINGLE_TEST_DB")
	if p == "" {
		return
	}
	db, err := sqlite.Open(context.Background(), sqlite.Config{Path: p})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 500 {
		host := fmt.Sprintf("h%s-%d.example.com", os.Getenv("SHINGLE_TEST_ROUND"), i)
		if _, err := db.Put(context.Background(), "blobs/"+host, []byte(host), shingle.NoVersion); err != nil {
			t.Fatal(err)
		}
		if _, err := db.CreateDomain(context.Background(), shingle.Domain{Host: host}, now); err != nil {
			t.Fatal(err)
		}
		fmt.Println(host)
	}
}
