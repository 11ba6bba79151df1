package traffic

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Bounds of reading.
const (
	readTimeout = 20 * time.Second // of all that one question takes
	sideBySide  = 32               // reads of the store, of all questions
	maxRecords  = 20_000           // of one question and share: a week of 119 edges, a day of 833
	listPage    = 1000

	maxAnswers = 1000        // that are remembered
	answerLife = time.Minute // of one
	freshLife  = 2 * time.Second
)

// answers remembers reports for a moment, and has those who ask for the same wait for
// one reading.
type answers struct {
	mu   sync.Mutex
	list map[question]*answer
}

type question struct {
	domain string
	hours  int
}

type answer struct {
	done  chan struct{} // closed when the rest is there
	until time.Time     // it is good, when it is no error
	shingle.TrafficReport
	err error
}

// Report returns the traffic of a domain in so many hours (1 to 168) until now. What
// other processes have not written yet is not in it, and it may be a minute old.
func (h *Hub) Report(ctx context.Context, domain string, hours int) (r shingle.TrafficReport, err error) {
	a, mine := h.answers.join(question{domain, hours}, h.cfg.Now(), h.life())
	if mine { // for whoever else waits, too
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
		defer cancel()
		if a.TrafficReport, a.err = h.read(ctx, domain, hours); a.err != nil {
			h.answers.drop(question{domain, hours}, a)
		}
		close(a.done)
	}
	select {
	case <-a.done:
		return shingle.TrafficReport{Hours: slices.Clone(a.Hours), Partial: a.Partial}, a.err
	case <-ctx.Done():
		return r, ctx.Err()
	}
}

func (c *answers) join(q question, now time.Time, life time.Duration) (a *answer, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a, ok := c.list[q]; ok && now.Before(a.until) {
		return a, false
	}
	if c.list == nil || len(c.list) >= maxAnswers {
		c.list = map[question]*answer{}
	}
	a = &answer{done: make(chan struct{}), until: now.Add(life)}
	c.list[q] = a
	return a, true
}

func (c *answers) drop(q question, a *answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.list[q] == a {
		delete(c.list, q)
	}
}

func (c *answers) forget(domain string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.list, func(q question, _ *answer) bool { return q.domain == domain })
}

// life is how long an answer is remembered: shortly where the edge is at hand, so that
// whoever tries something sees it.
func (h *Hub) life() time.Duration {
	if h.cfg.Source != nil {
		return freshLife
	}
	return answerLife
}

func (h *Hub) read(ctx context.Context, domain string, hours int) (r shingle.TrafficReport, err error) {
	now := h.cfg.Now().UTC()
	h.writeFirst(ctx, domain, now)
	first := now.Truncate(time.Hour).Add(-time.Duration(hours-1) * time.Hour)
	r.Hours = make([]shingle.TrafficHour, hours)
	for i := range r.Hours {
		r.Hours[i].Hour = first.Add(time.Duration(i) * time.Hour)
	}
	for digits := range digitsFor {
		more, err := h.readShare(ctx, domain, share(domain, digits), &r)
		if err != nil {
			return r, err
		}
		r.Partial = r.Partial || more
	}
	return r, nil
}

// writeFirst writes what this process has counted of a domain until now, or a moment ago.
func (h *Hub) writeFirst(ctx context.Context, domain string, now time.Time) {
	if h.cfg.Source == nil {
		return
	}
	h.mu.Lock()
	recently := now.Sub(h.taken) < freshLife
	if !recently {
		h.taken = now
	}
	h.mu.Unlock()
	if !recently {
		h.take(now)
	}
	_ = h.write(ctx, of(domain)) // it is logged, and what the store has is read
}

// readShare adds what the records of a share say of a domain. more says that not all of
// them were read.
func (h *Hub) readShare(ctx context.Context, domain, share string, r *shingle.TrafficReport) (more bool, err error) {
	first := r.Hours[0].Hour
	all := prefix + share + "/"
	after := all + first.Format(hourLayout)
	for n := 0; n < maxRecords; n += listPage {
		keys, err := h.records.List(ctx, all, after, listPage)
		if err != nil {
			return false, err
		}
		unread, err := h.addRecords(ctx, domain, keys, first, r)
		if more = more || unread; err != nil || len(keys) < listPage {
			return more, err
		}
		after = keys[len(keys)-1]
	}
	return true, nil
}

// addRecords reads records side by side, and adds what they say of a domain.
func (h *Hub) addRecords(ctx context.Context, domain string, keys []string, first time.Time, r *shingle.TrafficReport) (unread bool, err error) {
	errs := make([]error, len(keys))
	var mu sync.Mutex
	var readers sync.WaitGroup
	for i, key := range keys {
		at, err := hourOf(key)
		hour := int(at.Sub(first) / time.Hour)
		if err != nil || hour < 0 || hour >= len(r.Hours) {
			continue
		}
		h.places <- struct{}{}
		readers.Go(func() {
			defer func() { <-h.places }()
			n, err := h.countOf(ctx, key, domain)
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, errRecord) {
				unread = true
			} else if errs[i] = err; err == nil {
				r.Hours[hour].Add(&n)
			}
		})
	}
	readers.Wait()
	return unread, errors.Join(errs...)
}

// countOf returns what a record says of a domain.
func (h *Hub) countOf(ctx context.Context, key, domain string) (n shingle.Traffic, err error) {
	var r record
	switch _, err := h.records.Get(ctx, key, &r); {
	case errors.Is(err, shingle.ErrNotFound):
		return n, nil // just removed for its age
	case errors.Is(err, shingle.ErrUnavailable):
		return n, err
	case err != nil:
		return n, errors.Join(errRecord, err)
	}
	counts, err := decode(r.Data)
	return counts[domain], err
}

// hourOf returns the hour that a key is of.
func hourOf(key string) (time.Time, error) {
	parts := strings.Split(key, "/")
	if len(parts) != 4 {
		return time.Time{}, fmt.Errorf("no key of traffic: %s", key)
	}
	return time.Parse(hourLayout, parts[2])
}
