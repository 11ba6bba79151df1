package events

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/shingle-proxy/shingle"
)

// maxErrorLen bounds what is kept of an error, in bytes.
const maxErrorLen = 300

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
