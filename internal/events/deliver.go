package events

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

// Bounds of the deliveries under way.
const (
	maxSending  = 32
	perWebhook  = 4
	cleanEvery  = time.Hour
	easeOff     = 3 // failures in a row after which a webhook is tried with one delivery at a time
	maxEaseOff  = time.Minute
	maxErrorLen = 300
)

// delivery is an event on its way to a webhook, as it is stored: the event in
// it, so that it can be sent whatever becomes of the log.
type delivery struct {
	Webhook  string        `json:"webhook"`
	Event    shingle.Event `json:"event"`
	Attempts int           `json:"attempts"`
}

// Readable returns an error for what is no delivery.
func (d *delivery) Readable() error { return d.Event.Readable() }

func (d *delivery) key(at time.Time) string {
	return duePrefix + d.Webhook + "/" + stamp(at) + "/" + d.Event.ID
}

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

// empty moves the outbox into the log and makes the deliveries. Each event stays
// in the outbox until all is done, and all of it can be repeated: a delivery has
// the same key each time, by the time of its event. The webhooks are read after
// the list: what was set before an event was recorded holds for the event.
func (l *leader) empty(ctx context.Context) error {
	for after := ""; ; {
		keys, err := l.records.List(ctx, outboxPrefix, after, page)
		if err != nil {
			return fmt.Errorf("list outbox: %w", err)
		}
		if err := l.refresh(ctx); err != nil {
			return err
		}
		for _, key := range keys {
			if err := l.fanOut(ctx, key); err != nil && !errors.Is(err, shingle.ErrUnreadable) { // that stays, and the others go on
				return err
			}
			after = key
		}
		if len(keys) < page {
			return nil
		}
	}
}

