package check

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

// Run checks what is due until ctx ends. One process of the fleet at a time
// should; two do no harm but check twice.
func (k *Keeper) Run(ctx context.Context) error {
	r := &rounds{Keeper: k, busy: map[string]bool{}, snoozing: map[string]time.Time{}, done: make(chan finished, k.cfg.AtOnce)}
	r.feed = records.Feed{
		Records: k.records, Domains: k.cfg.Domains, Key: FeedPosition, All: true, Take: k.take,
		Gap: func() { k.log.Warn("checks fell behind the change feed, reading all domains again") },
	}
	defer r.checks.Wait()
	r.checks.Go(func() { k.keepIndexing(ctx) })
	tick := time.NewTicker(k.cfg.Poll)
	defer tick.Stop()
	failing := false
	for look := true; ; {
		if look {
			err := r.look(ctx)
			if err != nil && !failing && ctx.Err() == nil {
				k.log.Error("domains are not checked", "error", err)
			}
			failing = err != nil
		}
		look = true
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		case <-k.cfg.Wake:
		case f := <-r.done:
			delete(r.busy, f.key)
			if f.err != nil {
				r.snoozing[f.key] = k.cfg.Now().Add(snoozeTime)
			}
			look = r.more && len(r.busy) <= k.cfg.AtOnce/2
		}
	}
}

// rounds is the work of the one process that checks.
type rounds struct {
	*Keeper
	feed     records.Feed
	busy     map[string]bool      // keys of the checks under way
	snoozing map[string]time.Time // keys of checks that failed for a fault of ours; bounded by a relist
	relist   time.Time            // when to forget who snoozes
	more     bool                 // not all that is due found a place
	done     chan finished
	checks   sync.WaitGroup
}

// finished is a check that was made, or could not be.
type finished struct {
	key string
	err error
}

// look takes in what changed, and begins what is due.
func (r *rounds) look(ctx context.Context) error {
	if err := r.feed.Step(ctx); err != nil {
		return err
	}
	now := r.cfg.Now()
	if !now.Before(r.relist) {
		clear(r.snoozing)
		r.relist = now.Add(relistEvery)
	}
	if !now.Before(r.recallAt) {
		if err := r.recall(ctx); err != nil {
			return err
		}
		r.recallAt = now.Add(recallEvery)
	}
	r.more = false
	page := firstPage
	for after := ""; ; page = min(5*page, keeperPage) {
		keys, err := r.records.List(ctx, duePrefix, after, page)
		if err != nil {
			return fmt.Errorf("list due checks: %w", err)
		}
		for _, key := range keys {
			after = key
			part := strings.Split(strings.TrimPrefix(key, duePrefix), "/")
			if due, err := time.Parse(dueTime, part[0]); err != nil || len(part) != 3 {
				continue
			} else if due.After(now) {
				return nil
			}
			if r.busy[key] || now.Before(r.snoozing[key]) {
				continue
			}
			if len(r.busy) >= r.cfg.AtOnce {
				r.more = true
				return nil
			}
			r.begin(ctx, key, part[1])
		}
		if len(keys) < page {
			return nil
		}
	}
}

func (r *rounds) begin(ctx context.Context, key, host string) {
	r.busy[key] = true
	r.checking.Add(1)
	r.checks.Go(func() {
		defer r.checking.Add(-1)
		err := r.attend(ctx, key, host)
		if err != nil && ctx.Err() == nil && !errors.Is(err, shingle.ErrUnreadable) { // which is told less often
			r.log.Warn("domain not checked", "host", host, "error", err)
		}
		r.done <- finished{key, err} // as wide as there are places
	})
}

// attend does what is due for a host. An entry that its status does not name was
// left by a crash, or is just being made.
func (r *rounds) attend(ctx context.Context, key, host string) error {
	e, version, err := r.entry(ctx, host)
	switch {
	case err != nil:
		return err
	case e.Due != key:
		return r.tidy(ctx, key, host, &e, version)
	case e.State == shingle.StateRemoved:
		return r.forget(ctx, key, &e)
	}
	_, _, err = r.check(ctx, host, false)
	if errors.Is(err, shingle.ErrNotFound) { // deleted, and the feed did not tell
		_, err = r.change(ctx, host, r.cfg.Lifecycle.Remove)
	}
	return err
}

// tidy removes an entry that its status does not name. Whoever made it may have
// stood still and be about to write a status that does: so the status is written
// first, and that write meets a conflict.
func (r *rounds) tidy(ctx context.Context, key, host string, e *entry, version string) error {
	at, err := time.Parse(dueTime, strings.TrimPrefix(key, duePrefix)[:len(dueTime)])
	if err == nil && r.cfg.Now().Sub(at) < settleTime {
		return nil
	}
	var due dueValue
	if _, err = r.records.Get(ctx, key, &due); err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return err
	}
	unlisted := e.Unlisted
	if e.Host == "" {
		err = r.adopt(ctx, host)
	} else {
		e.Seq, e.Unlisted = e.Seq+1, ""
		_, err = r.records.Put(ctx, statusKey(host), e, version)
	}
	if err != nil {
		return err
	}
	if due.Listed != e.Listed {
		err = r.remove(ctx, due.Listed)
	}
	if err := errors.Join(err, r.remove(ctx, unlisted)); err != nil {
		return err
	}
	return r.records.Remove(ctx, key)
}

// adopt gives a domain that has no status one. It is no error when it is gone.
func (r *rounds) adopt(ctx context.Context, host string) error {
	d, err := r.cfg.Domains.Domain(ctx, host)
	if errors.Is(err, shingle.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.take(ctx, &shingle.Change{Host: host, Domain: d})
}

// forget ends the quarantine of a removed name.
func (r *rounds) forget(ctx context.Context, key string, e *entry) error {
	if _, err := r.cfg.Domains.Domain(ctx, e.Host); !errors.Is(err, shingle.ErrNotFound) {
		return err // added again: the feed tells
	}
	for _, key := range []string{e.Unlisted, statusKey(e.Host), key} {
		if err := r.remove(ctx, key); err != nil {
			return err
		}
	}
	return nil
}
