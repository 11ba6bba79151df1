package storecopy

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shingle-proxy/shingle"
)

// diff reads both sides in order, and tells each difference: of the two items one
// is nil where it is missing.
func (c *run) diff(ctx context.Context, from, to *side, verifying bool, each func(from, to *item) error) error {
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
		c.tell(Progress{Verifying: verifying, Counts: from.Counts})
	}
}

// Bounds of the writes that are under way.
const (
	writers   = 16
	batchSize = 250 // domains in one call
)

// copy makes To like From, and returns what there is and how many differences
// there were.
func (c *run) copy(ctx context.Context) (counts Counts, written int, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	var rows []shingle.Domain
	load := func() {
		batch := rows
		rows = nil
		group.Go(func() error {
			return again(ctx, func() error { return c.To.Domains.LoadDomains(ctx, batch) })
		})
	}
	from := c.walk(c.From)
	err = c.diff(ctx, from, c.walk(c.To), false, func(f, t *item) error {
		written++
		if f != nil && f.kind == kindDomain {
			if rows = append(rows, f.domain); len(rows) == batchSize {
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
		return from.Counts, written, fmt.Errorf("write TO: %w", failed)
	}
	return from.Counts, written, err
}

// apply mends one difference.
func (c *run) apply(ctx context.Context, f, t *item) error {
	switch {
	case f == nil && t.kind == kindRecord:
		return c.remove(ctx, t.key)
	case f == nil && t.kind == kindDomain:
		return again(ctx, func() error {
			err := c.To.Domains.DeleteDomain(ctx, t.key, 0, "", time.Now())
			if errors.Is(err, shingle.ErrNotFound) {
				return nil
			}
			return err
		})
	}
	return c.put(ctx, f.key, f.content)
}

// put writes a record, whatever is there.
func (c *run) put(ctx context.Context, key string, value []byte) error {
	version := shingle.NoVersion
	return again(ctx, func() error {
		_, err := c.To.Blobs.Put(ctx, key, value, version)
		if err == nil || errors.Is(err, shingle.ErrInvalid) {
			return err
		}
		now, readErr := c.To.Blobs.Get(ctx, key)
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
func (c *run) remove(ctx context.Context, key string) error {
	return again(ctx, func() error {
		now, err := c.To.Blobs.Get(ctx, key)
		if err == nil {
			err = c.To.Blobs.Delete(ctx, key, now.Version)
		}
		if errors.Is(err, shingle.ErrNotFound) {
			return nil
		}
		return err
	})
}

// verify reads both sides again, and compares them.
func (c *run) verify(ctx context.Context) (Counts, string, error) {
	from, to := c.walk(c.From), c.walk(c.To)
	err := c.diff(ctx, from, to, true, func(f, t *item) error {
		switch {
		case t == nil:
			return fmt.Errorf("%s is in FROM alone: something was at work on it; end that, and run the same command again", f)
		case f == nil:
			return fmt.Errorf("%s is in TO alone: something was at work on FROM or TO; end that, and run the same command again", t)
		}
		return fmt.Errorf("%s differs: something was at work on FROM or TO; end that, and run the same command again", f)
	})
	if err != nil {
		return from.Counts, "", fmt.Errorf("compare FROM and TO: %w", err)
	}
	one, other := from.sum.Sum(nil), to.sum.Sum(nil)
	if !bytes.Equal(one, other) {
		return from.Counts, "", errors.New("compare FROM and TO: their digests differ")
	}
	return from.Counts, hex.EncodeToString(one), nil
}
