package edge

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Bounds on what a miss in the table may cost.
const (
	missMemory      = 10_000 // names remembered as unknown
	missMemoryTime  = time.Second
	missReadTimeout = 4 * time.Second
	syncPage        = 1000
	syncTimeout     = 30 * time.Second // of one page
)

// follower keeps the table in step with the store.
type follower struct {
	store    shingle.DomainStore
	table    *table
	log      *slog.Logger
	wake     <-chan struct{}
	interval time.Duration
	loaded   atomic.Bool
	changed  func() // called when the table may be another; nil: nobody wants to know
	told     func() // called when the state is another
	reload   bool   // the snapshot lacked something: all is to be read
	cursor   shingle.Cursor
	dropped  func(domain string) // told of each deletion
	standIns standIns
	saver    saver
	state    followed

	lookups *lookups
	mu      sync.Mutex
	misses  map[string]*miss
}

func newFollower(cfg *Config, t *table) *follower {
	return &follower{
		store: cfg.Store, table: t, log: cfg.Logger, wake: cfg.Wake, interval: cfg.PollInterval, dropped: func(string) {}, told: cfg.StateChanged,
		lookups: newLookups(), misses: map[string]*miss{},
		saver: saver{file: snapshotFile{path: cfg.Snapshot, store: cfg.StoreName}, log: cfg.Logger},
	}
}

// restore loads the table from the snapshot, if there is one that can be used.
// The feed then goes on from where it was written.
func (f *follower) restore() {
	if f.saver.file.path == "" {
		return
	}
	start := time.Now()
	p, head, err := f.saver.file.read(f.table)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		f.log.Warn("snapshot of the domain table not used", "path", f.saver.file.path, "error", err)
		return
	}
	f.table.replace(p)
	f.cursor, f.saver.saved = head.Cursor, head.Cursor
	f.state.restored(head.Written)
	f.reload = p.partial
	f.loaded.Store(true)
	f.log.Info("domain table loaded from its snapshot", "domains", head.Domains, "written", head.Written, "took", time.Since(start))
}

// run follows the store until ctx ends. A store that fails is asked again at
// the next poll; the table stays as it is.
func (f *follower) run(ctx context.Context) {
	tick := time.NewTicker(f.interval)
	defer tick.Stop()
	for {
		before, all := f.cursor, f.reload
		err := f.step(ctx)
		if f.changed != nil && (all || f.cursor != before) {
			f.changed()
		}
		if ctx.Err() == nil && f.state.note(err, time.Now()) {
			if err != nil {
				f.log.Error("domain table is not up to date", "error", err)
			}
			f.told()
		}
		if f.loaded.Load() {
			f.saver.offer(f.table, f.cursor)
		}
		select {
		case <-ctx.Done():
			if f.loaded.Load() {
				f.saver.close(f.table, f.cursor)
			}
			return
		case <-f.wake:
		case <-tick.C:
		}
	}
}

// step loads the table when that has not been done, and takes in what changed.
func (f *follower) step(ctx context.Context) error {
	if !f.loaded.Load() || f.reload {
		if err := f.load(ctx); err != nil {
			return fmt.Errorf("load domains: %w", err)
		}
		f.reload = false
	}
	next, err := f.follow(ctx, f.cursor, f.table.apply)
	if errors.Is(err, shingle.ErrNotFound) {
		f.log.Warn("fell behind the change feed, reading all domains again")
		return f.load(ctx)
	}
	f.cursor = next
	return err
}

// follow takes in what changed behind a place in the feed, and returns the place
// to go on from, after an error too.
func (f *follower) follow(ctx context.Context, from shingle.Cursor, apply func(*shingle.Change)) (shingle.Cursor, error) {
	for {
		page, cancel := context.WithTimeout(ctx, syncTimeout)
		changes, next, err := f.store.Changes(page, from, syncPage)
		cancel()
		if err != nil {
			return from, fmt.Errorf("read changes: %w", err)
		}
		if len(changes) == 0 {
			return next, nil
		}
		for i := range changes {
			if apply(&changes[i]); changes[i].Deleted {
				f.dropped(changes[i].Host)
			}
			f.forget(changes[i].Host)
		}
		from = next
	}
}

