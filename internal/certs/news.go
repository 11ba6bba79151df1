package certs

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// News tells every process of the fleet whose certificate was replaced or
// dropped, so that none serves an old one from memory for longer than a poll:
//
//	news/20261124T040102/K5XU2RZD/blog.customer.com
//
// with a word that no other news has, lest the second change of a second be taken
// for the first.
// A follower reads what is younger than newsSpan each time, and than its last
// reading by as much, and remembers what it has seen, so that a writer whose clock
// is behind is heard too. When there is more of it than maxNews, that time is shorter.
// The worker removes what is older than newsLife.
const (
	newsPrefix = "news/"
	newsSpan   = 2 * time.Hour
	newsLife   = 24 * time.Hour
	newsEvery  = 30 * time.Second
	maxNews    = 20_000 // remembered
)

// announce makes news of host.
func (s *store) announce(ctx context.Context, host string, now time.Time) error {
	return s.mark(ctx, newsPrefix+now.UTC().Format(dueTime)+"/"+rand.Text()[:8]+"/"+host)
}

// Follow keeps the memory of this process and its local copies in step with what
// others of the fleet issue, until ctx ends.
func (m *Manager) Follow(ctx context.Context) {
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { m.watchKeys(ctx) })
	span := newsSpan
	if m.store.copies != nil {
		parts.Go(func() { m.store.copies.run(ctx) })
		parts.Go(func() { m.copies.run(ctx) })
		parts.Go(func() { (&warmer{m: m}).run(ctx) })
		span = newsLife // the copies are of before the start
	}
	since := m.cfg.Now().Add(-span)
	var seen []string
	tick := time.NewTicker(m.cfg.News)
	defer tick.Stop()
	for {
		start := m.cfg.Now()
		next, err := m.follow(ctx, since, seen)
		if err != nil && ctx.Err() == nil {
			m.log.Debug("news of certificates not read", "error", err)
		} else {
			seen, since = next, start.Add(-newsSpan)
			m.named(next)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// follow reads the news since a time, forgets the hosts in what is not among those
// seen, and returns what it has seen then, in order: of more than maxNews the latest.
func (m *Manager) follow(ctx context.Context, since time.Time, seen []string) (next []string, err error) {
	after := newsPrefix + since.UTC().Format(dueTime)
	if len(seen) == maxNews && seen[0] > after { // what was before is not remembered
		after, next = seen[0], append(next, seen[0])
	}
	for more := true; more; {
		keys, err := m.store.list(ctx, newsPrefix, after, duePage)
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			after = key
			if _, known := slices.BinarySearch(seen, key); !known {
				m.heard(ctx, newsOf(key))
			}
		}
		next = append(next, keys...)
		next = slices.Delete(next, 0, max(0, len(next)-maxNews))
		more = len(keys) == duePage
	}
	return next, nil
}

// newsOf returns what a key is news of.
func newsOf(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

// named has the certificates that there is news of read where they are written: a
// replica may still have the ones from before.
func (m *Manager) named(news []string) {
	if m.cfg.Near == nil {
		return
	}
	hosts := make(map[string]bool, len(news))
	for _, key := range news {
		hosts[newsOf(key)] = true
	}
	m.renewed.Store(&hosts)
}

// heard takes in news of a host, or of a record that a rewrap changed, whose name
// has no dot.
func (m *Manager) heard(ctx context.Context, name string) {
	switch {
	case strings.Contains(name, "."):
		m.stale(name)
		m.copies.want(certKey(name))
	case strings.HasPrefix(name, dataKeyPrefix):
		m.copies.want(dataKeyRecord(name))
	case strings.HasPrefix(name, newsRescue):
		if err := m.store.keys.rescue(ctx, strings.TrimPrefix(name, newsRescue)); err != nil {
			m.log.Error("data keys in memory were not saved", "error", err)
		}
	case name == newsAccounts:
		m.forgetAccounts()
	case name == newsDelegations:
		m.delegations.secret.Store(nil)
	}
}

// stale has the next handshake for host read the store. The certificate in
// memory is served until that has been done.
func (m *Manager) stale(host string) {
	if e := m.cache.peek(host); e != nil {
		e.stale.Store(true)
	}
	m.refusals.clear(host)
	m.readiness.clear(host)
}

// refresh reads what the store has in place of a stale entry, in the background.
func (m *Manager) refresh(host string, e *entry) {
	if m.store.outageOfBlobs().avoid() {
		e.stale.Store(true)
		return
	}
	_, err := m.loads.join(host, func(ctx context.Context, _ *flight) (*entry, error) {
		stored, _, err := m.load(ctx, host)
		switch {
		case err == nil && stored.valid(m.cfg.Now()):
			m.cache.put(host, stored)
		case shingle.CodeOf(err) == shingle.CodeNotFound:
			if _, _, err := m.store.plan(ctx, host); errors.Is(err, shingle.ErrNotFound) {
				m.cache.remove(host) // dropped; one that is only to be replaced serves until then
			}
		default:
			e.stale.Store(true) // the next one tries again
		}
		return stored, err
	})
	if err != nil {
		e.stale.Store(true)
	}
}

// clean removes old news. The worker calls it now and then.
func (s *store) clean(ctx context.Context, now time.Time) error {
	until := newsPrefix + now.Add(-newsLife).UTC().Format(dueTime)
	keys, err := s.list(ctx, newsPrefix, "", duePage)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if key >= until {
			break
		}
		if err := s.unmark(ctx, key); err != nil {
			return err
		}
	}
	return nil
}
