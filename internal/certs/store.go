package certs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

const (
	storeTimeout  = 5 * time.Second // of one operation on Blobs
	maxStoreReads = 64              // at once; more wait for their turn
)

// store is the blobs, with a bound on each operation, and the keys that seal what
// is secret in them.
type store struct {
	blobs      shingle.Blobs
	near       Reader // read by what serves: a replica, or blobs themselves
	replica    bool
	keys       *keyring
	reads      chan struct{} // one for each read that runs
	unreadable *shingle.Unreadable
	copies     *copies // on this machine; nil when there are none
	outage     outage  // of near
	away       outage  // of blobs, when near is a replica
}

// newStore returns a store that can be used until ctx ends.
func newStore(ctx context.Context, cfg *Config) *store {
	s := &store{blobs: cfg.Blobs, near: cfg.Near, replica: cfg.Near != nil, reads: make(chan struct{}, maxStoreReads), unreadable: cfg.Unreadable, copies: newCopies(cfg.Copy, cfg.Logger)}
	if !s.replica {
		s.near = cfg.Blobs
	}
	s.keys = newKeyring(ctx, s, cfg)
	return s
}

// get decodes the record at key into v and returns its version. The error is
// [shingle.ErrNotFound] only when there is certainly none. It is [shingle.ErrUnreadable]
// when v cannot be made of it; then, too, the version is returned.
func (s *store) get(ctx context.Context, key string, v any) (version string, err error) {
	b, err := s.read(ctx, key)
	if err != nil {
		return "", err
	}
	return b.Version, s.decode(b, v)
}

func (s *store) decode(b shingle.Blob, v any) error { return records.Decode(b, v, s.unreadable) }

// copyWait is how long the store may take before the local copy is served.
const copyWait = time.Second

// serve is get for the sake of a visitor: it asks the replica nearby, and when
// that fails, or takes longer than copyWait, the local copy does, if there is one.
// Nothing may be written on the ground of a copy, which local reports: the store may
// have another record meanwhile, or none.
func (s *store) serve(ctx context.Context, key string, v any) (version string, local bool, err error) {
	if s.copies != nil && s.outage.avoid() {
		if value, ok := s.copies.get(ctx, key); ok {
			return "", true, s.decode(shingle.Blob{Key: key, Value: value}, v)
		}
	}
	b, err := s.readOrCopy(ctx, key)
	if err == nil {
		return b.Version, b.Version == "", s.decode(b, v)
	}
	return "", false, err
}

// readOrCopy returns the record, or its local copy without a version.
func (s *store) readOrCopy(ctx context.Context, key string) (shingle.Blob, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var b shingle.Blob
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		b, err = s.readFrom(ctx, s.near, &s.outage, key)
	}()
	soon := time.NewTimer(copyWait)
	defer soon.Stop()
	select {
	case <-done:
	case <-soon.C:
		if value, ok := s.copies.get(ctx, key); ok {
			s.outage.note(false) // the next ones need not wait as long
			return shingle.Blob{Key: key, Value: value}, nil
		}
		<-done
	}
	if err != nil && !errors.Is(err, shingle.ErrNotFound) {
		if value, ok := s.copies.get(ctx, key); ok {
			return shingle.Blob{Key: key, Value: value}, nil
		}
	}
	return b, err
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
	return s.readFrom(ctx, s.blobs, s.outageOfBlobs(), key)
}

func (s *store) outageOfBlobs() *outage {
	if s.replica {
		return &s.away
	}
	return &s.outage
}

func (s *store) readFrom(ctx context.Context, from Reader, o *outage, key string) (shingle.Blob, error) {
	timed, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := acquire(timed, s.reads); err != nil {
		return shingle.Blob{}, err
	}
	defer func() { <-s.reads }()
	b, err := from.Get(timed, key)
	o.noteRead(ctx, err)
	if errors.Is(err, shingle.ErrNotFound) {
		s.copies.keep(key, nil)
		return b, shingle.ErrNotFound
	}
	if err != nil {
		return b, storeError(err)
	}
	s.copies.keep(key, b.Value)
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
	if err == nil {
		s.copies.keep(key, value)
	}
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
	err := s.blobs.Delete(ctx, key, ifVersion)
	if err == nil || errors.Is(err, shingle.ErrNotFound) {
		s.copies.keep(key, nil)
	}
	return err
}

// list returns keys with the prefix that sort after `after`.
func (s *store) list(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	timed, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	keys, err := s.blobs.List(timed, prefix, after, limit)
	s.outageOfBlobs().noteRead(ctx, err)
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
