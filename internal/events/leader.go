package events

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle/internal/records"
)

// Bounds of the deliveries under way.
const (
	maxSending = 32
	perWebhook = 4
	cleanEvery = time.Hour
	easeOff    = 3 // failures in a row after which a webhook is tried with one delivery at a time
	maxEaseOff = time.Minute
)

// leader is the work of the one process that sends.
type leader struct {
	*Hub
	domains   *records.Feed
	endpoints map[string]*endpoint
	busy      map[string]bool  // keys of the deliveries under way
	stuck     map[string]bool  // keys of those that cannot be read; emptied now and then
	loads     map[string]*load // by webhook
	more      bool             // not all that was due found a place
	done      chan sent
	sending   sync.WaitGroup
}

// load is what is under way to one webhook.
type load struct {
	sending  int
	failures int       // in a row
	until    time.Time // with failures: nothing is sent before
}

// sent tells how an attempt ended.
type sent struct {
	key, webhook string
	ok           bool
	stuck        bool      // it cannot be read
	at           time.Time // when the answer was there, not when it was noted
}

// Run sends until ctx ends. One process of the fleet at a time should; two do no
// harm but send things twice.
func (h *Hub) Run(ctx context.Context) error {
	l := &leader{Hub: h, domains: h.feed(), busy: map[string]bool{}, stuck: map[string]bool{}, loads: map[string]*load{}, done: make(chan sent, maxSending)}
	defer h.client.CloseIdleConnections()
	defer l.sending.Wait()
	tick := time.NewTicker(h.cfg.Poll)
	defer tick.Stop()
	failing := false
	for look := true; ; {
		if look {
			err := l.step(ctx)
			if err != nil && !failing && ctx.Err() == nil {
				h.log.Error("events are not sent", "error", err)
			}
			failing = err != nil
		}
		look = true
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		case <-h.wake:
		case <-h.cfg.Wake:
		case s := <-l.done:
			l.finished(s)
			look = l.more && len(l.busy) <= maxSending/4 // a look costs a list for each webhook
		}
	}
}

// step takes in what was recorded, and starts what is due.
func (l *leader) step(ctx context.Context) error {
	if l.cfg.Domains != nil {
		if err := l.domains.Step(ctx); err != nil {
			return err
		}
	}
	if err := l.empty(ctx); err != nil {
		return err
	}
	if err := l.start(ctx); err != nil {
		return err
	}
	now := l.cfg.Now()
	if now.Sub(l.cleaned) < cleanEvery {
		return nil
	}
	l.cleaned = now
	clear(l.stuck)
	more, err := l.clean(ctx, now)
	if more {
		l.cleaned = time.Time{} // the next step goes on
	}
	return err
}

// refresh reads the webhooks.
func (l *leader) refresh(ctx context.Context) error {
	all, err := l.Hub.endpoints(ctx)
	if err != nil {
		return err
	}
	l.endpoints = make(map[string]*endpoint, len(all))
	for i := range all {
		l.endpoints[all[i].Webhook.ID] = &all[i]
	}
	for id, load := range l.loads {
		if l.endpoints[id] == nil && load.sending == 0 {
			delete(l.loads, id)
		}
	}
	return nil
}

// start begins what is due, webhook by webhook, so that one that does not answer
// is in no other's way.
func (l *leader) start(ctx context.Context) error {
	l.more = false
	var errs []error
	for id, to := range l.endpoints {
		if to.Deleted {
			errs = append(errs, l.purge(ctx, id))
			continue
		}
		if l.loads[id] == nil {
			l.loads[id] = &load{}
		}
		errs = append(errs, l.startFor(ctx, to))
	}
	return errors.Join(errs...)
}

// startFor begins what is due to one webhook, as far as there are places. One
// that keeps failing gets one attempt at a time, at longer and longer distances:
// what waits for it uses up none of its attempts.
func (l *leader) startFor(ctx context.Context, to *endpoint) error {
	now := l.cfg.Now()
	w := l.loads[to.Webhook.ID]
	if !w.free(now) {
		return nil
	}
	prefix := duePrefix + to.Webhook.ID + "/"
	limit := perWebhook*2 + min(len(l.stuck), page)
	keys, err := l.records.List(ctx, prefix, "", limit)
	if err != nil {
		return fmt.Errorf("list deliveries: %w", err)
	}
	for _, key := range keys {
		switch {
		case l.busy[key], l.stuck[key]:
		case strings.TrimPrefix(key, prefix) > stamp(now)+"0": // later: the "/" behind a time sorts before the 0
			return nil
		case !w.free(now) || len(l.busy) >= maxSending:
			l.more = true
			return nil
		default:
			l.begin(ctx, key, to)
		}
	}
	l.more = l.more || len(keys) == limit
	return nil
}

// free reports whether one more delivery may go to the webhook.
func (w *load) free(now time.Time) bool {
	limit := perWebhook
	if w.failures >= easeOff {
		limit = 1
	}
	return w.sending < limit && !now.Before(w.until)
}

// purge clears up behind a webhook that was removed, a page at a time.
func (l *leader) purge(ctx context.Context, id string) error {
	left := false
	for _, prefix := range []string{duePrefix, deadPrefix} {
		keys, err := l.records.List(ctx, prefix+id+"/", "", page)
		if err != nil {
			return fmt.Errorf("list what a webhook left: %w", err)
		}
		for _, key := range keys {
			if err := l.records.Remove(ctx, key); err != nil {
				return err
			}
		}
		left = left || len(keys) > 0
	}
	if w := l.loads[id]; left || w != nil && w.sending > 0 {
		return nil // again at the next look: a delivery under way may leave one more
	}
	return l.records.Remove(ctx, webhookKey(id))
}

func (l *leader) begin(ctx context.Context, key string, to *endpoint) {
	webhook := to.Webhook.ID
	l.busy[key] = true
	l.loads[webhook].sending++
	l.attempts.Add(1)
	l.sending.Go(func() {
		defer l.attempts.Add(-1)
		s, err := l.deliver(ctx, key, to)
		if err != nil && ctx.Err() == nil {
			l.log.Warn("delivery not noted, it will be repeated", "webhook", webhook, "error", err)
		}
		l.done <- s // as wide as there are places
	})
}

func (l *leader) finished(s sent) {
	delete(l.busy, s.key)
	if s.stuck {
		l.stuck[s.key] = true // bounded by what is listed
	}
	w := l.loads[s.webhook]
	w.sending--
	if s.stuck {
		return // it says nothing of the webhook
	}
	if s.ok {
		w.failures, w.until = 0, time.Time{}
		return
	}
	if w.failures++; w.failures >= easeOff {
		w.until = s.at.Add(min(time.Second<<min(w.failures-easeOff, 16), maxEaseOff))
	}
}
