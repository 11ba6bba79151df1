package certs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Want has the worker obtain a certificate for host, and keep it renewed. To
// want a host again is to say that something has changed: an attempt that was
// given up is made again.
func (m *Manager) Want(ctx context.Context, host, tenant string) error {
	now := m.cfg.Now()
	_, err := m.store.changePlan(ctx, host, now, func(p *plan, exists bool) bool {
		if exists && p.Tenant == tenant && !p.Stopped {
			return false
		}
		p.Tenant = tenant
		if !exists || p.Stopped {
			p.Stopped, p.Failures, p.RetryAt = false, 0, time.Time{}
			p.RenewAt = later(now, p.RenewAt)
		}
		p.reschedule()
		return true
	})
	if err != nil {
		return fmt.Errorf("want certificate: %w", err)
	}
	m.refusals.clear(host)
	return nil
}

// later returns t if it is set and after now, and otherwise now.
func later(now, t time.Time) time.Time {
	if t.After(now) {
		return t
	}
	return now
}

// Renew has the worker replace host's certificate now, whatever its age. It
// returns [shingle.ErrNotFound] for a host that was never wanted.
func (m *Manager) Renew(ctx context.Context, host string) error {
	now := m.cfg.Now()
	found := false
	_, err := m.store.changePlan(ctx, host, now, func(p *plan, exists bool) bool {
		if found = exists; !exists {
			return false
		}
		p.RenewAt, p.RetryAt, p.Stopped, p.Keep, p.Failures = now, time.Time{}, false, false, 0
		p.reschedule()
		return true
	})
	switch {
	case err != nil:
		return fmt.Errorf("renew certificate: %w", err)
	case !found:
		return shingle.Errorf(shingle.CodeNotFound, "there is no certificate for %s", host)
	}
	m.refusals.clear(host)
	return nil
}

// Drop ends what [Manager.Want] began, and removes the stored certificate with
// its key. It is no error when there is none.
func (m *Manager) Drop(ctx context.Context, host string) error {
	if ended := m.issues.stop(host); ended != nil {
		select { // or it would store what we delete
		case <-ended:
		case <-ctx.Done():
			return fmt.Errorf("drop certificate: %w", ctx.Err())
		}
	}
	m.Forget(host)
	// The plan goes last: while it is there the drop can be repeated.
	p, _, err := m.store.plan(ctx, host)
	unknown := errors.Is(err, shingle.ErrUnreadable) // it is dropped all the same; the worker finds what it named
	if err != nil && !unknown && !errors.Is(err, shingle.ErrNotFound) {
		return fmt.Errorf("drop certificate: %w", err)
	}
	m.journal.forget(ctx, host)
	if err := m.budgets.dropped(ctx, host, m.cfg.Now()); err != nil {
		return fmt.Errorf("drop certificate: %w", err)
	}
	for _, key := range []string{certKey(host), planKey(host)} {
		if err := m.store.erase(ctx, key); err != nil {
			return fmt.Errorf("drop certificate: %w", err)
		}
	}
	for _, key := range p.keys() {
		if key == "" || unknown {
			continue
		}
		if err := m.store.unmark(ctx, key); err != nil {
			return fmt.Errorf("drop certificate: %w", err)
		}
	}
	if p.NotAfter.IsZero() && !unknown {
		return nil
	}
	return m.store.announce(ctx, host, m.cfg.Now())
}

// erase removes the record at key, whatever its version.
func (s *store) erase(ctx context.Context, key string) error {
	for {
		version, err := s.version(ctx, key)
		if err == nil && version != shingle.NoVersion {
			err = s.remove(ctx, key, version)
		}
		switch {
		case err == nil || errors.Is(err, shingle.ErrNotFound):
			return nil
		case !errors.Is(err, shingle.ErrConflict):
			return err
		}
	}
}
