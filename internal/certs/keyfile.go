package certs

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const keyFileSize = 32 // bytes of an AES-256 key

// KeyFile is a [Sealer] with a master key in a local file: AES-256-GCM with a
// random nonce in front of the ciphertext.
type KeyFile struct {
	id   string
	aead cipher.AEAD
}

// OpenKeyFile reads the 32-byte master key at path. When there is no such file
// it makes one, and its folder, for the owner alone. It refuses a file that
// others can read, or of another length.
//
// Without this file no stored key can be read again: it belongs into a backup,
// apart from that of the store.
func OpenKeyFile(path string) (*KeyFile, error) {
	key, err := readKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = createKeyFile(path); err == nil || errors.Is(err, fs.ErrExist) {
			key, err = readKeyFile(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open master key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("open master key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("open master key: %w", err)
	}
	sum := sha256.Sum256(append([]byte("shingle key id\x00"), key...))
	return &KeyFile{id: "file-" + hex.EncodeToString(sum[:8]), aead: aead}, nil
}

// Seal implements [Sealer].
func (k *KeyFile) Seal(_ context.Context, plain []byte, record string) (Sealed, error) {
	return Sealed{KeyID: k.id, Data: k.aead.Seal(nil, nil, plain, []byte(record))}, nil
}

// Open implements [Sealer].
func (k *KeyFile) Open(_ context.Context, s Sealed, record string) ([]byte, error) {
	if s.KeyID != k.id {
		return nil, fmt.Errorf("sealed under the master key %q, but the key file has %q", s.KeyID, k.id)
	}
	plain, err := k.aead.Open(nil, nil, s.Data, []byte(record))
	if err != nil {
		return nil, errors.New("sealed value was changed or belongs to another record")
	}
	return plain, nil
}

func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s can be read by others: run chmod 600 on it, and think whether they did", path)
	case info.Size() != keyFileSize:
		return nil, fmt.Errorf("%s has %d bytes and not %d: restore it from a backup", path, info.Size(), keyFileSize)
	}
	key := make([]byte, keyFileSize)
	if _, err := f.ReadAt(key, 0); err != nil {
		return nil, err
	}
	return key, nil
}

// createKeyFile writes a fresh key under a temporary name and links it into
// place, so that of several processes that start at once all use one whole key.
// It returns [fs.ErrExist] when another was quicker.
func createKeyFile(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".key-*") // with mode 0600
	if err != nil {
		return err
	}
	key := make([]byte, keyFileSize)
	_, _ = rand.Read(key) // never fails
	_, err = f.Write(key)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Link(f.Name(), path)
	}
	return errors.Join(err, os.Remove(f.Name()), syncDir(dir))
}

// syncDir makes the names in dir survive a crash of the machine.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
