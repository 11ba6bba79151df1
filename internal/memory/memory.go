// Package memory keeps domains and blobs in memory: the stores of tests.
package memory

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Store is a [shingle.DomainStore] and a [shingle.Blobs]. Its zero value is
// empty and ready.
type Store struct {
	mu      sync.Mutex
	domains map[string]shingle.Domain
	hosts   keys // of domains
	changes []shingle.Change
	blobs   map[string]shingle.Blob
	keys    keys // of blobs
	version int64
}

var (
	_ shingle.DomainStore = (*Store)(nil)
	_ shingle.Blobs       = (*Store)(nil)
)

// locked runs f under the lock, unless ctx has ended.
func (s *Store) locked(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.domains == nil {
		s.domains, s.blobs = map[string]shingle.Domain{}, map[string]shingle.Blob{}
	}
	return f()
}

// CreateDomain implements [shingle.DomainStore].
func (s *Store) CreateDomain(ctx context.Context, d shingle.Domain, now time.Time) (created shingle.Domain, err error) {
	err = s.locked(ctx, func() error {
		if _, ok := s.domains[d.Host]; ok {
			return shingle.ErrExists
		}
		d.Version, d.CreatedAt = 1, stored(now)
		d.UpdatedAt = d.CreatedAt
		created = s.write(d, shingle.Domain{})
		return nil
	})
	return created, err
}

// CountDomains implements [shingle.DomainCounter].
func (s *Store) CountDomains(ctx context.Context, tenant string, most int) (n int, err error) {
	err = s.locked(ctx, func() error {
		for _, d := range s.domains {
			if d.Tenant == tenant && n < most {
				n++
			}
		}
		return nil
	})
	return n, err
}

// Domain implements [shingle.DomainStore].
func (s *Store) Domain(ctx context.Context, host string) (d shingle.Domain, err error) {
	err = s.locked(ctx, func() error {
		d, err = s.domain(host)
		return err
	})
	return d, err
}

// UpdateDomain implements [shingle.DomainStore].
func (s *Store) UpdateDomain(ctx context.Context, d shingle.Domain, now time.Time) (updated shingle.Domain, err error) {
	err = s.locked(ctx, func() error {
		old, err := s.domain(d.Host)
		if err != nil {
			return err
		}
		if d, err = d.Replacing(old, now); err != nil {
			return err
		}
		updated = s.write(d, old)
		return nil
	})
	return updated, err
}

// DeleteDomain implements [shingle.DomainStore].
func (s *Store) DeleteDomain(ctx context.Context, host string, version int64, by string, now time.Time) error {
	return s.locked(ctx, func() error {
		d, err := s.domain(host)
		if err != nil {
			return err
		}
		if version != 0 && version != d.Version {
			return shingle.ErrConflict
		}
		delete(s.domains, host)
		s.hosts.remove(host)
		s.changes = append(s.changes, shingle.Change{
			Host: host, Deleted: true, Domain: shingle.Domain{Host: host}, Before: d, At: stored(now), By: by,
		})
		return nil
	})
}

// Domains implements [shingle.DomainStore].
func (s *Store) Domains(ctx context.Context, after string, limit int) (list []shingle.Domain, err error) {
	err = s.locked(ctx, func() error {
		if err := checkLimit(limit); err != nil {
			return err
		}
		for _, host := range s.hosts.list("", after, limit) {
			list = append(list, s.domains[host])
		}
		return nil
	})
	return list, err
}

// FindDomains implements [shingle.DomainStore]. It goes through all domains.
func (s *Store) FindDomains(ctx context.Context, q shingle.DomainQuery) (list []shingle.Domain, err error) {
	err = s.locked(ctx, func() error {
		if err := q.Validate(); err != nil {
			return err
		}
		for _, d := range s.domains {
			begun := q.After.Host == "" || compare(q.Order, shingle.PlaceOf(&d), q.After) > 0
			if begun && (q.Tenant == "" || q.Tenant == d.Tenant) {
				list = append(list, d)
			}
		}
		slices.SortFunc(list, func(a, b shingle.Domain) int { return compare(q.Order, shingle.PlaceOf(&a), shingle.PlaceOf(&b)) })
		list = list[:min(len(list), q.Limit)]
		return nil
	})
	return list, err
}

