package certs

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/shingle-proxy/shingle"
)

// The warm list has the names that were visited most, in the local copy, one a
// line and the most visited first. A process that starts reads their certificates
// before their visitors come, slowly: what the others cost is as it was.
const (
	warmRecord = "warm"
	warmNames  = 5000
	warmRate   = 50 // certificates a second
	warmEvery  = 10 * time.Minute
	scoreEvery = time.Minute
)

// warmer keeps the warm list.
type warmer struct {
	m     *Manager
	saved []byte // what was written last
}

// run loads what the list has, and keeps it up to date until ctx ends. Each
// minute counts the names that were visited in it, more the later it was.
func (w *warmer) run(ctx context.Context) {
	list := w.read(ctx)
	w.load(ctx, list)
	score, save := time.NewTicker(scoreEvery), time.NewTicker(warmEvery)
	defer score.Stop()
	defer save.Stop()
	for {
		select {
		case <-score.C:
			w.m.cache.score()
		case <-save.C:
			w.save(ctx, list)
			list = nil // of the start
		case <-ctx.Done():
			w.m.cache.score()
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), copyEnd)
			defer cancel()
			w.save(last, list)
			return
		}
	}
}

// read returns the names in the list.
func (w *warmer) read(ctx context.Context) []string {
	b, err := w.m.store.copies.blobs.Get(ctx, warmRecord)
	if err != nil {
		if !errors.Is(err, shingle.ErrNotFound) {
			w.m.log.Warn("list of the most visited names not read", "error", err)
		}
		return nil
	}
	w.saved = b.Value
	names := strings.Split(string(b.Value), "\n")
	return names[:min(len(names), warmNames)]
}

// load brings the certificates of the names into memory.
func (w *warmer) load(ctx context.Context, names []string) {
	pace := rate.NewLimiter(warmRate, 1)
	start, loaded := time.Now(), 0
	for _, host := range names {
		if pace.Wait(ctx) != nil {
			return
		}
		if shingle.CheckBlob(certKey(host), nil) != nil || w.m.cache.peek(host) != nil {
			continue
		}
		if f, err := w.m.loadFlight(host); err == nil {
			if _, err := f.wait(ctx); err == nil {
				loaded++
			}
		}
	}
	if len(names) > 0 {
		w.m.log.Info("most visited certificates loaded", "names", len(names), "loaded", loaded, "took", time.Since(start))
	}
}

// save writes the list, if it is another than before. Names of before that were
// not visited again come behind the others.
func (w *warmer) save(ctx context.Context, before []string) {
	names := w.m.cache.mostVisited(warmNames)
	seen := make(map[string]bool, len(names))
	for _, host := range names {
		seen[host] = true
	}
	for _, host := range before {
		if !seen[host] && len(names) < warmNames {
			names = append(names, host)
		}
	}
	var list []byte
	for _, host := range names {
		if len(list)+1+len(host) > shingle.MaxBlobValue {
			break
		}
		if len(list) > 0 {
			list = append(list, '\n')
		}
		list = append(list, host...)
	}
	if len(list) == 0 || bytes.Equal(list, w.saved) {
		return
	}
	if err := w.m.store.copies.write(ctx, warmRecord, list); err != nil {
		w.m.log.Warn("list of the most visited names not written", "error", err)
		return
	}
	w.saved = list
}

// scoreVisited is what a visit in the last minute counts; a score loses an eighth
// of itself each minute, so the most is eight times that.
const scoreVisited = 1000

// score counts who was visited since the last time.
func (c *cache) score() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for _, e := range s.entries {
			e.score -= e.score / 8
			if e.marks.And(^uint32(visited))&visited != 0 {
				e.score += scoreVisited
			}
		}
		s.mu.Unlock()
	}
}

// mostVisited returns the names with the highest scores, at most limit of them.
func (c *cache) mostVisited(limit int) []string {
	type scored struct {
		host  string
		score uint16
	}
	var all []scored
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		for host, e := range s.entries {
			if e.score > 0 {
				all = append(all, scored{host, e.score})
			}
		}
		s.mu.RUnlock()
	}
	slices.SortFunc(all, func(a, b scored) int { return cmp.Or(cmp.Compare(b.score, a.score), strings.Compare(a.host, b.host)) })
	names := make([]string, 0, min(limit, len(all)))
	for _, s := range all[:min(limit, len(all))] {
		names = append(names, s.host)
	}
	return names
}
