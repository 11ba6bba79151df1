package records

import (
	"context"
	"errors"
	"fmt"

	"github.com/shingle-proxy/shingle"
)

// Feed follows the change feed of the domains for one part of Shingle, of which
// one process of the fleet at a time is at work. How far it came is in the store,
// so the next process goes on there; what was taken in just before a crash is
// taken in again.
type Feed struct {
	Records *Store
	Domains shingle.DomainStore
	Key     string // of the record that says how far it came
	// All has all domains taken in before the first change, and again when the
	// feed no longer goes back to where it was read last; what was deleted in
	// between is then not told. Otherwise it begins at the beginning of the feed, and
	// goes on at its end when changes behind the last position are no longer in it.
	All bool
	// Take takes in one change, and can be repeated. With All it gets rows that did
	// not change too, as if they had just been created.
	Take func(ctx context.Context, c *shingle.Change) error
	// Gap, when set, is told that changes are missing.
	Gap func()

	// What the store has, as far as we know: a look at nothing new reads the changes
	// alone. Empty before the first Step and after an error.
	last    position
	version string
	known   bool
}

// position is how far a Feed came.
type position struct {
	Cursor shingle.Cursor `json:"cursor"`
	All    bool           `json:"all,omitempty"`   // all domains are being read, from the beginning of which Cursor is
	After  string         `json:"after,omitempty"` // the last host of them
}

const feedPage = 500

// Step takes in what there is. After an error it can be called again.
func (f *Feed) Step(ctx context.Context) error {
	err := f.step(ctx)
	f.known = err == nil
	return err
}

func (f *Feed) step(ctx context.Context) error {
	if !f.known {
		if err := f.open(ctx); err != nil {
			return fmt.Errorf("read position: %w", err)
		}
	}
	for {
		p := f.last
		var err error
		if p.All {
			err = f.page(ctx, &p)
		} else {
			err = f.changes(ctx, &p)
		}
		if err != nil || p == f.last {
			return err
		}
		if f.version, err = f.Records.Put(ctx, f.Key, p, f.version); err != nil {
			return fmt.Errorf("write position: %w", err)
		}
		f.last = p
	}
}

// open reads the position.
func (f *Feed) open(ctx context.Context) (err error) {
	f.last = position{}
	f.version, err = f.Records.Get(ctx, f.Key, &f.last)
	if errors.Is(err, shingle.ErrNotFound) {
		f.version = shingle.NoVersion
		f.last, err = f.begin(ctx)
	} else if errors.Is(err, shingle.ErrUnreadable) { // to take things in again does no harm, and to stand still does
		f.last, err = f.begin(ctx)
	}
	return err
}

// begin is the position of who has read nothing.
func (f *Feed) begin(ctx context.Context) (p position, err error) {
	if f.All {
		p.All = true
		p.Cursor, err = f.Domains.Head(ctx)
	}
	return p, err
}

// page takes in some of all domains.
func (f *Feed) page(ctx context.Context, p *position) error {
	list, err := f.Domains.Domains(ctx, p.After, feedPage)
	if err != nil {
		return fmt.Errorf("read domains: %w", err)
	}
	for i := range list {
		d := list[i]
		if err := f.Take(ctx, &shingle.Change{Host: d.Host, Domain: d, At: d.UpdatedAt, By: d.UpdatedBy}); err != nil {
			return err
		}
		p.After = d.Host
	}
	if len(list) < feedPage {
		p.After, p.All = "", false
	}
	return nil
}

// changes takes in some of what changed.
func (f *Feed) changes(ctx context.Context, p *position) error {
	list, next, err := f.Domains.Changes(ctx, p.Cursor, feedPage)
	if errors.Is(err, shingle.ErrNotFound) {
		if f.Gap != nil && p.Cursor != "" {
			f.Gap()
		}
		head, err := f.Domains.Head(ctx)
		*p = position{Cursor: head, All: f.All}
		return err
	}
	if err != nil {
		return fmt.Errorf("read changes: %w", err)
	}
	for i := range list {
		if err := f.Take(ctx, &list[i]); err != nil {
			return err
		}
	}
	p.Cursor = next
	return nil
}
