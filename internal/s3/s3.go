// Package s3 keeps [shingle.Blobs] in an S3 bucket, one object a record, with
// the conditional writes of S3 (If-None-Match and If-Match on PUT, If-Match on
// DELETE).
package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/shingle-proxy/shingle"
)

// Store is a [shingle.Blobs] in a bucket.
//
// An object's version is its ETag. S3 makes it out of the content, so each
// content begins with a nonce: no two writes share a version, and a write whose
// reply was lost can be told from somebody else's.
type Store struct {
	cfg    Config
	client *s3.Client
	folder string // the prefix with a slash behind it, or empty

	probing chan struct{} // held by the one who probes
	proven  atomic.Bool   // the server heeds conditions
	vague   atomic.Bool   // a DELETE of what is gone succeeds there, If-Match or not
}

// Open returns the store that cfg describes. It reaches out to nobody: the first
// write probes the server, unless [Store.Probe] has. The caller closes it.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, probing: make(chan struct{}, 1)}
	if cfg.Prefix != "" {
		s.folder = cfg.Prefix + "/"
	}
	var err error
	s.client, err = s.cfg.client(ctx)
	return s, err
}

// Close frees the connections.
func (s *Store) Close() error {
	if t, ok := s.cfg.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
	return nil
}

// Get implements [shingle.Blobs].
func (s *Store) Get(ctx context.Context, key string) (shingle.Blob, error) {
	if shingle.CheckBlob(key, nil) != nil {
		return shingle.Blob{}, shingle.ErrNotFound // no such record can be
	}
	name := s.encode(key) + string(end)
	content, version, err := s.read(ctx, name)
	switch {
	case err != nil:
		return shingle.Blob{}, err
	case isMark(content):
		_ = s.remove(ctx, name, version) // its writer may have died
		return shingle.Blob{}, shingle.ErrNotFound
	}
	return shingle.Blob{Key: key, Value: valueOf(content), Version: version}, nil
}

// Put implements [shingle.Blobs].
func (s *Store) Put(ctx context.Context, key string, value []byte, ifVersion string) (string, error) {
	if err := shingle.CheckBlob(key, value); err != nil {
		return "", err
	}
	if err := s.prove(ctx); err != nil {
		return "", err
	}
	name, content := s.encode(key)+string(end), contentOf(value)
	version, err := s.write(ctx, name, content, ifVersion)
	if ifVersion == shingle.NoVersion && errors.Is(err, shingle.ErrConflict) && s.vague.Load() {
		if now, mark, readErr := s.read(ctx, name); readErr == nil && isMark(now) {
			return s.write(ctx, name, content, mark)
		}
	}
	return version, err
}

// write repeats a PUT that failed on the way. When it then meets a record that
// differs from what was expected, the earlier attempt may have made it so. A
// creation that may have been done is not repeated: somebody may have deleted the
// record between two attempts, and would see it come back.
func (s *Store) write(ctx context.Context, name string, content []byte, ifVersion string) (version string, err error) {
	creation := ifVersion == shingle.NoVersion
	doubt, err := s.attempts(ctx, !creation, func(ctx context.Context) (err error) {
		version, err = s.put(ctx, name, content, ifVersion)
		return err
	})
	if !doubt || !creation && !errors.Is(err, shingle.ErrConflict) {
		return version, err
	}
	now, version, readErr := s.read(ctx, name)
	switch {
	case readErr == nil && bytes.Equal(now, content):
		return version, nil
	case creation && readErr != nil && !errors.Is(readErr, shingle.ErrNotFound):
		return "", err // no answer to either
	}
	return "", unclear("write", errors.Join(err, readErr))
}

