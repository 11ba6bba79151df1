package app

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
	"github.com/shingle-proxy/shingle/internal/members"
)

// The kinds of what is copied, in their order.
const (
	copyDomain = iota
	copyRecord
	copyEnd
)

// copyItem is a domain or a record.
type copyItem struct {
	kind    int
	key     string
	content []byte // all of it, the same in every store
	version string // of a record, where it was read

	domain shingle.Domain
}

// before orders items. Nothing is behind all.
func (i *copyItem) before(j *copyItem) bool {
	switch {
	case i == nil || j == nil:
		return i != nil
	case i.kind != j.kind:
		return i.kind < j.kind
	}
	return i.key < j.key
}

func (i *copyItem) String() string {
	return [...]string{"the domain ", "the record "}[i.kind] + i.key
}

// Bounds of what a side holds.
const (
	copyPage    = 1000
	copyWindow  = 64 // records, of 384 KiB at most
	copyReaders = 16
)

// copySide reads an installation in order.
type copySide struct {
	o     *opened
	skip  func(key string) bool // records that are not copied
	kind  int                   // of what is read now
	after string
	keys  []string // of records that were listed and not read yet
	items []*copyItem
	sum   hash.Hash
	CopyCounts
}

// side begins to read one.
func (c *storeCopy) side(o *opened) *copySide {
	s := &copySide{o: o, skip: c.skip, sum: sha256.New()}
	if c.sameDomains {
		s.kind = copyRecord
	}
	return s
}

// feedPositions are the records that say how far a part has followed the change
// feed of the store that it ran on.
var feedPositions = []string{"worker/domains", "checks/position", "events/position"}

// skip tells what is not copied: what is of this store alone, and which processes
// there are.
func (c *storeCopy) skip(key string) bool {
	return strings.HasPrefix(key, "store-copy/") || strings.HasPrefix(key, checkPrefix) || strings.HasPrefix(key, members.Prefix) || !c.sameDomains && slices.Contains(feedPositions, key)
}

// peek returns the next item, nil at the end.
func (s *copySide) peek(ctx context.Context) (*copyItem, error) {
	for len(s.items) == 0 && s.kind < copyEnd {
		if err := s.read(ctx); err != nil {
			return nil, fmt.Errorf("read %s: %w", s.o, err)
		}
	}
	if len(s.items) == 0 {
		return nil, nil
	}
	return s.items[0], nil
}

// take goes on behind the next item.
func (s *copySide) take() {
	i := s.items[0]
	s.items = s.items[1:]
	switch i.kind {
	case copyDomain:
		s.Domains++
	default:
		s.Records++
		s.Bytes += int64(len(i.content))
	}
	_, _ = s.sum.Write(binary.AppendUvarint([]byte{byte(i.kind)}, uint64(len(i.key)))) // a hash never fails
	_, _ = s.sum.Write([]byte(i.key))
	_, _ = s.sum.Write(binary.AppendUvarint(nil, uint64(len(i.content))))
	_, _ = s.sum.Write(i.content)
}

// read reads on. It goes on to the next kind at the end of one.
func (s *copySide) read(ctx context.Context) error {
	switch s.kind {
	case copyDomain:
		return s.page(ctx)
	}
	if len(s.keys) == 0 {
		if ended, err := s.list(ctx); ended || err != nil {
			return err
		}
	}
	n := min(len(s.keys), copyWindow)
	window := s.keys[:n]
	s.keys = s.keys[n:]
	return s.fetch(ctx, window)
}

// page reads a page of domains.
func (s *copySide) page(ctx context.Context) error {
	var page []shingle.Domain
	if err := again(ctx, func() (err error) {
		page, err = s.o.domainStore.Domains(ctx, s.after, copyPage)
		return err
	}); err != nil {
		return err
	}
	for _, d := range page {
		content, err := json.Marshal(d)
		if err != nil {
			return err
		}
		s.items, s.after = append(s.items, &copyItem{kind: copyDomain, key: d.Host, content: content, domain: d}), d.Host
	}
	if len(page) < copyPage {
		s.kind, s.after = s.kind+1, ""
	}
	return nil
}

// list lists the next keys.
func (s *copySide) list(ctx context.Context) (ended bool, err error) {
	var page []string
	if err := again(ctx, func() (err error) { page, err = s.o.blobStore.List(ctx, "", s.after, copyPage); return err }); err != nil {
		return false, err
	}
	if len(page) == 0 {
		s.kind = copyEnd
		return true, nil
	}
	s.after = page[len(page)-1]
	s.keys = slices.DeleteFunc(page, s.skip)
	return len(s.keys) == 0, nil
}

// fetch reads records, many at once. One that is gone is none.
func (s *copySide) fetch(ctx context.Context, keys []string) error {
	items := make([]*copyItem, len(keys))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(copyReaders)
	for n, key := range keys {
		group.Go(func() error {
			return again(ctx, func() error {
				b, err := s.o.blobStore.Get(ctx, key)
				if errors.Is(err, shingle.ErrNotFound) {
					return nil
				}
				items[n] = &copyItem{kind: copyRecord, key: key, content: b.Value, version: b.Version}
				return err
			})
		})
	}
	err := group.Wait()
	s.items = slices.DeleteFunc(items, func(i *copyItem) bool { return i == nil })
	return err
}
