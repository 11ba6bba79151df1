package certs

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Sealer encrypts private keys for storage. context, such as the record's key
// in the store, is authenticated: a value moved to another record does not open.
type Sealer interface {
	Seal(plain []byte, context string) (sealed []byte, err error)
	Open(sealed []byte, context string) (plain []byte, err error)
}

// KeyFile is a [Sealer] with a master key in a local file: AES-256-GCM with a
// random nonce. A sealed value is the key's ID (8 bytes), nonce and ciphertext.
type KeyFile struct {
	id   [8]byte
	aead cipher.AEAD
}

// OpenKeyFile reads the 32-byte master key in path, or makes one for the
// owner's eyes alone. Without this file no stored key can be read again.
func OpenKeyFile(path string) (*KeyFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make key folder: %w", err)
	}
	if err := createKey(path); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make master key: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read master key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the master key %s can be read by others: chmod 600 it", path)
	}
	key, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read master key: %w", err)
	}
	if len(key) != 32 {
		return nil, fmt.Errorf("the master key %s has %d bytes, not 32: restore it from a copy", path, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	k := &KeyFile{}
	sum := sha256.Sum256(append([]byte("shingle key id"), key...))
	copy(k.id[:], sum[:])
	k.aead, err = cipher.NewGCM(block)
	return k, err
}

// createKey writes a fresh key under a temporary name and links it into place,
// so that two processes that start at once agree on one whole key.
func createKey(path string) error {
	if _, err := os.Stat(path); err == nil {
		return os.ErrExist
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return err
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	_, err = f.Write(key)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Link(f.Name(), path)
	}
	return errors.Join(err, os.Remove(f.Name()))
}

// Seal implements [Sealer].
func (k *KeyFile) Seal(plain []byte, context string) ([]byte, error) {
	nonce := make([]byte, k.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	out := append(append([]byte{}, k.id[:]...), nonce...)
	return k.aead.Seal(out, nonce, plain, []byte(context)), nil
}

// Open implements [Sealer].
func (k *KeyFile) Open(sealed []byte, context string) ([]byte, error) {
	head := len(k.id) + k.aead.NonceSize()
	if len(sealed) < head {
		return nil, errors.New("sealed value is too short")
	}
	if [8]byte(sealed[:8]) != k.id {
		return nil, fmt.Errorf("sealed under the master key %s, not under %s", hex.EncodeToString(sealed[:8]), hex.EncodeToString(k.id[:]))
	}
	plain, err := k.aead.Open(nil, sealed[len(k.id):head], sealed[head:], []byte(context))
	if err != nil {
		return nil, errors.New("sealed value was changed or belongs to another record")
	}
	return plain, nil
}
