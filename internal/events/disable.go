package events

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shingle-proxy/shingle"
)

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
