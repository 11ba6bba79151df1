// Package files keeps [shingle.Blobs] in a folder, one file a record.
//
// A record's file is only ever replaced as a whole, by a rename, so a reader
// takes no lock and sees the old or the new. Writers of one record, in this
// process and in others on the same machine, take turns under a lock that the
// system drops when its holder dies. The folder must be on a local disk.
package files

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/shingle-proxy/shingle"
)

// Store is a [shingle.Blobs] in a folder. An acknowledged write survives a crash
// of the process and of the machine. The context is heeded between two steps and
// while waiting for a turn: no system can end an operation on a disk.
type Store struct {
	dir   string
	locks [lockCount]*lock
}

// lockCount is how many writes can be under way at once. Other processes may be
// of another version of this program: it never changes.
const lockCount = 16

// Open returns the store in the folder dir, which it makes, for the owner alone,
// when it is not there. The caller closes the Store.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	for i := range s.locks {
		l, err := openLock(filepath.Join(dir, fmt.Sprintf("lock-%02d", i)))
		if err != nil {
			return nil, fmt.Errorf("open folder: %w", errors.Join(err, s.Close()))
		}
		s.locks[i] = l
	}
	return s, nil
}

// Close waits for the writes under way and frees what Open took. Writes that
// come later fail with [shingle.ErrUnavailable].
func (s *Store) Close() error {
	var errs []error
	for _, l := range s.locks {
		if l != nil {
			errs = append(errs, l.close())
		}
	}
	return errors.Join(errs...)
}

// Get implements [shingle.Blobs].
func (s *Store) Get(ctx context.Context, key string) (shingle.Blob, error) {
	if err := ctx.Err(); err != nil {
		return shingle.Blob{}, unavailable("read", err)
	}
	if shingle.CheckBlob(key, nil) != nil {
		return shingle.Blob{}, shingle.ErrNotFound // no such record can be
	}
	f, err := readFile(s.path(key))
	if err != nil {
		return shingle.Blob{}, err
	}
	return shingle.Blob{Key: key, Value: f.value, Version: f.version}, nil
}

// Put implements [shingle.Blobs].
func (s *Store) Put(ctx context.Context, key string, value []byte, ifVersion string) (version string, err error) {
	if err := shingle.CheckBlob(key, value); err != nil {
		return "", err
	}
	content := encode(key, value)
	err = s.change(ctx, key, ifVersion, func(temporary, path string) error {
		if err := writeFile(temporary, content); err != nil {
			return err
		}
		return os.Rename(temporary, path)
	})
	if err != nil {
		return "", err
	}
	return versionOf(content), nil
}

// Delete implements [shingle.Blobs].
func (s *Store) Delete(ctx context.Context, key, ifVersion string) error {
	if shingle.CheckBlob(key, nil) != nil {
		return shingle.ErrNotFound
	}
	if ifVersion == shingle.NoVersion {
		_, err := s.Get(ctx, key)
		if err == nil {
			err = shingle.ErrConflict
		}
		return err
	}
	err := s.change(ctx, key, ifVersion, func(_, path string) error { return os.Remove(path) })
	if errors.Is(err, shingle.ErrConflict) {
		if _, getErr := s.Get(ctx, key); errors.Is(getErr, shingle.ErrNotFound) {
			return shingle.ErrNotFound
		}
	}
	return err
}

// change runs do, in key's turn, if the record's version is still ifVersion, and
// makes what it did last. The file temporary is do's own, and may be there from
// a writer that died.
func (s *Store) change(ctx context.Context, key, ifVersion string, do func(temporary, path string) error) error {
	n := lockOf(key)
	if err := s.locks[n].acquire(ctx); err != nil {
		return unavailable("lock", err)
	}
	defer s.locks[n].release()
	path := s.path(key)
	now, err := readFile(path)
	if err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return err
	}
	if now.version != ifVersion {
		return shingle.ErrConflict
	}
	if err := do(filepath.Join(s.dir, fmt.Sprintf("temporary-%02d", n)), path); err != nil {
		return unavailable("write", err)
	}
	if err := syncDir(s.dir); err != nil {
		return unavailable("sync", err)
	}
	return nil
}

func (s *Store) path(key string) string { return filepath.Join(s.dir, fileName(key)) }

// lockOf never changes, like lockCount.
func lockOf(key string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never fails
	return int(h.Sum32() % lockCount)
}

// A record's file is one line, "shingle-blob KEY NONCE", and the value behind it.
const (
	magic   = "shingle-blob "
	maxFile = len(magic) + shingle.MaxBlobKey + 1 + 2*nonceSize + 1 + shingle.MaxBlobValue

	nonceSize = 16
)

// file is what a record's file holds. Its version is a hash of all of it, so
// even a file that something else has damaged can be replaced and deleted.
type file struct {
	key     string // empty when damaged
	value   []byte
	version string
}

// encode returns the content of a record's file. Its nonce makes each differ.
func encode(key string, value []byte) []byte {
	nonce := make([]byte, nonceSize)
	_, _ = rand.Read(nonce) // never fails
	b := make([]byte, 0, len(magic)+len(key)+1+2*nonceSize+1+len(value))
	b = append(b, magic...)
	b = append(b, key...)
	b = append(b, ' ')
	b = hex.AppendEncode(b, nonce)
	b = append(b, '\n')
	return append(b, value...)
}

func versionOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:16])
}

// readFile returns what is at path, or [shingle.ErrNotFound].
func readFile(path string) (file, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return file{}, shingle.ErrNotFound
	}
	if err != nil {
		return file{}, unavailable("read", err)
	}
	defer f.Close() //nolint:errcheck // only read
	content, err := io.ReadAll(io.LimitReader(f, int64(maxFile)))
	if err != nil {
		return file{}, unavailable("read", err)
	}
	head, value, _ := bytes.Cut(content, []byte("\n"))
	line, ok := bytes.CutPrefix(head, []byte(magic))
	key, _, whole := bytes.Cut(line, []byte(" "))
	if !ok || !whole {
		return file{value: content, version: versionOf(content)}, nil
	}
	return file{key: string(key), value: value, version: versionOf(content)}, nil
}

// writeFile writes a file, for the owner alone, and brings it onto the disk.
func writeFile(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes the names in dir survive a crash of the machine.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func unavailable(verb string, err error) error {
	return &shingle.Error{Code: shingle.CodeUnavailable, Message: "the folder cannot be used now, try again later", Err: fmt.Errorf("%s record: %w", verb, err)}
}
