package s3

import (
	"bytes"
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/shingle-proxy/shingle"
)

// Delete implements [shingle.Blobs].
func (s *Store) Delete(ctx context.Context, key, ifVersion string) error {
	if shingle.CheckBlob(key, nil) != nil {
		return shingle.ErrNotFound
	}
	if ifVersion == shingle.NoVersion { // S3 has no such condition, and it can never hold
		return s.differs(ctx, key)
	}
	if err := s.prove(ctx); err != nil {
		return err
	}
	name := s.encode(key) + string(end)
	if s.vague.Load() {
		return s.claim(ctx, key, name, ifVersion)
	}
	doubt, err := s.retry(ctx, func(ctx context.Context) error { return s.remove(ctx, name, ifVersion) })
	switch {
	case doubt && (errors.Is(err, shingle.ErrConflict) || errors.Is(err, shingle.ErrNotFound)):
		return unclear("delete", err) // it may have been us
	case errors.Is(err, shingle.ErrConflict): // some servers say so of what is gone
		return s.differs(ctx, key)
	}
	return err
}

// differs returns [shingle.ErrConflict], or [shingle.ErrNotFound] when the
// record is gone.
func (s *Store) differs(ctx context.Context, key string) error {
	_, err := s.Get(ctx, key)
	if err == nil {
		err = shingle.ErrConflict
	}
	return err
}

// remove makes one attempt.
func (s *Store) remove(ctx context.Context, name, ifVersion string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: &name, IfMatch: &ifVersion})
	if isMissing(err) {
		return shingle.ErrNotFound
	}
	return s.translate(err, "delete", "s3:DeleteObject")
}

// claim deletes where a DELETE does not tell whether there was anything to
// delete. A mark takes the record's place, by a PUT with its condition, and is
// then deleted. Whoever meets a mark takes it for absence.
func (s *Store) claim(ctx context.Context, key, name, ifVersion string) error {
	mark, err := s.write(ctx, name, head(markMagic), ifVersion)
	if errors.Is(err, shingle.ErrConflict) {
		return s.differs(ctx, key)
	}
	if err == nil {
		_ = s.remove(ctx, name, mark) // or the next Get does
	}
	return err
}

func isMark(content []byte) bool {
	return len(content) == headSize && bytes.HasPrefix(content, []byte(markMagic))
}