// put makes one attempt.
func (s *Store) put(ctx context.Context, name string, content []byte, ifVersion string) (string, error) {
	in := &s3.PutObjectInput{
		Bucket: &s.cfg.Bucket, Key: &name, Body: bytes.NewReader(content), ServerSideEncryption: types.ServerSideEncryption(s.cfg.Encryption),
	}
	if s.cfg.KMSKey != "" {
		in.SSEKMSKeyId = &s.cfg.KMSKey
	}
	if ifVersion == shingle.NoVersion {
		in.IfNoneMatch = new("*")
	} else {
		in.IfMatch = &ifVersion
	}
	out, err := s.client.PutObject(ctx, in)
	switch {
	case isMissing(err): // If-Match, and there is no object
		return "", shingle.ErrConflict
	case err != nil:
		return "", s.translate(err, "write", "s3:PutObject")
	case out.ETag == nil || *out.ETag == "":
		return "", &shingle.Error{Code: shingle.CodeUnavailable, Message: "the S3 server names no version of what it wrote"}
	}
	return *out.ETag, nil
}

// List implements [shingle.Blobs]. It costs a request, more only where the
// bucket holds what is not ours.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if limit < 1 || limit > 1000 {
		return nil, invalid("limit", "a limit is 1 to 1000")
	}
	p := page{store: s, prefix: prefix, after: after, limit: limit, from: s.startAfter(after)}
	if !p.possible() {
		return nil, ctx.Err()
	}
	for {
		more := false
		_, err := s.retry(ctx, func(ctx context.Context) (err error) {
			more, err = p.next(ctx)
			return err
		})
		if err != nil {
			return nil, err
		}
		if !more {
			return p.keys, nil
		}
	}
}

// read returns an object's content and version, or [shingle.ErrNotFound].
func (s *Store) read(ctx context.Context, name string) (content []byte, version string, err error) {
	_, err = s.retry(ctx, func(ctx context.Context) (err error) {
		content, version, err = s.get(ctx, name)
		return err
	})
	return content, version, err
}

// get makes one attempt.
func (s *Store) get(ctx context.Context, name string) ([]byte, string, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: &name})
	if isMissing(err) {
		return nil, "", shingle.ErrNotFound
	}
	if err != nil {
		return nil, "", s.translate(err, "read", "s3:GetObject")
	}
	defer out.Body.Close()
	content, err := io.ReadAll(io.LimitReader(out.Body, int64(maxContent)+1))
	switch {
	case err != nil:
		return nil, "", s.translate(err, "read", "s3:GetObject")
	case len(content) > maxContent:
		return nil, "", &shingle.Error{Code: shingle.CodeUnavailable, Message: "an object in the bucket is too large to be a record", Err: errors.New(name)}
	case out.ETag == nil || *out.ETag == "":
		return nil, "", &shingle.Error{Code: shingle.CodeUnavailable, Message: "the S3 server names no version of what it has"}
	}
	return content, *out.ETag, nil
}

// An object's content is one line, "shingle-blob NONCE", and the value behind it.
const (
	magic      = "shingle-blob "
	markMagic  = "shingle-gone " // of a mark: see Store.claim
	nonceSize  = 16
	headSize   = len(magic) + 2*nonceSize + 1
	maxContent = headSize + shingle.MaxBlobValue
)

func contentOf(value []byte) []byte { return append(head(magic), value...) }

func head(magic string) []byte { return append(hex.AppendEncode([]byte(magic), nonce()), '\n') }

func nonce() []byte {
	b := make([]byte, nonceSize)
	_, _ = rand.Read(b) // never fails
	return b
}

// valueOf returns the value in an object's content. What something else has
// written in its place is its own value, so that it can be replaced.
func valueOf(content []byte) []byte {
	if len(content) < headSize || !bytes.HasPrefix(content, []byte(magic)) {
		return content
	}
	return content[headSize:]
}

// unclear is the error of a write that may have happened.
func unclear(verb string, err error) error {
	return &shingle.Error{
		Code: shingle.CodeUnavailable, Message: "whether the bucket took the change is not known: read again",
		Err: errors.New(verb + " object: " + err.Error()), // not wrapped: its code is no answer
	}
}
