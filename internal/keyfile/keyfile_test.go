package keyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/shingle-proxy/shingle"
)

func open(t *testing.T, path string) *Key {
	t.Helper()
	k, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKey_WrapsForOnePurpose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "seal.key")
	plain := []byte("a private key")
	sealed, err := open(t, path).Wrap(t.Context(), plain, "certs/a.example")
	if err != nil || bytes.Contains(sealed.Data, plain) {
		t.Fatalf("sealed %q, %v", sealed.Data, err)
	}
	k := open(t, path) // after a restart
	if got, err := k.Unwrap(t.Context(), sealed, "certs/a.example"); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := k.Unwrap(t.Context(), sealed, "certs/b.example"); err == nil {
		t.Error("unwraps for another purpose")
	}
	sealed.Data[len(sealed.Data)-1] ^= 1
	if _, err := k.Unwrap(t.Context(), sealed, "certs/a.example"); err == nil {
		t.Error("unwraps although changed")
	}
	other := open(t, filepath.Join(t.TempDir(), "seal.key"))
	if _, err := other.Unwrap(t.Context(), sealed, "certs/a.example"); err == nil || !strings.Contains(err.Error(), sealed.KeyID) {
		t.Errorf("under another master key: %v", err)
	}
}

func TestKey_IsForTheOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	open(t, path)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != size {
		t.Fatalf("%v, %v", info, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".key-*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by others: %v", err)
	}
	if os.Geteuid() != 0 {
		return // who cannot give files away
	}
	for mode, want := range map[fs.FileMode]bool{0o440: true, 0o460: false, 0o444: false} {
		if err := errors.Join(os.Chown(path, 1, -1), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); (err == nil) != want {
			t.Errorf("another owner's with mode %o: %v", mode, err)
		}
	}
}

func TestKey_WrongLengthIsRefusedAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "5 bytes") {
		t.Errorf("got %v", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "short" {
		t.Errorf("file is now %q", got)
	}
}

func TestKey_ManyCreatorsAgree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	var group sync.WaitGroup
	ids := make([]string, 20)
	for i := range ids {
		group.Go(func() {
			if k, err := Open(path); err != nil {
				t.Error(err)
			} else {
				ids[i] = k.newest
			}
		})
	}
	group.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("different keys: %q", ids)
		}
	}
}

func TestKey_TheHighestNumberWrapsAndAllUnwrap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	running := open(t, path)
	first := wrap(t, running, "one")
	for _, name := range []string{path + ".bak", path + ".02", path + "~"} { // nobody's keys
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var last string
	for n := 2; n <= 11; n++ {
		name, id, err := Next(path)
		if err != nil || name != fmt.Sprintf("%s.%d", path, n) || id == last {
			t.Fatalf("%d: %s %s, %v", n, name, id, err)
		}
		last = id
	}
	late := wrap(t, running, "two") // without a restart
	if late.KeyID != last {
		t.Errorf("wraps under %s, the newest is %s", late.KeyID, last)
	}
	for _, k := range []*Key{running, open(t, path)} {
		for w, want := range map[*shingle.WrappedKey]string{&first: "one", &late: "two"} {
			if got, err := k.Unwrap(t.Context(), *w, "purpose"); err != nil || string(got) != want {
				t.Errorf("got %q, %v", got, err)
			}
		}
	}
	// Retired, the first is gone for good, and is not made anew.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	k := open(t, path)
	if _, err := k.Unwrap(t.Context(), first, "purpose"); err == nil || !strings.Contains(err.Error(), first.KeyID) {
		t.Errorf("under a retired key: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a retired key was made anew")
	}
}

func TestKey_ABadSuccessorIsRefusedAndChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	k := open(t, path)
	first := wrap(t, k, "one")
	if err := os.WriteFile(path+".2", []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Current(t.Context()); err == nil || !strings.Contains(err.Error(), "seal.key.2 has 5 bytes") {
		t.Errorf("current: %v", err)
	}
	if got, err := k.Unwrap(t.Context(), first, "purpose"); err != nil || string(got) != "one" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := Open(path); err == nil {
		t.Error("opened")
	}
}

func TestNext_NeedsAFirst(t *testing.T) {
	if _, _, err := Next(filepath.Join(t.TempDir(), "seal.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func wrap(t *testing.T, k *Key, secret string) shingle.WrappedKey {
	t.Helper()
	w, err := k.Wrap(t.Context(), []byte(secret), "purpose")
	if err != nil {
		t.Fatal(err)
	}
	return w
}
