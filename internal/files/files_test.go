package files_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/files"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

func open(t *testing.T, dir string) *files.Store {
	t.Helper()
	s, err := files.Open(dir)
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	blobs := func(t *testing.T) shingle.Blobs { return open(t, t.TempDir()) }
	storetest.TestBlobs(t, blobs)
	storetest.TestBlobsLinearizable(t, blobs)
}

// Two stores over one folder are like two processes: the locks are per file.
func TestStore_TwoOverOneFolder(t *testing.T) {
	t.Parallel()
	blobs := func(t *testing.T) shingle.Blobs {
		dir := t.TempDir()
		return &alternating{stores: [2]*files.Store{open(t, dir), open(t, dir)}, next: make(chan int, 1)}
	}
	storetest.TestBlobs(t, blobs)
	storetest.TestBlobsLinearizable(t, blobs)
}

// alternating gives each call to the other one of two stores.
type alternating struct {
	stores [2]*files.Store
	next   chan int
}

func (a *alternating) one() *files.Store {
	n := 0
	select {
	case n = <-a.next:
	default:
	}
	select {
	case a.next <- 1 - n:
	default:
	}
	return a.stores[n]
}

func (a *alternating) Get(ctx context.Context, key string) (shingle.Blob, error) {
	return a.one().Get(ctx, key)
}

func (a *alternating) Put(ctx context.Context, key string, value []byte, ifVersion string) (string, error) {
	return a.one().Put(ctx, key, value, ifVersion)
}

func (a *alternating) Delete(ctx context.Context, key, ifVersion string) error {
	return a.one().Delete(ctx, key, ifVersion)
}

func (a *alternating) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	return a.one().List(ctx, prefix, after, limit)
}

func TestStore_FilesArePrivateAndNoTwoNamesDifferInCaseOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "local")
	s := open(t, dir)
	for _, key := range []string{"a", "A", "aA", "Aa", strings.Repeat("k", 300), strings.Repeat("K", 300), strings.Repeat("K", 100) + strings.Repeat("k", 200)} {
		_, err := s.Put(t.Context(), key, []byte("v"), shingle.NoVersion)
		check(t, err)
	}
	entries, err := os.ReadDir(dir)
	check(t, err)
	seen := map[string]bool{}
	for _, e := range entries {
		info, err := e.Info()
		check(t, err)
		if lower := strings.ToLower(e.Name()); seen[lower] || len(lower) > 255 || info.Mode() != 0o600 {
			t.Errorf("%s, mode %v", e.Name(), info.Mode())
		} else {
			seen[lower] = true
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// What something else did to a file is no reason to be stuck with it.
func TestStore_DamagedFileCanBeReplaced(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for _, damage := range []string{"", "shingle-blob", "garbage\n\x00", strings.Repeat("x", 1<<20)} {
		check(t, os.WriteFile(filepath.Join(dir, "k.blob"), []byte(damage), 0o600))
		b, err := s.Get(t.Context(), "k")
		check(t, err)
		version, err := s.Put(t.Context(), "k", []byte("whole"), b.Version)
		check(t, err)
		check(t, s.Delete(t.Context(), "k", version))
	}
}

func TestStore_ForeignFilesAreNotListed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for _, name := range []string{"notes.txt", ".blob", "é.blob", "a==b.blob", strings.Repeat("l", 100) + "~hash.blob"} {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte("foreign"), 0o600))
	}
	if keys, err := s.List(t.Context(), "", "", 10); err != nil || len(keys) != 0 {
		t.Errorf("%q, %v", keys, err)
	}
}

func TestStore_DiskThatRefusesIsNotAbsence(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "local")
	s := open(t, dir)
	check(t, os.RemoveAll(dir))
	check(t, os.WriteFile(dir, nil, 0o600)) // a file where the folder was
	_, err := s.Get(t.Context(), "k")
	_, putErr := s.Put(t.Context(), "k", nil, shingle.NoVersion)
	_, listErr := s.List(t.Context(), "", "", 1)
	for _, err := range []error{err, putErr, listErr, s.Delete(t.Context(), "k", "v")} {
		if !errors.Is(err, shingle.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := files.Open(dir); err == nil {
		t.Error("a file is taken for a folder")
	}
}

func TestClose_RefusesLaterWrites(t *testing.T) {
	s := open(t, t.TempDir())
	check(t, s.Close())
	if _, err := s.Put(t.Context(), "k", nil, shingle.NoVersion); !errors.Is(err, shingle.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}