func (l *leader) fanOut(ctx context.Context, key string) error {
	var e shingle.Event
	if _, err := l.records.Get(ctx, key, &e); err != nil {
		if errors.Is(err, shingle.ErrNotFound) {
			return nil // another leader, or we before a lost reply
		}
		return fmt.Errorf("read outbox: %w", err)
	}
	first := e.At
	if now := l.cfg.Now(); now.Before(first) { // recorded by a machine whose clock is ahead
		first = now
	}
	for id, to := range l.endpoints {
		if to.Deleted || !to.Webhook.Takes(&e) {
			continue
		}
		d := delivery{Webhook: id, Event: e.ForTenant(to.Webhook.Tenant)}
		if err := l.records.Create(ctx, d.key(first), d); err != nil {
			return fmt.Errorf("make delivery: %w", err)
		}
	}
	if err := l.keep(ctx, &e); err != nil {
		return fmt.Errorf("log event: %w", err)
	}
	return l.records.Remove(ctx, key)
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

// deliver makes an attempt and notes how it ended. A webhook that is disabled
// gets nothing: its deliveries become dead letters, to be replayed.
func (l *leader) deliver(ctx context.Context, key string, to *endpoint) (sent, error) {
	s := sent{key: key, webhook: to.Webhook.ID, at: l.cfg.Now()}
	var d delivery
	if _, err := l.records.Get(ctx, key, &d); err != nil {
		if errors.Is(err, shingle.ErrNotFound) {
			s.ok = true
			return s, nil
		}
		if s.stuck = errors.Is(err, shingle.ErrUnreadable); s.stuck {
			return s, nil
		}
		return s, err
	}
	if to.Webhook.Disabled {
		s.ok = true
		return s, l.bury(ctx, key, &d, "the webhook is disabled")
	}
	o := l.send(ctx, to, &d.Event)
	if ctx.Err() != nil {
		return s, ctx.Err() // whether it arrived is not known: it is sent again
	}
	d.Attempts++
	s.at, s.ok = l.cfg.Now(), o.err == nil
	if s.ok {
		return s, errors.Join(l.records.Remove(ctx, key), l.note(ctx, to, nil, s.at))
	}
	return s, l.failed(ctx, key, to, &d, o, s.at)
}

// failed puts a delivery off, or buries it when it was the last attempt.
func (l *leader) failed(ctx context.Context, key string, to *endpoint, d *delivery, o outcome, now time.Time) error {
	why := o.err.Error()
	why = why[:min(len(why), maxErrorLen)]
	l.log.Info("delivery failed", "webhook", d.Webhook, "event", d.Event.ID, "type", d.Event.Type, "attempt", d.Attempts, "error", why)
	if o.gone {
		return errors.Join(l.bury(ctx, key, d, why), l.disable(ctx, d.Webhook, "it answered 410 Gone", now))
	}
	if err := l.note(ctx, to, &why, now); err != nil {
		return err
	}
	if d.Attempts > len(l.cfg.Schedule) {
		return l.bury(ctx, key, d, why)
	}
	wait := l.cfg.Schedule[d.Attempts-1]
	next := now.Add(wait*9/10 + rand.N(wait/5+1)) // so that what failed together is not repeated together
	if next.Before(o.retryAt) {
		next = o.retryAt
	}
	return l.move(ctx, key, d.key(next), d)
}

// move writes the delivery under its next key before the old one goes: a crash
// between leaves both, and so at most one attempt too many.
func (l *leader) move(ctx context.Context, from, to string, v any) error {
	if err := l.records.Create(ctx, to, v); err != nil {
		return err
	}
	return l.records.Remove(ctx, from)
}

func (l *leader) bury(ctx context.Context, key string, d *delivery, why string) error {
	now := l.cfg.Now().UTC()
	dead := shingle.DeadLetter{Webhook: d.Webhook, Event: d.Event, Attempts: d.Attempts, At: now, Error: why}
	return l.move(ctx, key, deadKey(d.Webhook, &d.Event), dead)
}

// noteEvery bounds how often a success is written down.
const noteEvery = time.Minute

// note writes down how the webhook does, and disables one that has failed for
// long.
func (l *leader) note(ctx context.Context, to *endpoint, failure *string, now time.Time) error {
	w := &to.Webhook
	if failure == nil && w.FailingFrom.IsZero() && now.Sub(w.LastSuccess) < noteEvery {
		return nil
	}
	e, err := l.change(ctx, w.ID, func(e *endpoint) error {
		if failure == nil {
			e.Webhook.LastSuccess, e.Webhook.FailingFrom = now.UTC(), time.Time{}
			return nil
		}
		e.Webhook.LastFailure, e.Webhook.LastError = now.UTC(), *failure
		if e.Webhook.FailingFrom.IsZero() {
			e.Webhook.FailingFrom = now.UTC()
		}
		return nil
	})
	if errors.Is(err, shingle.ErrNotFound) {
		return nil // removed meanwhile
	}
	if err == nil && failure != nil && now.Sub(e.Webhook.FailingFrom) >= l.cfg.GiveUp {
		return l.disable(ctx, w.ID, fmt.Sprintf("every delivery failed since %s", e.Webhook.FailingFrom.Format(time.RFC3339)), now)
	}
	return err
}

// disable stops a webhook and tells the others of it.
func (l *leader) disable(ctx context.Context, id, why string, now time.Time) error {
	e, err := l.change(ctx, id, func(e *endpoint) error {
		if !e.Webhook.Disabled {
			e.Webhook.Disabled, e.Webhook.DisabledWhy, e.Webhook.LastFailure = true, why, now.UTC()
		}
		return nil
	})
	if errors.Is(err, shingle.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	l.log.Warn("webhook disabled", "webhook", id, "why", why)
	return l.Record(ctx, shingle.Event{
		ID: shingle.EventID("webhook disabled", id, e.Webhook.LastFailure.String()), Type: shingle.EventWebhookDisabled,
		At: e.Webhook.LastFailure, Tenant: e.Webhook.Tenant, Data: object("webhook", id, "why", why),
	})
}