func compare(order shingle.DomainOrder, a, b shingle.DomainPlace) int {
	byHost := strings.Compare(a.Host, b.Host)
	switch order {
	case shingle.OldestFirst:
		return cmp.Or(a.Created.Compare(b.Created), byHost)
	case shingle.NewestFirst:
		return -cmp.Or(a.Created.Compare(b.Created), byHost)
	}
	return byHost
}

// Head implements [shingle.DomainStore].
func (s *Store) Head(ctx context.Context) (c shingle.Cursor, err error) {
	err = s.locked(ctx, func() error { c = cursor(len(s.changes)); return nil })
	return c, err
}

// Changes implements [shingle.DomainStore].
func (s *Store) Changes(ctx context.Context, after shingle.Cursor, limit int) (list []shingle.Change, next shingle.Cursor, err error) {
	err = s.locked(ctx, func() error {
		if err := checkLimit(limit); err != nil {
			return err
		}
		at := 0
		if after != "" {
			if at, err = strconv.Atoi(string(after)); err != nil || at < 0 {
				return shingle.ErrNotFound // of another kind of store
			}
		}
		if at > len(s.changes) {
			return shingle.ErrNotFound // of another store, which had more
		}
		next = after
		if list = slices.Clone(s.changes[at:min(at+limit, len(s.changes))]); len(list) > 0 {
			next = cursor(at + len(list))
		}
		return nil
	})
	return list, next, err
}

// Get implements [shingle.Blobs].
func (s *Store) Get(ctx context.Context, key string) (b shingle.Blob, err error) {
	err = s.locked(ctx, func() error {
		var ok bool
		if b, ok = s.blobs[key]; !ok {
			return shingle.ErrNotFound
		}
		b.Value = slices.Clone(b.Value)
		return nil
	})
	return b, err
}

// Put implements [shingle.Blobs].
func (s *Store) Put(ctx context.Context, key string, value []byte, ifVersion string) (version string, err error) {
	if err := shingle.CheckBlob(key, value); err != nil {
		return "", err
	}
	err = s.locked(ctx, func() error {
		if s.blobs[key].Version != ifVersion {
			return shingle.ErrConflict
		}
		s.version++
		version = strconv.FormatInt(s.version, 10)
		s.blobs[key] = shingle.Blob{Key: key, Value: slices.Clone(value), Version: version}
		s.keys.add(key)
		return nil
	})
	return version, err
}

// Delete implements [shingle.Blobs].
func (s *Store) Delete(ctx context.Context, key, ifVersion string) error {
	return s.locked(ctx, func() error {
		b, ok := s.blobs[key]
		switch {
		case !ok:
			return shingle.ErrNotFound
		case b.Version != ifVersion:
			return shingle.ErrConflict
		}
		delete(s.blobs, key)
		s.keys.remove(key)
		return nil
	})
}

// List implements [shingle.Blobs].
func (s *Store) List(ctx context.Context, prefix, after string, limit int) (list []string, err error) {
	err = s.locked(ctx, func() error {
		if err := checkLimit(limit); err != nil {
			return err
		}
		list = s.keys.list(prefix, after, limit)
		return nil
	})
	return list, err
}

func (s *Store) domain(host string) (shingle.Domain, error) {
	d, ok := s.domains[host]
	if !ok {
		return d, shingle.ErrNotFound
	}
	return d, nil
}

// write stores the row with its change, and returns it.
func (s *Store) write(d, before shingle.Domain) shingle.Domain {
	s.domains[d.Host] = d
	s.hosts.add(d.Host)
	s.changes = append(s.changes, shingle.Change{Host: d.Host, Domain: d, Before: before, At: d.UpdatedAt, By: d.UpdatedBy})
	return d
}

func checkLimit(limit int) error {
	if limit < 1 || limit > 1000 {
		return &shingle.Error{Code: shingle.CodeInvalid, Field: "limit", Message: "a limit is 1 to 1000"}
	}
	return nil
}

func cursor(n int) shingle.Cursor { return shingle.Cursor(strconv.Itoa(n)) }

// stored is the form in which times are kept.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
