package app

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/dynamo"
	"github.com/shingle-proxy/shingle/internal/s3"
)

// diff reads both sides in order, and tells each difference: of the two items one
// is nil where it is missing.
func (c *storeCopy) diff(ctx context.Context, from, to *copySide, verifying bool, each func(from, to *copyItem) error) error {
	for {
		f, err := from.peek(ctx)
		if err != nil {
			return err
		}
		t, err := to.peek(ctx)
		switch {
		case err != nil:
			return err
		case f == nil && t == nil:
			return nil
		case f.before(t):
			from.take()
			err = each(f, nil)
		case t.before(f):
			to.take()
			err = each(nil, t)
		default:
			from.take()
			to.take()
			if !bytes.Equal(f.content, t.content) {
				err = each(f, t)
			}
		}
		if err != nil {
			return err
		}
		if c.cfg.Progress != nil {
			c.cfg.Progress(CopyProgress{Verifying: verifying, CopyCounts: from.CopyCounts})
		}
	}
}

// Bounds of the writes that are under way.
const (
	copyWriters = 16
	copyBatch   = 250 // domains in one call
)

// copy makes To like From, and returns what there is and how many differences
// there were.
func (c *storeCopy) copy(ctx context.Context) (counts CopyCounts, written int, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(copyWriters)
	var rows []shingle.Domain
	load := func() {
		batch := rows
		rows = nil
		group.Go(func() error {
			return again(ctx, func() error { return c.to.domainStore.LoadDomains(ctx, batch) })
		})
	}
	from := c.side(c.from)
	err = c.diff(ctx, from, c.side(c.to), false, func(f, t *copyItem) error {
		written++
		if f != nil && f.kind == copyDomain {
			if rows = append(rows, f.domain); len(rows) == copyBatch {
				load()
			}
			return nil
		}
		group.Go(func() error { return c.apply(ctx, f, t) })
		return context.Cause(ctx)
	})
	if len(rows) > 0 && err == nil {
		load()
	}
	if failed := group.Wait(); failed != nil {
		return from.CopyCounts, written, fmt.Errorf("write TO: %w", failed)
	}
	return from.CopyCounts, written, err
}

// apply mends one difference.
func (c *storeCopy) apply(ctx context.Context, f, t *copyItem) error {
	switch {
	case f == nil && t.kind == copyRecord:
		return c.remove(ctx, t.key)
	case f == nil && t.kind == copyDomain:
		return again(ctx, func() error {
			err := c.to.domainStore.DeleteDomain(ctx, t.key, 0, "", time.Now())
			if errors.Is(err, shingle.ErrNotFound) {
				return nil
			}
			return err
		})
	}
	return c.put(ctx, f.key, f.content)
}

// put writes a record, whatever is there.
func (c *storeCopy) put(ctx context.Context, key string, value []byte) error {
	version := shingle.NoVersion
	return again(ctx, func() error {
		_, err := c.to.blobStore.Put(ctx, key, value, version)
		if err == nil || errors.Is(err, shingle.ErrInvalid) {
			return err
		}
		now, readErr := c.to.blobStore.Get(ctx, key)
		switch {
		case readErr == nil && bytes.Equal(now.Value, value):
			return nil
		case readErr == nil:
			version = now.Version
		case errors.Is(readErr, shingle.ErrNotFound):
			version = shingle.NoVersion
		}
		return err
	})
}

// remove deletes a record, whatever is there.
func (c *storeCopy) remove(ctx context.Context, key string) error {
	return again(ctx, func() error {
		now, err := c.to.blobStore.Get(ctx, key)
		if err == nil {
			err = c.to.blobStore.Delete(ctx, key, now.Version)
		}
		if errors.Is(err, shingle.ErrNotFound) {
			return nil
		}
		return err
	})
}

// verify reads both sides again, and compares them.
func (c *storeCopy) verify(ctx context.Context) (CopyCounts, string, error) {
	from, to := c.side(c.from), c.side(c.to)
	err := c.diff(ctx, from, to, true, func(f, t *copyItem) error {
		switch {
		case t == nil:
			return fmt.Errorf("%s is in FROM alone: something was at work on it; end that, and run the same command again", f)
		case f == nil:
			return fmt.Errorf("%s is in TO alone: something was at work on FROM or TO; end that, and run the same command again", t)
		}
		return fmt.Errorf("%s differs: something was at work on FROM or TO; end that, and run the same command again", f)
	})
	if err != nil {
		return from.CopyCounts, "", fmt.Errorf("compare FROM and TO: %w", err)
	}
	one, other := from.sum.Sum(nil), to.sum.Sum(nil)
	if !bytes.Equal(one, other) {
		return from.CopyCounts, "", errors.New("compare FROM and TO: their digests differ")
	}
	return from.CopyCounts, hex.EncodeToString(one), nil
}

// count counts what is in From. It does not read records.
func (c *storeCopy) count(ctx context.Context) (CopyCounts, error) {
	s := c.side(c.from)
	for s.kind != copyEnd {
		if s.kind < copyRecord {
			if err := s.read(ctx); err != nil {
				return s.CopyCounts, err
			}
			for len(s.items) > 0 {
				s.take()
			}
		} else {
			if _, err := s.list(ctx); err != nil {
				return s.CopyCounts, err
			}
			s.Records += len(s.keys)
			s.keys = nil
		}
		if c.cfg.Progress != nil {
			c.cfg.Progress(CopyProgress{CopyCounts: s.CopyCounts})
		}
	}
	return s.CopyCounts, nil
}

// copyPatience is how long a store may fail before a copy is given up.
const copyPatience = 2 * time.Minute

// again repeats what failed for a while: an outage, or too many requests at once.
func again(ctx context.Context, do func() error) error {
	began := time.Now()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := do()
		if err == nil || !passing(err) || time.Since(began) > copyPatience {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// passing reports whether another try may succeed.
func passing(err error) bool {
	if errors.Is(err, dynamo.ErrSetup) || errors.Is(err, s3.ErrSetup) {
		return false
	}
	switch shingle.CodeOf(err) {
	case shingle.CodeUnavailable, shingle.CodeThrottled, shingle.CodeLimited, shingle.CodeConflict:
		return true
	}
	return false
}
