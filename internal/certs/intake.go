package certs

import (
	"context"
	"errors"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

// FeedPosition is the key of the record that says how far the worker has followed the
// change feed.
const FeedPosition = "worker/domains"

// intake follows the domains: one that appears is wanted, one that goes is
// dropped. What was deleted while the worker fell behind the feed is found, and
// dropped, when it comes up for renewal and is no longer allowed.
func (m *Manager) intake() *records.Feed {
	return &records.Feed{
		Records: records.New(m.cfg.Blobs, m.cfg.Unreadable), Domains: m.cfg.Domains, Key: FeedPosition, All: true, Take: m.takeIn,
		Gap: func() { m.log.Warn("worker fell behind the change feed, reading all domains again") },
	}
}

func (m *Manager) takeIn(ctx context.Context, c *shingle.Change) error {
	switch {
	case c.Deleted:
		return m.Drop(ctx, c.Host)
	case c.Domain.Paused:
		return nil // its renewals are not allowed, which the worker finds when one is due
	}
	err := m.Want(ctx, c.Host, c.Domain.Tenant)
	if errors.Is(err, shingle.ErrUnreadable) {
		return nil // its plan stays as it is, and the others go on
	}
	return err
}
