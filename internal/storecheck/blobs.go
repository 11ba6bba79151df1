package storecheck

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Prefix begins the keys of what a check writes.
const Prefix = "store-check/"

// Behind [Prefix] is the time, so that the next check can delete what a killed one left.
const (
	keyTime  = "20060102T150405Z"
	keyLife  = time.Hour
	sweepEnd = 20 * time.Second // for deleting, after an interruption too
)

const (
	calls  = 5 // of each kind
	racers = 8
)

// Blobs writes, reads, lists and deletes as the certificates do, at a key of its own,
// of which it leaves nothing. It reports whether the store answers.
func (r *Report) Blobs(ctx context.Context, b shingle.Blobs) (answers bool) {
	c := blobsCheck{blobs: b, report: r, key: Prefix + time.Now().UTC().Format(keyTime) + "-" + rand.Text()}
	defer c.sweep(ctx)
	if !c.reading(ctx) {
		return !c.silent
	}
	if c.writing(ctx) && c.conditions(ctx) {
		c.race(ctx)
	}
	return !c.silent
}

// blobsCheck checks one store, at one key.
type blobsCheck struct {
	blobs   shingle.Blobs
	report  *Report
	key     string
	version string // of the record at key
	silent  bool   // the store did not answer
}

func (c *blobsCheck) fail(check string, err error) bool {
	c.silent = !c.report.Fail(check, err) || c.silent
	return false
}

func (c *blobsCheck) ok(check, message string) bool {
	c.report.ok(check, message)
	return true
}

// reading tries all kinds of reads, each of which may lack a permission.
func (c *blobsCheck) reading(ctx context.Context) bool {
	var t timer
	all := true
	for range calls {
		if err := t.time(func() error { _, err := c.blobs.Get(ctx, c.key); return absent(err) }); err != nil {
			if all = c.fail("reads", err); c.silent {
				return false
			}
			break
		}
	}
	if all {
		c.report.Reads = t.all
		c.ok("reads", t.String())
	}
	var lists timer
	for range calls {
		if err := lists.time(func() error { _, err := c.blobs.List(ctx, Prefix, "", 10); return err }); err != nil {
			return c.fail("lists", err)
		}
	}
	c.ok("lists", lists.String())
	return all
}

// writing writes a record again and again, and finds it.
func (c *blobsCheck) writing(ctx context.Context) bool {
	var t timer
	for i := range calls {
		err := t.time(func() (err error) {
			c.version, err = c.blobs.Put(ctx, c.key, fmt.Appendf(nil, "%d", i), c.version)
			return err
		})
		if err != nil {
			return c.fail("writes", err)
		}
	}
	c.report.Writes = t.all
	c.ok("writes", t.String())
	now, err := c.blobs.Get(ctx, c.key)
	keys, listErr := c.blobs.List(ctx, c.key, "", 10)
	switch err := errors.Join(err, listErr); {
	case err != nil:
		return c.fail("read after write", err)
	case now.Version != c.version || string(now.Value) != fmt.Sprint(calls-1) || len(keys) != 1 || keys[0] != c.key:
		return c.fail("read after write", errors.New("what was just written is not what is read"))
	}
	return c.ok("read after write", "at once")
}

// conditions tries writes that must be refused.
func (c *blobsCheck) conditions(ctx context.Context) bool {
	const old = "0123456789abcdef"
	put := func(version string) error { _, err := c.blobs.Put(ctx, c.key, []byte("x"), version); return err }
	for what, try := range map[string]func() error{
		"a second creation":            func() error { return put(shingle.NoVersion) },
		"a write of an old version":    func() error { return put(old) },
		"a deletion of an old version": func() error { return c.blobs.Delete(ctx, c.key, old) },
	} {
		err := try()
		if err == nil {
			err = fmt.Errorf("%s was taken: two processes could overwrite each other's certificates", what)
		}
		if !errors.Is(err, shingle.ErrConflict) {
			return c.fail("conditional writes", err)
		}
	}
	return true
}

// race has several write over the same version, of which one must win, and
// deletes the record.
func (c *blobsCheck) race(ctx context.Context) bool {
	var wins, losses atomic.Int64
	var all sync.WaitGroup
	failures := make([]error, racers)
	for i := range racers {
		all.Go(func() {
			_, err := c.blobs.Put(ctx, c.key, fmt.Appendf(nil, "racer %d", i), c.version)
			switch {
			case err == nil:
				wins.Add(1)
			case errors.Is(err, shingle.ErrConflict):
				losses.Add(1)
			default:
				failures[i] = err
			}
		})
	}
	all.Wait()
	switch err := errors.Join(failures...); {
	case wins.Load() > 1:
		return c.fail("conditional writes", fmt.Errorf("of %d writers at once, %d won: two processes could overwrite each other's certificates", racers, wins.Load()))
	case err != nil:
		return c.fail("conditional writes", err)
	case wins.Load() == 0:
		return c.fail("conditional writes", fmt.Errorf("of %d writers at once, none won", racers))
	}
	c.ok("conditional writes", fmt.Sprintf("what is old is refused, and of %d writers at once one won", racers))
	return c.deleting(ctx)
}

func (c *blobsCheck) deleting(ctx context.Context) bool {
	now, err := c.blobs.Get(ctx, c.key)
	if err == nil {
		err = c.blobs.Delete(ctx, c.key, now.Version)
	}
	if err == nil {
		_, err = c.blobs.Get(ctx, c.key)
		err = absent(err)
	}
	if err != nil {
		return c.fail("deletes", err)
	}
	return c.ok("deletes", "gone at once")
}

// sweep deletes what is left of this check, and of those that were killed.
func (c *blobsCheck) sweep(ctx context.Context) {
	if c.silent && c.version == "" {
		return // nothing was written
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sweepEnd)
	defer cancel()
	keys, err := c.blobs.List(ctx, Prefix, "", 100)
	if err != nil {
		keys = []string{c.key}
	}
	for _, key := range keys {
		at, err := time.Parse(keyTime, strings.SplitN(strings.TrimPrefix(key, Prefix), "-", 2)[0])
		if key != c.key && (err != nil || time.Since(at) < keyLife) {
			continue // another check is at work
		}
		if now, err := c.blobs.Get(ctx, key); err == nil {
			_ = c.blobs.Delete(ctx, key, now.Version) // or the next check does
		}
	}
}
