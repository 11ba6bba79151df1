package certs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/shingle-proxy/shingle"
)

const (
	storeTimeout  = 5 * time.Second // of one operation on Blobs
	maxStoreReads = 64              // at once; more wait for their turn
)

// store is the blobs, with a bound on each operation, and the keys that seal what
// is secret in them.
type store struct {
	blobs shingle.Blobs
	keys  *keyring
	reads chan struct{} // one for each read that runs
}

// newStore returns a store that can be used until ctx ends.
func newStore(ctx context.Context, cfg *Config) *store {
	s := &store{blobs: cfg.Blobs, reads: make(chan struct{}, maxStoreReads)}
	s.keys = newKeyring(ctx, s, cfg.MasterKey, cfg.Now, cfg.Logger)
	return s
}

// get decodes the record at key into v and returns its version. The error is
// [shingle.ErrNotFound] only when there is certainly none.
func (s *store) get(ctx context.Context, key string, v any) (version string, err error) {
	b, err := s.read(ctx, key)
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(b.Value, v); err != nil {
		return "", fmt.Errorf("decode record %s: %w", key, err)
	}
	return b.Version, nil
}

// version returns the version of the record at key, readable or not, and
// [shingle.NoVersion] when there is none.
func (s *store) version(ctx context.Context, key string) (string, error) {
	b, err := s.read(ctx, key)
	if errors.Is(err, shingle.ErrNotFound) {
		return shingle.NoVersion, nil
	}
	return b.Version, err
}

func (s *store) read(ctx context.Context, key string) (shingle.Blob, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := acquire(ctx, s.reads); err != nil {
		return shingle.Blob{}, err
	}
	defer func() { <-s.reads }()
	b, err := s.blobs.Get(ctx, key)
	if errors.Is(err, shingle.ErrNotFound) {
		return b, shingle.ErrNotFound
	}
	if err != nil {
		return b, storeError(err)
	}
	return b, nil
}

// put writes v if the record's version is still ifVersion. After an error that
// leaves open whether it did, it looks: a write whose reply was lost is one.
func (s *store) put(ctx context.Context, key string, v any, ifVersion string) (version string, err error) {
	value, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encode record %s: %w", key, err)
	}
	write, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	version, err = s.blobs.Put(write, key, value, ifVersion)
	if err == nil || errors.Is(err, shingle.ErrConflict) || errors.Is(err, shingle.ErrInvalid) {
		return version, err
	}
	if b, readErr := s.read(ctx, key); readErr == nil && bytes.Equal(b.Value, value) && b.Version != ifVersion {
		return b.Version, nil
	}
	return "", storeError(err)
}

// remove deletes the record at key if its version is still ifVersion.
func (s *store) remove(ctx context.Context, key, ifVersion string) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return s.blobs.Delete(ctx, key, ifVersion)
}

// list returns keys with the prefix that sort after `after`.
func (s *store) list(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	keys, err := s.blobs.List(ctx, prefix, after, limit)
	if err != nil {
		return nil, storeError(err)
	}
	return keys, nil
}

func storeError(err error) error {
	return &shingle.Error{Code: shingle.CodeUnavailable, Message: "the certificate store does not answer", Err: err}
}

// acquire takes a place in a channel that serves as a lock or a semaphore. It
// returns [shingle.ErrUnavailable] when ctx ends first.
func acquire(ctx context.Context, places chan struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &shingle.Error{Code: shingle.CodeUnavailable, Message: "busy; try again in a moment", Err: ctx.Err()}
	}
}
