package dynamo

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
	"golang.org/x/sync/errgroup"
)

// Replica reads the table in this region, for those who serve: their reads are
// near, and go on when the home region is cut off. What it returns may be a moment
// old, the items in an order other than they were written in; it never says that
// something does not exist unless the home region says so. Whoever decides what to
// write reads the [Store]. Writes go home.
//
// At home it is the Store.
type Replica struct {
	store *Store
	told  told
}

var _ shingle.DomainStore = (*Replica)(nil)

// Replica returns the table as it is read in this region.
func (s *Store) Replica() *Replica { return &Replica{store: s} }

// Get returns a record of [shingle.Blobs].
func (r *Replica) Get(ctx context.Context, k string) (shingle.Blob, error) {
	if !r.store.atHome() && shingle.CheckBlob(k, nil) == nil {
		i, err := r.store.get(ctx, r.store.local, blobKey(k))
		if !errors.Is(err, shingle.ErrNotFound) {
			return i.blob(k), err
		}
	}
	return r.store.Get(ctx, k)
}

// Domain implements [shingle.DomainStore]. A row that is older than what the feed,
// or a write of this process, has told is read at home.
func (r *Replica) Domain(ctx context.Context, host string) (shingle.Domain, error) {
	if !r.store.atHome() {
		d, err := r.store.domain(ctx, r.store.local, host)
		switch {
		case err != nil:
			return shingle.Domain{}, err
		case d != nil && !r.told.later(d):
			return *d, nil
		}
	}
	return r.store.Domain(ctx, host)
}

// Domains implements [shingle.DomainStore].
func (r *Replica) Domains(ctx context.Context, after string, limit int) ([]shingle.Domain, error) {
	return r.store.domains(ctx, r.store.local, after, limit)
}

// FindDomains implements [shingle.DomainStore].
func (r *Replica) FindDomains(ctx context.Context, q shingle.DomainQuery) ([]shingle.Domain, error) {
	return r.store.findDomains(ctx, r.store.local, q)
}

// CountDomains implements [shingle.DomainCounter].
func (r *Replica) CountDomains(ctx context.Context, tenant string, most int) (int, error) {
	return r.store.countDomains(ctx, r.store.local, tenant, most)
}

// Changes implements [shingle.DomainStore]. A change that others have overtaken on
// their way to this region holds up those behind it in its log.
func (r *Replica) Changes(ctx context.Context, after shingle.Cursor, limit int) ([]shingle.Change, shingle.Cursor, error) {
	list, next, err := r.store.changes(ctx, r.store.local, after, limit)
	if !r.store.atHome() {
		for i := range list {
			r.told.add(&list[i])
		}
	}
	return list, next, err
}

// Head implements [shingle.DomainStore]. In a replica the end of a log may arrive
// before the rows of which it tells, so that who reads all rows from there on would
// miss them. It is therefore a place as far back as the logs are certain to go:
// rows that are later than their changes by less than that are made good by them.
func (r *Replica) Head(ctx context.Context) (shingle.Cursor, error) {
	s := r.store
	if s.atHome() {
		return s.Head(ctx)
	}
	heads, err := s.heads(ctx, s.local, true)
	if err != nil {
		return "", err
	}
	since := s.cfg.Now().Add(-s.cfg.Retention * 6 / 7).UnixMicro()
	var p position
	group, ctx := errgroup.WithContext(ctx)
	for i := range heads {
		group.Go(func() (err error) {
			p[i], err = r.before(ctx, i, heads[i], since)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	return p.cursor(), nil
}

// before returns the number of a change in one log that was made before since,
// with not many others up to then, going back by strides that double.
func (r *Replica) before(ctx context.Context, shard int, end head, since int64) (int64, error) {
	if end.at < since {
		return end.number, nil
	}
	for n, stride := end.number-1, int64(1); n > 0; n, stride = n-stride, stride*2 {
		list, err := r.store.query(ctx, r.store.local, logQuery{shard: shard, from: n - 1, limit: 1, consistent: true})
		switch {
		case err != nil:
			return 0, err
		case len(list) == 0 || list[0].number != n:
			return r.beginning(ctx, shard)
		case list[0].at < since:
			return n, nil
		}
	}
	return r.beginning(ctx, shard)
}

// beginning returns the number before the first change that one log still has: 0
// when there is none, or when others may come that are before it.
func (r *Replica) beginning(ctx context.Context, shard int) (int64, error) {
	first, err := r.store.query(ctx, r.store.local, logQuery{shard: shard, limit: 1, consistent: true})
	if err != nil || len(first) == 0 || r.store.late(first, head{}) {
		return 0, err
	}
	return first[0].number - 1, nil
}

// CreateDomain implements [shingle.DomainStore].
func (r *Replica) CreateDomain(ctx context.Context, d shingle.Domain, now time.Time) (shingle.Domain, error) {
	d, err := r.store.CreateDomain(ctx, d, now)
	if err == nil {
		r.told.add(&shingle.Change{Host: d.Host, Domain: d})
	}
	return d, err
}

// UpdateDomain implements [shingle.DomainStore].
func (r *Replica) UpdateDomain(ctx context.Context, d shingle.Domain, now time.Time) (shingle.Domain, error) {
	d, err := r.store.UpdateDomain(ctx, d, now)
	if err == nil {
		r.told.add(&shingle.Change{Host: d.Host, Domain: d})
	}
	return d, err
}

// DeleteDomain implements [shingle.DomainStore].
func (r *Replica) DeleteDomain(ctx context.Context, host string, version int64, by string, now time.Time) error {
	err := r.store.DeleteDomain(ctx, host, version, by, now)
	if err == nil {
		r.told.add(&shingle.Change{Host: host, Deleted: true, Before: shingle.Domain{CreatedAt: stored(now)}})
	}
	return err
}

// told is what is known of rows otherwise than by reading them. The zero value is
// ready.
type told struct {
	mu    sync.Mutex
	hosts map[string]state
}

// state is how new a row is.
type state struct {
	created time.Time
	version int64 // when deleted, greater than any
}

const maxTold = 10_000 // beyond that all are forgotten

func (s state) after(t state) bool {
	return s.created.After(t.created) || s.created.Equal(t.created) && s.version > t.version
}

func (t *told) add(c *shingle.Change) {
	s := state{created: c.Domain.CreatedAt, version: c.Domain.Version}
	if c.Deleted {
		s = state{created: c.Before.CreatedAt, version: math.MaxInt64}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hosts == nil || len(t.hosts) >= maxTold {
		t.hosts = map[string]state{}
	}
	if known, ok := t.hosts[c.Host]; !ok || s.after(known) {
		t.hosts[c.Host] = s
	}
}

// later reports whether something was told of the row that is later than d.
func (t *told) later(d *shingle.Domain) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	known, ok := t.hosts[d.Host]
	return ok && known.after(state{created: d.CreatedAt, version: d.Version})
}
