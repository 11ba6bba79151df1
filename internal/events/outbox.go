package events

import (
	"context"
	"errors"
	"fmt"

	"github.com/shingle-proxy/shingle"
)

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
