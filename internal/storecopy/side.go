package storecopy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/shingle-proxy/shingle"
)

// The kinds of what is copied, in their order.
const (
	kindDomain = iota
	kindRecord
	kindEnd
)

// item is a domain or a record.
type item struct {
	kind    int
	key     string
	content []byte // all of it, the same in every store
	domain  shingle.Domain
}

// before orders items. Nothing is behind all.
func (i *item) before(j *item) bool {
	switch {
	case i == nil || j == nil:
		return i != nil
	case i.kind != j.kind:
		return i.kind < j.kind
	}
	return i.key < j.key
}

func (i *item) String() string {
	return [...]string{"the domain ", "the record "}[i.kind] + i.key
}

// Bounds of what a side holds.
const (
	pageSize = 1000
	window   = 64 // records, of 384 KiB at most
	readers  = 16
)

// side reads an installation in order.
type side struct {
	of    *Installation
	skip  func(key string) bool // records that are not copied
	kind  int                   // of what is read now
	after string
	keys  []string // of records that were listed and not read yet
	items []*item
	sum   hash.Hash
	Counts
}

// walk begins to read one.
func (c *run) walk(of *Installation) *side {
	s := &side{of: of, skip: c.skip, sum: sha256.New()}
	if c.RecordsAlone {
		s.kind = kindRecord
	}
	return s
}

// skip tells what is not copied.
func (c *run) skip(key string) bool {
	return strings.HasPrefix(key, ownPrefix) || c.Skip != nil && c.Skip(key)
}

// peek returns the next item, nil at the end.
func (s *side) peek(ctx context.Context) (*item, error) {
	for len(s.items) == 0 && s.kind < kindEnd {
		if err := s.read(ctx); err != nil {
			return nil, fmt.Errorf("read %s: %w", s.of.Name, err)
		}
	}
	if len(s.items) == 0 {
		return nil, nil
	}
	return s.items[0], nil
}

// take goes on behind the next item.
func (s *side) take() {
	i := s.items[0]
	s.items = s.items[1:]
	if i.kind == kindDomain {
		s.Domains++
	} else {
		s.Records++
		s.Bytes += int64(len(i.content))
	}
	_, _ = s.sum.Write(binary.AppendUvarint([]byte{byte(i.kind)}, uint64(len(i.key)))) // a hash never fails
	_, _ = s.sum.Write([]byte(i.key))
	_, _ = s.sum.Write(binary.AppendUvarint(nil, uint64(len(i.content))))
	_, _ = s.sum.Write(i.content)
}

// read reads on. It goes on to the next kind at the end of one.
func (s *side) read(ctx context.Context) error {
	if s.kind == kindDomain {
		return s.page(ctx)
	}
	if len(s.keys) == 0 {
		if ended, err := s.list(ctx); ended || err != nil {
			return err
		}
	}
	n := min(len(s.keys), window)
	next := s.keys[:n]
	s.keys = s.keys[n:]
	return s.fetch(ctx, next)
}

// count goes on by a page, and counts it: records by their keys alone.
func (s *side) count(ctx context.Context) error {
	if s.kind == kindDomain {
		err := s.page(ctx)
		for len(s.items) > 0 {
			s.take()
		}
		return err
	}
	_, err := s.list(ctx)
	s.Records += len(s.keys)
	s.keys = nil
	return err
}

// page reads a page of domains.
func (s *side) page(ctx context.Context) error {
	var page []shingle.Domain
	if err := again(ctx, func() (err error) {
		page, err = s.of.Domains.Domains(ctx, s.after, pageSize)
		return err
	}); err != nil {
		return err
	}
	if why := s.of.Unreadable.Summary(); why != "" {
		return fmt.Errorf("%s: mend it or remove it, for nothing may be left out", strings.Replace(why, ", and is passed over", "", 1))
	}
	for _, d := range page {
		content, err := json.Marshal(d)
		if err != nil {
			return err
		}
		s.items, s.after = append(s.items, &item{kind: kindDomain, key: d.Host, content: content, domain: d}), d.Host
	}
	if len(page) < pageSize {
		s.kind, s.after = s.kind+1, ""
	}
	return nil
}

// list lists the next keys.
func (s *side) list(ctx context.Context) (ended bool, err error) {
	var page []string
	if err := again(ctx, func() (err error) { page, err = s.of.Blobs.List(ctx, "", s.after, pageSize); return err }); err != nil {
		return false, err
	}
	if len(page) == 0 {
		s.kind = kindEnd
		return true, nil
	}
	s.after = page[len(page)-1]
	s.keys = slices.DeleteFunc(page, s.skip)
	return len(s.keys) == 0, nil
}

// fetch reads records, many at once. One that is gone is none.
func (s *side) fetch(ctx context.Context, keys []string) error {
	items := make([]*item, len(keys))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for n, key := range keys {
		group.Go(func() error {
			return again(ctx, func() error {
				b, err := s.of.Blobs.Get(ctx, key)
				if errors.Is(err, shingle.ErrNotFound) {
					return nil
				}
				items[n] = &item{kind: kindRecord, key: key, content: b.Value}
				return err
			})
		})
	}
	err := group.Wait()
	s.items = slices.DeleteFunc(items, func(i *item) bool { return i == nil })
	return err
}
