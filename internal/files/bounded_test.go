package files_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/files"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

func openBounded(t *testing.T, dir string, limit int64) *files.Bounded {
	t.Helper()
	b, err := files.OpenBounded(dir, "certs/", limit)
	check(t, err)
	t.Cleanup(func() { check(t, b.Close()) })
	return b
}

func TestBounded(t *testing.T) {
	t.Parallel()
	blobs := func(t *testing.T) shingle.Blobs { return openBounded(t, t.TempDir(), 1<<30) }
	storetest.TestBlobs(t, blobs)
	storetest.TestBlobsLinearizable(t, blobs)
}

// TestBounded_OldestGoFirst puts records into a folder with room for ten, one of
// them again and again, and looks what is left, also after it was opened anew.
func TestBounded_OldestGoFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const room = 10
	b := openBounded(t, dir, room*8<<10)
	put := func(key string, ago time.Duration) {
		t.Helper()
		value := []byte(key + strings.Repeat("x", 5<<10)) // two blocks
		old, err := b.Get(t.Context(), key)
		if err == nil {
			_, err = b.Put(t.Context(), key, value, old.Version)
		} else {
			_, err = b.Put(t.Context(), key, value, shingle.NoVersion)
		}
		check(t, err)
		if ago == 0 {
			return
		}
		for _, e := range list(t, dir) { // the last one that was written
			if strings.Contains(e, strings.TrimPrefix(key, "certs/")) {
				then := time.Now().Add(-ago)
				check(t, os.Chtimes(filepath.Join(dir, e), then, then))
			}
		}
	}
	put("keys/data-1", 1000*time.Hour) // the oldest, and not to go
	put("certs/used.example.com", 900*time.Hour)
	for i := range 5 * room {
		put(fmt.Sprintf("certs/n%d.example.com", i), time.Duration(800-i)*time.Hour)
		put("certs/used.example.com", 0)
	}
	for range 2 {
		kept, err := b.List(t.Context(), "certs/", "", 1000)
		check(t, err)
		if len(kept) < room*8/10 || len(kept) > room || kept[len(kept)-1] != "certs/used.example.com" || kept[len(kept)-2] != "certs/n49.example.com" {
			t.Errorf("%d records are left: %v", len(kept), kept)
		}
		if _, err := b.Get(t.Context(), "keys/data-1"); err != nil {
			t.Errorf("what may not go: %v", err)
		}
		check(t, b.Close())
		b = openBounded(t, dir, room*8<<10)
	}
	b = openBounded(t, dir, 3*8<<10) // the operator lowered the bound
	if kept, err := b.List(t.Context(), "certs/", "", 1000); err != nil || len(kept) > 3 {
		t.Errorf("%v, %v", kept, err)
	}
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
