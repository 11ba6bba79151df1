// Package records keeps JSON records in a [shingle.Blobs] store: it bounds each
// operation, and tells a write whose reply was lost from one that did not happen.
package records

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Bounds of the operations.
const (
	timeout  = 5 * time.Second // of one
	attempts = 8               // of a removal that meets writes
)

// Store is a [shingle.Blobs] with records in it.
type Store struct {
	blobs      shingle.Blobs
	unreadable *shingle.Unreadable
}

// New returns the records in blobs. Those that cannot be read it tells unreadable, which
// may be nil.
func New(blobs shingle.Blobs, unreadable *shingle.Unreadable) *Store {
	return &Store{blobs, unreadable}
}

// Get decodes the record at key into v and returns its version. The error is
// [shingle.ErrNotFound] only when there is certainly none. It is [shingle.ErrUnreadable]
// when v cannot be made of it, or says by a method Readable that it is none; then, too,
// the version is returned, for the record's owner to write over it.
func (s *Store) Get(ctx context.Context, key string, v any) (version string, err error) {
	b, err := s.read(ctx, key)
	if err != nil {
		return "", err
	}
	return b.Version, Decode(b, v, s.unreadable)
}

// Decode decodes a record into v, as [Store.Get] has it.
func Decode(b shingle.Blob, v any, unreadable *shingle.Unreadable) error {
	err := json.Unmarshal(b.Value, v)
	if of, ok := v.(interface{ Readable() error }); ok && err == nil {
		err = of.Readable()
	}
	if err != nil {
		unreadable.Note(b.Key, err)
		return shingle.UnreadableError(b.Key, err)
	}
	unreadable.Mended(b.Key)
	return nil
}

// Put writes v if the record's version is still ifVersion. It returns
// [shingle.ErrConflict] when it is not.
func (s *Store) Put(ctx context.Context, key string, v any, ifVersion string) (version string, err error) {
	value, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encode record %s: %w", key, err)
	}
	write, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	version, err = s.blobs.Put(write, key, value, ifVersion)
	if err == nil || errors.Is(err, shingle.ErrConflict) || errors.Is(err, shingle.ErrInvalid) {
		return version, err
	}
	if b, readErr := s.read(ctx, key); readErr == nil && bytes.Equal(b.Value, value) && b.Version != ifVersion {
		return b.Version, nil
	}
	return "", unavailable(err)
}

// Create writes v unless there is a record at key, which is no error: whoever
// chooses keys by what is in the record can repeat it.
func (s *Store) Create(ctx context.Context, key string, v any) error {
	_, err := s.Put(ctx, key, v, shingle.NoVersion)
	if errors.Is(err, shingle.ErrConflict) {
		return nil
	}
	return err
}

// Remove deletes the record at key, whatever its version, if there is one.
func (s *Store) Remove(ctx context.Context, key string) error {
	for range attempts {
		b, err := s.read(ctx, key)
		if err == nil {
			err = s.remove(ctx, key, b.Version)
		}
		switch {
		case err == nil || errors.Is(err, shingle.ErrNotFound):
			return nil
		case !errors.Is(err, shingle.ErrConflict):
			return err
		}
	}
	return fmt.Errorf("remove record %s: %w", key, shingle.ErrConflict)
}

// List returns the keys with the prefix that sort after `after`, at most limit
// (1 to 1000) of them.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	keys, err := s.blobs.List(ctx, prefix, after, limit)
	if err != nil {
		return nil, unavailable(err)
	}
	return keys, nil
}

func (s *Store) read(ctx context.Context, key string) (shingle.Blob, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	b, err := s.blobs.Get(ctx, key)
	if err == nil || errors.Is(err, shingle.ErrNotFound) {
		return b, err
	}
	return b, unavailable(err)
}

func (s *Store) remove(ctx context.Context, key, version string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := s.blobs.Delete(ctx, key, version)
	if err == nil || errors.Is(err, shingle.ErrNotFound) || errors.Is(err, shingle.ErrConflict) {
		return err
	}
	return unavailable(err)
}

func unavailable(err error) error {
	return &shingle.Error{Code: shingle.CodeUnavailable, Message: "the store does not answer", Err: err}
}
