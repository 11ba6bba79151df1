package certs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func openKeyFile(t *testing.T, path string) *KeyFile {
	t.Helper()
	k, err := OpenKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeyFile_SealsForOneRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "seal.key")
	plain := []byte("a private key")
	sealed, err := openKeyFile(t, path).Seal(t.Context(), plain, "certs/a.example")
	if err != nil || bytes.Contains(sealed.Data, plain) {
		t.Fatalf("sealed %q, %v", sealed.Data, err)
	}
	k := openKeyFile(t, path) // after a restart
	if got, err := k.Open(t.Context(), sealed, "certs/a.example"); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := k.Open(t.Context(), sealed, "certs/b.example"); err == nil {
		t.Error("opens for another record")
	}
	sealed.Data[len(sealed.Data)-1] ^= 1
	if _, err := k.Open(t.Context(), sealed, "certs/a.example"); err == nil {
		t.Error("opens although changed")
	}
	other := openKeyFile(t, filepath.Join(t.TempDir(), "seal.key"))
	if _, err := other.Open(t.Context(), sealed, "certs/a.example"); err == nil || !strings.Contains(err.Error(), sealed.KeyID) {
		t.Errorf("under another master key: %v", err)
	}
}

func TestKeyFile_IsForTheOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	openKeyFile(t, path)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != keyFileSize {
		t.Fatalf("%v, %v", info, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".key-*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeyFile(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by others: %v", err)
	}
}

func TestKeyFile_WrongLengthIsRefusedAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeyFile(path); err == nil || !strings.Contains(err.Error(), "5 bytes") {
		t.Errorf("got %v", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "short" {
		t.Errorf("file is now %q", got)
	}
}

func TestKeyFile_ManyCreatorsAgree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	var group sync.WaitGroup
	ids := make([]string, 20)
	for i := range ids {
		group.Go(func() {
			if k, err := OpenKeyFile(path); err != nil {
				t.Error(err)
			} else {
				ids[i] = k.id
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
