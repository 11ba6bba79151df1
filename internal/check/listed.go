package check

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

const (
	listedPrefix = "checks/listed/"
	noTenant     = "-"             // which begins no tenant's name
	endOfTime    = int64(1e16 - 1) // microseconds; what is later comes first
)

// Listed is the index of statuses, a [shingle.StatusIndex]. Its entries are keys:
//
//	checks/listed/WHO/STATE/TIME/HOST/TENANT/NONCE
//
// TIME counts down, so that the newest change is first. Each status but those of removed
// names has one entry, which a [Keeper] moves when state, reason, who or tenant change:
// the daily check of a domain that is well leaves it. Until the statuses of before there
// was an index are in it, it answers [shingle.ErrUnavailable].
type Listed struct {
	records    *records.Store
	unreadable *shingle.Unreadable
	whole      atomic.Bool // as far as is known
}

// NewListed returns the index in blobs.
// Keys of entries that are none it tells unreadable, which may be nil.
func NewListed(blobs shingle.Blobs, unreadable *shingle.Unreadable) *Listed {
	return &Listed{records: records.New(blobs, unreadable), unreadable: unreadable}
}

// Listed implements [shingle.StatusIndex].
func (l *Listed) Listed(ctx context.Context, kind shingle.StatusKind, after shingle.ListedStatus, limit int) ([]shingle.ListedStatus, error) {
	if err := l.mustBeWhole(ctx); err != nil {
		return nil, err
	}
	prefix, behind := kindPrefix(kind), ""
	if after.Host != "" {
		behind = prefix + countdown(after.Changed) + "/" + after.Host + "/~" // which sorts behind all that a key has
	}
	list := make([]shingle.ListedStatus, 0, limit)
	for {
		left := limit - len(list) // others take the places of what is no entry
		keys, err := l.records.List(ctx, prefix, behind, left)
		if err != nil {
			return nil, fmt.Errorf("list statuses: %w", err)
		}
		for _, key := range keys {
			behind = key
			s, err := readListed(kind, strings.TrimPrefix(key, prefix))
			if err != nil {
				l.unreadable.Note(key, err)
				continue
			}
			list = append(list, s)
		}
		if len(keys) < left || len(list) == limit {
			return list, nil
		}
	}
}

const indexingKey = "checks/indexing"

// indexing says how far all statuses are in the index: those of the hosts up to After.
type indexing struct {
	After string `json:"after,omitempty"`
	Done  bool   `json:"done,omitempty"`
}

func (l *Listed) mustBeWhole(ctx context.Context) error {
	if l.whole.Load() {
		return nil
	}
	var at indexing
	if _, err := l.records.Get(ctx, indexingKey, &at); err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return err
	}
	if !at.Done {
		return shingle.Errorf(shingle.CodeUnavailable, "the index of statuses is being made, try again in a minute")
	}
	l.whole.Store(true)
	return nil
}

// Bounds of the making of the index.
const (
	indexPage    = 200
	indexWriters = 16
)

// keepIndexing makes the index whole, whatever fails meanwhile.
func (k *Keeper) keepIndexing(ctx context.Context) {
	for {
		err := k.index(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		k.log.Error("the index of statuses is not whole, trying again in a minute", "error", err)
		select {
		case <-time.After(time.Minute):
		case <-ctx.Done():
			return
		}
	}
}

// index puts the statuses into the index that were written before there was one. It goes
// on where another process ended, and costs one read when all are there.
func (k *Keeper) index(ctx context.Context) error {
	if k.indexed.Load() {
		return nil
	}
	var at indexing
	version, err := k.records.Get(ctx, indexingKey, &at)
	if err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return err
	}
	for !at.Done {
		list, err := k.cfg.Domains.Domains(ctx, at.After, indexPage)
		if err != nil {
			return err
		}
		group, each := errgroup.WithContext(ctx)
		group.SetLimit(indexWriters)
		for _, d := range list {
			at.After = d.Host
			group.Go(func() error {
				_, err := k.change(each, d.Host, func(s shingle.Status, _ time.Time) shingle.Status { return s })
				return readableAlone(err)
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		at.Done = len(list) < indexPage
		version, err = k.records.Put(ctx, indexingKey, at, version)
		if errors.Is(err, shingle.ErrConflict) { // another process does the same
			version, err = k.records.Get(ctx, indexingKey, &at)
		}
		if err != nil {
			return err
		}
	}
	k.indexed.Store(true)
	return nil
}

// listedKey is the key of a new entry for s, which no other write has; empty for none.
func listedKey(s *shingle.Status) string {
	if s.State == shingle.StateRemoved {
		return ""
	}
	tenant := noTenant
	if s.Tenant != "" {
		tenant = strings.ReplaceAll(s.Tenant, ":", "*") // keys have no colon, and tenants no star
	}
	return kindPrefix(shingle.StatusKind{State: s.State, Who: s.Who}) + countdown(s.Changed) + "/" + s.Host + "/" + tenant + "/" + rand.Text()[:10]
}

func kindPrefix(k shingle.StatusKind) string {
	return listedPrefix + k.Who + "/" + string(k.State) + "/"
}

func countdown(t time.Time) string { return fmt.Sprintf("%016d", endOfTime-t.UnixMicro()) }

// readListed reads a key behind the prefix of its kind.
func readListed(kind shingle.StatusKind, key string) (l shingle.ListedStatus, err error) {
	part := strings.Split(key, "/")
	if len(part) != 4 {
		return l, shingle.RecordFault("its key has " + strconv.Itoa(len(part)) + " parts")
	}
	left, err := strconv.ParseInt(part[0], 10, 64)
	l = shingle.ListedStatus{StatusKind: kind, Host: part[1], Changed: time.UnixMicro(endOfTime - left).UTC()}
	if part[2] != noTenant {
		l.Tenant = strings.ReplaceAll(part[2], "*", ":")
	}
	return l, err
}
