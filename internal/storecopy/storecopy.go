// Package storecopy makes a whole installation out of another: the domains with
// their versions, and all records as they are. A copy is a comparison that mends:
// both are read in the same order, side by side, and each difference is written.
package storecopy

import (
	"context"
	"fmt"

	"github.com/shingle-proxy/shingle"
)

// Installation is where everything of an installation is.
type Installation struct {
	Name    string // unlike that of any other
	Domains shingle.MovableStore
	Blobs   shingle.Blobs
	// Unreadable is what Domains tells of rows that cannot be read, and so cannot be
	// copied; nil: it tells nobody.
	Unreadable *shingle.Unreadable
}

// Config says what [Run] copies.
type Config struct {
	From *Installation
	To   *Installation // nil, of a dry run: it is not there yet
	// RecordsAlone says that the domains are in the same place in both.
	RecordsAlone bool
	// Skip, when set, tells the records that mean nothing in another place.
	Skip   func(key string) bool
	DryRun bool // look, count, and write nothing
	// Live leaves To half a copy, as something is at work on From: another run, when
	// nothing is, has only the rest to do.
	Live bool
	// Progress, when set, is told how far it is, often.
	Progress func(Progress)
}

// Progress is how far a copy is.
type Progress struct {
	Verifying bool
	Counts
}

// Counts are what was met on the way.
type Counts struct {
	Domains, Records int
	Bytes            int64 // of records
}

// Result is what [Run] did.
type Result struct {
	Counts         // that are now in both
	Written int    // how many of them this run had to write
	Digest  string // SHA-256 over all of them, read from both; empty: not compared
	Resumed bool   // an earlier run had begun
}

// Run makes To like From. To must be empty, or what an earlier run left that was
// interrupted: that is gone on with. In the end both are read again and compared.
func Run(ctx context.Context, cfg Config) (result Result, err error) {
	c := run{Config: cfg}
	if result.Resumed, err = c.begun(ctx); err != nil {
		return result, err
	}
	if cfg.DryRun {
		result.Counts, err = c.count(ctx)
		return result, err
	}
	if err := c.begin(ctx, result.Resumed); err != nil {
		return result, err
	}
	if result.Counts, result.Written, err = c.copy(ctx); err != nil {
		return result, fmt.Errorf("%w; the same command goes on from here", err)
	}
	if cfg.Live {
		return result, nil
	}
	if result.Counts, result.Digest, err = c.verify(ctx); err != nil {
		return result, err
	}
	return result, c.end(ctx)
}

// run is one run.
type run struct{ Config }

// tell tells how far it is.
func (c *run) tell(p Progress) {
	if c.Progress != nil {
		c.Progress(p)
	}
}

// count counts what is in From. It does not read records.
func (c *run) count(ctx context.Context) (Counts, error) {
	s := c.walk(c.From)
	for s.kind != kindEnd {
		if err := s.count(ctx); err != nil {
			return s.Counts, err
		}
		c.tell(Progress{Counts: s.Counts})
	}
	return s.Counts, nil
}