// load reads all domains, and what changed since the place in the feed that was
// taken first: it may be from before the rows were read, so that the table is
// replaced only when all of it is there.
func (f *follower) load(ctx context.Context) error {
	first, cancel := context.WithTimeout(ctx, syncTimeout)
	cursor, err := f.store.Head(first)
	cancel()
	if err != nil {
		return err
	}
	all := f.table.newPicture()
	for after := ""; ; {
		page, cancel := context.WithTimeout(ctx, syncTimeout)
		list, err := f.store.Domains(page, after, syncPage)
		cancel()
		if err != nil {
			return err
		}
		if len(list) == 0 {
			break
		}
		for i := range list {
			all.add(key(list[i].Host), f.table.settingsOf(&list[i]))
		}
		after = list[len(list)-1].Host
	}
	if cursor, err = f.follow(ctx, cursor, all.apply); err != nil {
		return err
	}
	f.table.replace(all)
	f.cursor = cursor
	f.loaded.Store(true)
	return nil
}

// miss is a name that the table did not know, and what the store said of it.
type miss struct {
	done  chan struct{} // closed when the store has answered, or has failed to
	site  *site         // nil when unknown; read it after done is closed
	known bool          // the store has answered; likewise
	until time.Time     // the answer is good until then
}

// find returns the site for a normalised host, or nil: that of its own domain, or
// else of the wildcard that covers it. For one that the table does not know the
// store is asked about both, within the budget of all, so that a domain added a
// moment ago works at once; names that strangers invent soon cost nothing.
func (f *follower) find(ctx context.Context, host string) (s *site, wildcard bool) {
	if s := f.table.lookup(host); s != nil {
		return s, false
	}
	if s := f.table.covering(host); s != nil {
		return s, true
	}
	s, known := f.missed(ctx, host)
	if covering := shingle.Covering(host); s == nil && known && covering != "" {
		s, _ = f.missed(ctx, covering)
		return s, true
	}
	return s, false
}

// missed returns the site of a domain that the table does not have, or nil, for
// at most one read of the store; known tells that the store has answered.
func (f *follower) missed(ctx context.Context, domain string) (s *site, known bool) {
	m, mine := f.join(domain, shingle.ClientOf(ctx).Addr(), time.Now())
	if m == nil {
		return nil, false
	}
	if mine {
		m.site, m.known = f.read(ctx, domain)
		close(m.done)
		if !m.known {
			f.forget(domain) // not to know is no answer to remember
		}
		return m.site, m.known
	}
	select {
	case <-m.done:
		return m.site, m.known
	case <-ctx.Done():
		return nil, false
	}
}

// ahead returns the site that the store had for a host of which the feed has not told
// yet, or nil.
func (f *follower) ahead(host string) *site {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, domain := range []string{host, wildcardOver(host)} {
		m := f.misses[domain]
		if m == nil {
			continue
		}
		select {
		case <-m.done:
			if m.site != nil {
				return m.site
			}
		default:
		}
	}
	return nil
}

// join returns the look-up of host that runs or has just ended, or a new one
// that the caller must do, or nil when the budget is used up.
func (f *follower) join(host string, client netip.Addr, now time.Time) (m *miss, mine bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m, ok := f.misses[host]; ok && now.Before(m.until) {
		f.lookups.count(lookupRemembered)
		return m, false
	}
	if !f.lookups.allow(host, client, now) {
		return nil, false
	}
	if len(f.misses) >= missMemory {
		clear(f.misses)
	}
	m = &miss{done: make(chan struct{}), until: now.Add(missMemoryTime)}
	f.misses[host] = m
	return m, true
}

// read asks the store; known tells that it has answered. The follower puts what
// is found into the table, in the order of the changes.
func (f *follower) read(ctx context.Context, host string) (s *site, known bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), missReadTimeout)
	defer cancel()
	d, err := f.store.Domain(ctx, host)
	switch {
	case errors.Is(err, shingle.ErrNotFound):
		f.lookups.count(lookupAbsent)
		return nil, true
	case errors.Is(err, shingle.ErrLimited): // by the ask service's budget
		f.lookups.count(lookupDomainLimited)
		return nil, true
	case err != nil:
		f.lookups.count(lookupFailed)
		f.lookups.warn.Do(func() { f.log.Warn("domain could not be looked up", "host", host, "error", err) })
		return nil, false
	}
	f.lookups.count(lookupFound)
	return f.table.site(&d), true
}

func (f *follower) forget(host string) {
	f.standIns.forget(host)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.misses, host)
}
