// Package keyfile is a [shingle.MasterKey] in local files.
package keyfile

import (
	"cmp"
	"context"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/shingle-proxy/shingle"
)

const size = shingle.MasterKeySize

// Key is a [shingle.MasterKey] in local files: AES-256-GCM with a random
// nonce in front of the ciphertext.
//
// The first key is in the file at the path, its successors beside it: seal.key,
// seal.key.2, seal.key.3 and so on. All unwrap; the one with the highest number
// wraps. The files are read again before a key wraps and when an unknown one is
// asked for, so that a new file needs no restart.
type Key struct {
	path string

	mu     sync.RWMutex
	keys   map[string]cipher.AEAD // by ID
	ids    []string               // the newest last
	newest string                 // ID
}

// Open reads the 32-byte master keys at path. When there are none it
// makes one, and its folder, for the owner alone. It refuses a file that others
// can read, or of another length. A file of another owner's, such as a secret that
// Kubernetes mounts, may be readable by its group: how else could we.
//
// Without these files no stored key can be read again: they belong into a backup,
// apart from that of the store.
func Open(path string) (*Key, error) {
	k, err := Read(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if err := createFile(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("open master key: %w", err)
	}
	return Read(path)
}

// Read is [Open] for keys that are there: it returns
// [fs.ErrNotExist] when there are none.
func Read(path string) (*Key, error) {
	k := &Key{path: path}
	if err := k.read(); err != nil {
		return nil, fmt.Errorf("open master key: %w", err)
	}
	return k, nil
}

// Save writes keys that were had from elsewhere, the oldest first, as the
// files at path, where they are not yet. It refuses keys that differ from those that
// are there.
func Save(path string, keys [][]byte) error {
	for i, key := range keys {
		name := path
		if i > 0 {
			name += "." + strconv.Itoa(i+1)
		}
		have, err := readFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			if err = linkFile(name, key); err == nil || !errors.Is(err, fs.ErrExist) {
				if err != nil {
					return fmt.Errorf("save master key: %w", err)
				}
				continue
			}
			have, err = readFile(name)
		}
		if err != nil {
			return fmt.Errorf("save master key: %w", err)
		}
		if subtle.ConstantTimeCompare(have, key) != 1 {
			return shingle.Errorf(shingle.CodeInvalid, "%s is not the master key %s that it should be a copy of: move it away if it is of another installation", name, idOf(key))
		}
	}
	return nil
}

// Next makes the successor of the newest key at path, and returns the name
// of its file and its ID. It returns [fs.ErrNotExist] when there is no key yet.
func Next(path string) (name, id string, err error) {
	k, err := Read(path)
	if err != nil {
		return "", "", err
	}
	files, err := keyFiles(path)
	if err == nil {
		name = path + "." + strconv.Itoa(files[len(files)-1].number+1)
		err = createFile(name)
	}
	if err == nil {
		err = k.read()
	}
	if err != nil {
		return "", "", fmt.Errorf("make master key: %w", err)
	}
	return name, k.newest, nil
}

// Current implements [shingle.MasterKey].
func (k *Key) Current(context.Context) (string, error) {
	if err := k.read(); err != nil {
		return "", &shingle.Error{Code: shingle.CodeInvalid, Message: "the master key cannot be read: " + err.Error(), Err: err}
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.newest, nil
}

// IDs returns the keys that are there, the newest last.
func (k *Key) IDs(context.Context) ([]string, error) {
	if err := k.read(); err != nil {
		return nil, err
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	return slices.Clone(k.ids), nil
}

// Wrap implements [shingle.MasterKey].
func (k *Key) Wrap(ctx context.Context, secret []byte, purpose string) (shingle.WrappedKey, error) {
	id, err := k.Current(ctx)
	if err != nil {
		return shingle.WrappedKey{}, err
	}
	return shingle.WrappedKey{KeyID: id, Data: k.key(id).Seal(nil, nil, secret, []byte(purpose))}, nil
}

// Unwrap implements [shingle.MasterKey].
func (k *Key) Unwrap(_ context.Context, w shingle.WrappedKey, purpose string) ([]byte, error) {
	aead := k.key(w.KeyID)
	if aead == nil {
		if err := k.read(); err == nil {
			aead = k.key(w.KeyID)
		}
	}
	if aead == nil {
		return nil, shingle.Errorf(shingle.CodeInvalid, "the master key %s is not among the files %s*: put its file back, from a backup or another machine", w.KeyID, k.path)
	}
	secret, err := aead.Open(nil, nil, w.Data, []byte(purpose))
	if err != nil {
		return nil, shingle.Errorf(shingle.CodeInvalid, "the value under the master key %s was changed or belongs to another record", w.KeyID)
	}
	return secret, nil
}

func (k *Key) key(id string) cipher.AEAD {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.keys[id]
}

// read takes in the files as they are. After an error all is as before.
func (k *Key) read() error {
	files, err := keyFiles(k.path)
	if err != nil {
		return err
	}
	keys, ids, newest := map[string]cipher.AEAD{}, []string(nil), ""
	for _, f := range files {
		key, err := readFile(f.name)
		if err != nil {
			return err
		}
		newest = idOf(key)
		ids = append(ids, newest)
		if keys[newest], err = shingle.NewAEAD(key); err != nil {
			return err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys, k.ids, k.newest = keys, ids, newest
	return nil
}

func idOf(key []byte) string {
	sum := sha256.Sum256(append([]byte("shingle key id\x00"), key...))
	return "file-" + hex.EncodeToString(sum[:8])
}

// keyFile is the file of a master key.
type keyFile struct {
	name   string
	number int // 1 for the one without
}

// keyFiles lists the files of the keys at path, the newest last, or returns
// [fs.ErrNotExist].
func keyFiles(path string) ([]keyFile, error) {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(cmp.Or(dir, "."))
	if err != nil {
		return nil, err
	}
	var files []keyFile
	for _, e := range entries {
		f := keyFile{name: dir + e.Name(), number: 1}
		if suffix, ok := strings.CutPrefix(e.Name(), base+"."); ok {
			if f.number, err = strconv.Atoi(suffix); err != nil || f.number < 2 || suffix[0] == '0' {
				continue // somebody's own
			}
		} else if e.Name() != base {
			continue
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	slices.SortFunc(files, func(a, b keyFile) int { return a.number - b.number })
	return files, nil
}

func readFile(path string) ([]byte, error) {
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
	case openToOthers(info):
		return nil, fmt.Errorf("%s can be read by others: run chmod 600 on it, and think whether they did", path)
	case info.Size() != size:
		return nil, fmt.Errorf("%s has %d bytes and not %d: restore it from a backup", path, info.Size(), size)
	}
	key := make([]byte, size)
	if _, err := f.ReadAt(key, 0); err != nil {
		return nil, err
	}
	return key, nil
}

// createFile writes a fresh key. It returns [fs.ErrExist] when another was
// quicker.
func createFile(path string) error {
	key := make([]byte, size)
	_, _ = rand.Read(key) // never fails
	return linkFile(path, key)
}

// linkFile writes a key under a temporary name and links it into place, so that
// of several processes that start at once all use one whole key.
func linkFile(path string, key []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".key-*") // with mode 0600
	if err != nil {
		return err
	}
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
