package certs

import (
	"context"
	"errors"
	"time"

	"github.com/shingle-proxy/shingle"
)

// farAway is further than any attempt is put off for, and than the renewal of nearly every
// certificate; recallEvery is how often the worker looks for attempts that are.
const (
	farAway     = 3 * 365 * 24 * time.Hour
	recallEvery = 24 * time.Hour
)

// recall makes due whose next attempt was put off by a process with a clock of years
// ahead: nobody would look after them before their certificates have ended.
func (m *Manager) recall(ctx context.Context, now time.Time) error {
	for after := duePrefix + now.Add(farAway).UTC().Format(dueTime); ; {
		keys, err := m.store.list(ctx, duePrefix, after, duePage)
		if err != nil {
			return err
		}
		for _, key := range keys {
			after = key
			if i, ok := parseItem(key); ok {
				err = errors.Join(err, m.recallOne(ctx, i, now))
			}
		}
		if err != nil || len(keys) < duePage {
			return err
		}
	}
}

func (m *Manager) recallOne(ctx context.Context, i item, now time.Time) error {
	_, err := m.store.changePlan(ctx, i.host, now, func(p *plan, exists bool) bool {
		if !exists || p.Due != i.key || p.RetryAt.Sub(now) < farAway {
			return false
		}
		m.log.Warn("attempt brought forward, that a wrong clock had put off", "host", i.host, "until", p.RetryAt)
		p.RetryAt = time.Time{}
		p.reschedule()
		return true
	})
	if errors.Is(err, shingle.ErrUnreadable) {
		return nil // the others are recalled
	}
	return err
}
