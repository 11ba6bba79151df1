package traffic

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Bounds of writing.
const (
	spread     = 12              // of the time between two writings passes after one is due, at most, so that a fleet does not write at once
	closeTime  = 3 * time.Second // of the last one
	writers    = 8               // records at once
	attempts   = 4               // of one that meets others
	maxPending = 400_000         // domains of all hours that wait for the store
	perUnit    = 30              // domains to a write unit of DynamoDB, about
)

// Run writes what was counted, until ctx ends.
func (h *Hub) Run(ctx context.Context) {
	if h.cfg.Source == nil {
		return
	}
	for {
		now := h.cfg.Now()
		next := now.Truncate(h.cfg.Every).Add(h.cfg.Every)
		if !rest(ctx, next.Sub(now)) {
			return
		}
		h.take(next.Add(-1)) // in the hour that ends then
		if !rest(ctx, rand.N(h.cfg.Every/spread)) {
			return
		}
		_ = h.write(ctx, due) // it is logged, and tried again
	}
}

// Close writes what is not written yet. The edge and Run have ended by then.
func (h *Hub) Close() {
	if h.cfg.Source == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	h.take(h.cfg.Now())
	if err := h.write(ctx, everything); err != nil {
		h.log.Warn("traffic that was not written yet is lost", "error", err)
	}
}

// take takes over what was counted until now.
func (h *Hub) take(now time.Time) {
	counted := map[string]shingle.Traffic{}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cfg.Source.TakeTraffic(now, func(domain string, n shingle.Traffic) {
		is := counted[domain]
		is.Add(&n)
		counted[domain] = is
	})
	if left := h.present(now).add(counted); left > 0 {
		h.log.Warn("traffic of some domains is not kept, as there are too many in an hour", "domains", left, "kept", digitsFor[len(digitsFor)-1])
	}
	h.shed()
}

// shed drops the hours that have waited for the store for longest, when there are too
// many.
func (h *Hub) shed() {
	n := 0
	for i := len(h.hours) - 1; i >= 0; i-- {
		if n += h.hours[i].domains(); n > maxPending && i < len(h.hours)-1 {
			h.log.Error("traffic is lost, as the store has not taken it for too long", "until", h.hours[i].at.Add(time.Hour))
			h.hours = h.hours[i+1:]
			return
		}
	}
}

// job is a part to be written.
type job struct {
	*part
	key string
}

// wanted says whether a part that changed is to be written; ended, that its hour has.
type wanted func(p *part, share string, in *set, ended bool) bool

// everything is wanted at the end.
func everything(*part, string, *set, bool) bool { return true }

// of wants what a domain is in.
func of(domain string) wanted {
	return func(_ *part, name string, in *set, _ bool) bool { return name == share(domain, in.digits) }
}

// due wants what costs one write unit each time, what costs more each second or third
// time, and from four units on once, at its hour's end: so that no domain's traffic is
// dear.
func due(p *part, _ string, _ *set, ended bool) bool {
	p.waited++
	return ended || p.waited >= units(len(p.counts))
}

// write writes what changed and is wanted.
func (h *Hub) write(ctx context.Context, is wanted) error {
	h.writing.Lock()
	defer h.writing.Unlock()
	jobs := h.jobs(is)
	errs := make([]error, len(jobs))
	var running sync.WaitGroup
	places := make(chan struct{}, writers)
	for i, j := range jobs {
		places <- struct{}{}
		running.Go(func() {
			defer func() { <-places }()
			errs[i] = h.put(ctx, j)
		})
	}
	running.Wait()
	err := errors.Join(errs...)
	if err != nil && !h.failing && ctx.Err() == nil {
		h.log.Warn("traffic by domain is not written for now", "error", err)
	}
	if len(jobs) > 0 {
		h.failing = err != nil
	}
	h.settle()
	return err
}

// jobs returns what is to be written.
func (h *Hub) jobs(is wanted) (list []job) {
	now := h.cfg.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range h.hours {
		ended := !now.Before(x.at.Add(time.Hour))
		for _, s := range x.sets {
			for name, p := range s.shares {
				if p.changed && is(p, name, s, ended) {
					list = append(list, job{p, keyOf(name, x.at, h.cfg.Edge)})
				}
			}
		}
	}
	return list
}

// put writes a part. What fails is tried again at the next writing.
func (h *Hub) put(ctx context.Context, j job) error {
	var err error
	for range attempts {
		if h.nothing(j) { // but that something be forgotten
			if err = h.takeUp(ctx, j); err != nil {
				break
			}
			if h.nothing(j) {
				return nil
			}
		}
		h.mu.Lock()
		r, version := record{h.run, encode(j.counts)}, j.version
		j.changed = false
		h.mu.Unlock()
		if version, err = h.records.Put(ctx, j.key, r, version); err == nil {
			h.mu.Lock()
			j.version, j.waited = version, 0
			h.mu.Unlock()
			return nil
		}
		if !errors.Is(err, shingle.ErrConflict) {
			break
		}
		if err = h.takeUp(ctx, j); err != nil {
			break
		}
	}
	h.mu.Lock()
	j.changed = true
	h.mu.Unlock()
	return fmt.Errorf("write %s: %w", j.key, err)
}

// nothing reports whether a part has nothing in it, and no record that is known.
func (h *Hub) nothing(j job) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(j.counts) > 0 || j.version != shingle.NoVersion {
		return false
	}
	j.changed = false
	return true
}

// takeUp goes on with the record that is there: this process wrote it, and did not hear
// that it had, or else the one before, whose counts are then added to, once.
func (h *Hub) takeUp(ctx context.Context, j job) error {
	var r record
	version, err := h.records.Get(ctx, j.key, &r)
	if errors.Is(err, shingle.ErrNotFound) {
		version, err = shingle.NoVersion, nil // removed meanwhile
	}
	if errors.Is(err, shingle.ErrUnreadable) { // nobody else writes it
		h.log.Error("what was counted before the start is lost", "record", j.key)
		r.Run, err = h.run, nil
	}
	if err != nil {
		return err
	}
	var before map[string]shingle.Traffic
	if version != shingle.NoVersion && r.Run != h.run {
		if before, err = decode(r.Data); err != nil {
			h.log.Error("what was counted before the start is lost", "record", j.key, "error", err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	j.version = version
	if !j.merged && before != nil {
		for domain, n := range before {
			if j.gone[domain] {
				continue
			}
			is := j.counts[domain]
			is.Add(&n)
			j.counts[domain] = is
		}
		j.merged = true
	}
	return nil
}

// settle drops the hours that are over and written.
func (h *Hub) settle() {
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := h.hours[:0]
	for i, x := range h.hours {
		if i == len(h.hours)-1 || x.changed() {
			kept = append(kept, x)
		}
	}
	clear(h.hours[len(kept):])
	h.hours = kept
}

// units is about how many write units a record of so many domains costs.
func units(domains int) int { return 1 + domains/perUnit }
