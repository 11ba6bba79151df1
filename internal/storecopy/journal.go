package storecopy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/shingle-proxy/shingle"
)

// ownPrefix begins the keys of what a copy writes for itself.
const ownPrefix = "store-copy/"

// journalKey is the record in the target while it is not whole. No process starts
// on a store that has one.
const journalKey = ownPrefix + "journal"

// journal is what it holds.
type journal struct {
	From  string    `json:"from"`
	Begun time.Time `json:"begun"`
}

// Unfinished returns an error when the store is half a copy.
func Unfinished(ctx context.Context, b shingle.Blobs) error {
	record, err := b.Get(ctx, journalKey)
	if err != nil {
		return nil // there is none, or the store is away, and was whole before
	}
	var j journal
	_ = json.Unmarshal(record.Value, &j) // it only tells
	return fmt.Errorf("the store is half a copy of %s: run shingle store copy again to its end", j.From)
}

// begun reports whether an earlier run from the same From was interrupted. Else To
// must be empty.
func (c *run) begun(ctx context.Context) (resumed bool, err error) {
	if c.To == nil {
		return false, nil
	}
	b, err := c.To.Blobs.Get(ctx, journalKey)
	if errors.Is(err, shingle.ErrNotFound) {
		return false, c.empty(ctx)
	}
	if err != nil {
		return false, fmt.Errorf("read TO: %w", err)
	}
	var j journal
	if err := json.Unmarshal(b.Value, &j); err != nil {
		return false, fmt.Errorf("read the journal of TO: %w", err)
	}
	if j.From != c.From.Name {
		return false, fmt.Errorf("TO is half a copy of %s: finish that, or name another place", j.From)
	}
	return true, nil
}

// empty returns an error unless nothing is in To that a copy would write over.
func (c *run) empty(ctx context.Context) error {
	const no = "TO is not empty: it has the %s %s; nothing is overwritten, so name another place, or empty this one"
	keys, err := c.To.Blobs.List(ctx, "", "", 1)
	switch {
	case err != nil:
		return fmt.Errorf("read TO: %w", err)
	case len(keys) > 0:
		return fmt.Errorf(no, "record", keys[0])
	case c.RecordsAlone:
		return nil
	}
	rows, err := c.To.Domains.Domains(ctx, "", 1)
	switch {
	case err != nil:
		return fmt.Errorf("read TO: %w", err)
	case len(rows) > 0:
		return fmt.Errorf(no, "domain", rows[0].Host)
	}
	return nil
}

// begin marks To as half a copy.
func (c *run) begin(ctx context.Context, resumed bool) error {
	if resumed {
		return nil
	}
	j, err := json.Marshal(journal{From: c.From.Name, Begun: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	return c.put(ctx, journalKey, j)
}

// end marks To as whole.
func (c *run) end(ctx context.Context) error { return c.remove(ctx, journalKey) }
