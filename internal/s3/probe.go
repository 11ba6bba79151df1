package s3

import (
	"context"
	"encoding/hex"
	"errors"

	"github.com/shingle-proxy/shingle"
)

// Probe writes and deletes an object beside the records, and returns
// [shingle.ErrForbidden] when the server ignores a condition: two edges would
// then overwrite each other's certificates. Any other error means that it could
// not be found out.
func (s *Store) Probe(ctx context.Context) error {
	name := s.folder + "!probe/" + hex.EncodeToString(nonce())
	version, err := s.write(ctx, name, contentOf(nil), shingle.NoVersion)
	if err != nil {
		return err
	}
	other, err := s.probe(ctx, name, version)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Timeout)
	defer cancel()
	if deleteErr := s.remove(end, name, other); err == nil {
		err = deleteErr
	}
	if err != nil {
		return err
	}
	err = s.remove(ctx, name, other)
	if err != nil && !errors.Is(err, shingle.ErrNotFound) && !errors.Is(err, shingle.ErrConflict) {
		return err
	}
	s.vague.Store(err == nil)
	s.proven.Store(true)
	return nil
}

// probe tries the conditions on an object with that version, and returns its
// version in the end.
func (s *Store) probe(ctx context.Context, name, version string) (string, error) {
	if now, err := s.write(ctx, name, contentOf(nil), shingle.NoVersion); !errors.Is(err, shingle.ErrConflict) {
		return now, ignored("If-None-Match on PUT", err)
	}
	second, err := s.write(ctx, name, contentOf(nil), version)
	if err != nil {
		return version, err
	}
	if second == version {
		return second, ignored("a new ETag for a new content", nil)
	}
	if now, err := s.write(ctx, name, contentOf(nil), version); !errors.Is(err, shingle.ErrConflict) {
		return now, ignored("If-Match on PUT", err)
	}
	if err := s.remove(ctx, name, version); !errors.Is(err, shingle.ErrConflict) {
		return second, ignored("If-Match on DELETE", err)
	}
	return second, nil
}

// ignored says what the server ignored, unless err says that it was not reached.
func ignored(what string, err error) error {
	if err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return err
	}
	return shingle.Errorf(shingle.CodeForbidden, "the S3 server ignores %s: it cannot keep the records of a fleet; use AWS S3 or a server that knows conditional writes and deletes", what)
}

// prove probes the server before the first write, one caller at a time.
func (s *Store) prove(ctx context.Context) error {
	if s.proven.Load() {
		return nil
	}
	select {
	case s.probing <- struct{}{}:
		defer func() { <-s.probing }()
	case <-ctx.Done():
		return s.translate(ctx.Err(), "probe", "")
	}
	if s.proven.Load() {
		return nil
	}
	return s.Probe(ctx)
}
