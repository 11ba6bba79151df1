package edge

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// kinds are all that can be set for a domain.
var kinds = []settings{
	{},
	{paused: true},
	{redirect: "www.example.com"},
	{origin: "https://other.example.com:8443"},
	{origin: "http://10.0.0.7", redirect: "www.example.com", paused: true},
}

func kindsTable() *table {
	t := testTable()
	for i, is := range kinds {
		t.set(&shingle.Domain{Host: host(i), Origin: is.origin, Redirect: is.redirect, Paused: is.paused})
	}
	return t
}

func TestSnapshot_HoldsWildcards(t *testing.T) {
	file := snapshotFile{path: filepath.Join(t.TempDir(), "table")}
	before, after := testTable(), testTable()
	before.set(&shingle.Domain{Host: "*.customer.test"})
	if _, err := file.write(before.picture(), snapshotHead{}); err != nil {
		t.Fatal(err)
	}
	p, _, err := file.read(after)
	if err != nil {
		t.Fatal(err)
	}
	after.replace(p)
	if !after.covering("a.customer.test").served() || after.lookup("customer.test") != nil {
		t.Error("the wildcard did not come back")
	}
}

func TestSnapshot_HoldsAllThatIsSet(t *testing.T) {
	file := snapshotFile{path: filepath.Join(t.TempDir(), "deep", "table"), store: "one"}
	if _, _, err := file.read(testTable()); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v, want no file", err)
	}
	written := time.Now().UTC()
	size, err := file.write(kindsTable().picture(), snapshotHead{Cursor: "42", Written: written})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file.path); err != nil || info.Size() != size || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v, and not %d bytes for the owner alone", info, err, size)
	}
	table := testTable()
	p, head, err := file.read(table)
	if err != nil {
		t.Fatal(err)
	}
	table.replace(p)
	if want := (snapshotHead{Store: "one", Cursor: "42", Domains: len(kinds), Written: written}); head != want {
		t.Errorf("head %+v, want %+v", head, want)
	}
	for i, is := range kinds {
		if s := table.lookup(host(i)); s == nil || table.settings(s) != is {
			t.Errorf("%s is %+v, want %+v", host(i), s, is)
		}
	}
	file.store = "two"
	if _, _, err := file.read(table); err == nil || !strings.Contains(err.Error(), `"one"`) {
		t.Errorf("one of another store: %v", err)
	}
}

// TestSnapshot_DamageIsNoticed cuts a file at every place, and flips a bit at
// every place.
func TestSnapshot_DamageIsNoticed(t *testing.T) {
	file := snapshotFile{path: filepath.Join(t.TempDir(), "table"), store: "one"}
	if _, err := file.write(kindsTable().picture(), snapshotHead{Cursor: "42"}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file.path)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, at int, content []byte) {
		t.Helper()
		if err := os.WriteFile(file.path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := file.read(testTable()); err == nil {
			t.Errorf("%s at %d of %d is not noticed", what, at, len(whole))
		}
	}
	for at := range whole {
		refused("an end", at, whole[:at])
		flipped := bytes.Clone(whole)
		flipped[at] ^= 1 << rand.IntN(8)
		refused("a flipped bit", at, flipped)
	}
	refused("more", len(whole), append(bytes.Clone(whole), 0))
}

const snapshotWriter = "SHINGLE_TEST_SNAPSHOT"

// TestSnapshot_WriterProcess is not a test but the process that the next one
// kills: it writes snapshots without end.
func TestSnapshot_WriterProcess(t *testing.T) {
	path := os.Getenv(snapshotWriter)
	if path == "" {
		return // nobody's child
	}
	file := snapshotFile{path: path, store: "one"}
	table := testTable()
	for i := 0; ; i++ {
		for n := range 2000 {
			table.set(&shingle.Domain{Host: host(n), Redirect: fmt.Sprintf("to-%d.example.com", i)})
		}
		if _, err := file.write(table.picture(), snapshotHead{Cursor: shingle.Cursor(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
		fmt.Println("written")
	}
}

// TestSnapshot_KilledWriterLeavesAWholeOne kills a writer at a random moment,
// again and again.
func TestSnapshot_KilledWriterLeavesAWholeOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table")
	for round := range 5 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSnapshot_WriterProcess$")
		cmd.Env = append(os.Environ(), snapshotWriter+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if !bufio.NewScanner(out).Scan() {
			t.Fatal("nothing was written")
		}
		time.Sleep(rand.N(10 * time.Millisecond)) // somewhere in a writing
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		_, head, err := snapshotFile{path: path, store: "one"}.read(testTable())
		if err != nil || head.Domains != 2000 {
			t.Fatalf("round %d: %+v, %v", round, head, err)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) > 2 {
		t.Errorf("the writers left %v, %v", left, err)
	}
}

// BenchmarkSnapshot_Read is the start of an edge with a million domains.
func BenchmarkSnapshot_Read(b *testing.B) {
	file := snapshotFile{path: filepath.Join(b.TempDir(), "table"), store: "one"}
	size, err := file.write(manyTable().picture(), snapshotHead{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var table *table
	for b.Loop() {
		table = testTable()
		p, _, err := file.read(table)
		if err != nil {
			b.Fatal(err)
		}
		table.replace(p)
	}
	b.ReportMetric(float64(size)/manyDomains, "file-bytes/domain")
	reportDomains(b, table)
}

func BenchmarkSnapshot_Write(b *testing.B) {
	file := snapshotFile{path: filepath.Join(b.TempDir(), "table"), store: "one"}
	table := manyTable()
	for b.Loop() {
		if _, err := file.write(table.picture(), snapshotHead{}); err != nil {
			b.Fatal(err)
		}
	}
}
