package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/sqlite"
)

// TestMain makes this binary the process that some tests start: one that
// writes SHINGLE_TEST_HOSTS hosts to the database at SHINGLE_TEST_DB, and prints
// "STATE HOST" for each write that returned.
func TestMain(m *testing.M) {
	p := os.Getenv("SHINGLE_TEST_DB")
	if p == "" {
		os.Exit(m.Run())
	}
	if err := writeHosts(context.Background(), p, os.Getenv("SHINGLE_TEST_NAME"), os.Getenv("SHINGLE_TEST_HOSTS")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// writer is a child process.
type writer struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func startWriter(t *testing.T, path, name string, hosts int) *writer {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "SHINGLE_TEST_DB="+path, "SHINGLE_TEST_NAME="+name, fmt.Sprint("SHINGLE_TEST_HOSTS=", hosts))
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	return &writer{cmd: cmd, lines: bufio.NewScanner(stdout)}
}

func writeHosts(ctx context.Context, path, name, hosts string) error {
	count, err := strconv.Atoi(hosts)
	if err != nil {
		return err
	}
	db, err := sqlite.Open(ctx, sqlite.Config{Path: path})
	if err != nil {
		return err
	}
	for i := range count {
		host := fmt.Sprintf("%s-%d.example.com", name, i)
		if err := writeOne(ctx, db, host, i, func(state string) { fmt.Println(state, host) }); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	return db.Close()
}

// writeOne makes a blob and a domain for a host, updates each second and
// deletes each fourth domain. It acknowledges each write by the state it led to.
func writeOne(ctx context.Context, db *sqlite.DB, host string, i int, acknowledge func(state string)) error {
	if _, err := db.Put(ctx, "blobs/"+host, []byte(host), shingle.NoVersion); err != nil {
		return err
	}
	acknowledge("blob")
	d, err := db.CreateDomain(ctx, shingle.Domain{Host: host}, now)
	if err != nil {
		return err
	}
	acknowledge("created")
	if i%2 == 1 {
		return nil
	}
	if _, err := db.UpdateDomain(ctx, d, now); err != nil {
		return err
	}
	acknowledge("updated")
	if i%4 == 2 {
		return nil
	}
	if err := db.DeleteDomain(ctx, host, 2, "", time.Now()); err != nil {
		return err
	}
	acknowledge("deleted")
	return nil
}

// TestDB_KillLosesNoAcknowledgedWrite kills a writer at a random moment behind a
// random write, again and again, on one file.
func TestDB_KillLosesNoAcknowledgedWrite(t *testing.T) {
	p := path(t)
	acknowledged := map[string]string{} // host to its last acknowledged state
	for round := range 8 {
		w := startWriter(t, p, fmt.Sprint("r", round), 10_000)
		last, count := "", rand.IntN(60)
		for n := 0; w.lines.Scan(); n++ {
			if n == count {
				time.AfterFunc(rand.N(3*time.Millisecond), func() { _ = w.cmd.Process.Kill() }) // Wait tells
			}
			var state string // lines behind the kill were acknowledged before it
			if _, err := fmt.Sscan(w.lines.Text(), &state, &last); err != nil {
				t.Fatalf("%q: %v", w.lines.Text(), err)
			}
			acknowledged[last] = state
		}
		if err := w.cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("round %d: the writer ended by itself: %v", round, err)
		}
		db := open(t, sqlite.Config{Path: p})
		for host, state := range acknowledged {
			hasState(t, db, host, state, host == last)
		}
		agrees(t, db)
		if last == "" {
			t.Fatal("nothing was acknowledged")
		}
		acknowledged[last] = stateOf(t, db, last) // it may be one further, and stays there
	}
}

// states are those that writeOne leads a host through.
var states = []string{"none", "blob", "created", "updated", "deleted"}

// hasState checks what is there of a host. A kill may have come between a write
// and its acknowledgement: one host may be one state further.
func hasState(t *testing.T, db *sqlite.DB, host, want string, orNext bool) {
	t.Helper()
	got := stateOf(t, db, host)
	for i, s := range states {
		if s == want && (got == s || orNext && i+1 < len(states) && got == states[i+1]) {
			return
		}
	}
	t.Errorf("%s was acknowledged as %s and is %s", host, want, got)
}

func stateOf(t *testing.T, db *sqlite.DB, host string) string {
	t.Helper()
	b, err := db.Get(t.Context(), "blobs/"+host)
	if shingle.CodeOf(err) == shingle.CodeNotFound {
		return "none"
	}
	check(t, err)
	if string(b.Value) != host {
		t.Errorf("the blob of %s holds %q", host, b.Value)
	}
	d, err := db.Domain(t.Context(), host)
	switch {
	case err == nil && d.Version == 1:
		return "created"
	case err == nil:
		return "updated"
	}
	if shingle.CodeOf(err) != shingle.CodeNotFound {
		t.Fatal(err)
	}
	for _, c := range allChanges(t, db) {
		if c.Host == host && c.Deleted {
			return "deleted"
		}
	}
	return "blob"
}

// agrees checks that the file is whole, and that the feed leads to the rows.
func agrees(t *testing.T, db *sqlite.DB) {
	t.Helper()
	if answer, err := db.Ask(t.Context(), "PRAGMA integrity_check"); err != nil || answer != "ok" {
		t.Errorf("integrity_check: %q, %v", answer, err)
	}
	rows := map[string]shingle.Domain{}
	for _, c := range allChanges(t, db) {
		if rows[c.Host] = c.Domain; c.Deleted {
			delete(rows, c.Host)
		}
	}
	list, err := db.Domains(t.Context(), "", 1000)
	check(t, err)
	for _, d := range list {
		if rows[d.Host] != d {
			t.Errorf("the row is %+v, the feed says %+v", d, rows[d.Host])
		}
	}
	if len(list) != len(rows) {
		t.Errorf("%d rows, the feed leads to %d", len(list), len(rows))
	}
}

func allChanges(t *testing.T, db *sqlite.DB) (all []shingle.Change) {
	t.Helper()
	for at := shingle.Cursor(""); ; {
		list, next, err := db.Changes(t.Context(), at, 1000)
		check(t, err)
		if len(list) == 0 {
			return all
		}
		all, at = append(all, list...), next
	}
}

// TestDB_ProcessesShareAFile starts processes on a file that is not there yet,
// and writes beside them.
func TestDB_ProcessesShareAFile(t *testing.T) {
	const writers, hosts = 3, 15
	p := path(t)
	var all []*writer
	for i := range writers {
		all = append(all, startWriter(t, p, fmt.Sprint("p", i), hosts))
	}
	db := open(t, sqlite.Config{Path: p})
	check(t, writeOne(t.Context(), db, "mine.example.com", 0, func(string) {}))
	acknowledged := map[string]string{}
	for _, w := range all {
		for w.lines.Scan() {
			state, host, _ := strings.Cut(w.lines.Text(), " ")
			acknowledged[host] = state
		}
		check(t, w.cmd.Wait())
	}
	if len(acknowledged) != writers*hosts {
		t.Errorf("%d hosts were acknowledged", len(acknowledged))
	}
	for host, state := range acknowledged {
		hasState(t, db, host, state, false)
	}
	agrees(t, db)
}
