package certs

import (
	"context"
	"errors"
	"fmt"

	"github.com/shingle-proxy/shingle"
)

// intake follows the domains: one that appears is wanted, one that goes is
// dropped. How far it came is in the store, so the next worker goes on there.
type intake struct {
	m       *Manager
	domains shingle.DomainStore
}

// position is how far the fleet's worker has come in the change feed.
type position struct {
	Cursor shingle.Cursor `json:"cursor"`
	// After is the last host of a reading of all domains that is under way, from
	// the beginning of which Cursor is.
	After string `json:"after,omitempty"`
	All   bool   `json:"all,omitempty"`
}

const (
	positionKey = "worker/domains"
	intakePage  = 1000
)

// step takes in what changed. It can be repeated after any error.
func (n *intake) step(ctx context.Context) error {
	var p position
	version, err := n.m.store.get(ctx, positionKey, &p)
	if errors.Is(err, shingle.ErrNotFound) {
		if p.Cursor, err = n.domains.Head(ctx); err != nil {
			return fmt.Errorf("read head of changes: %w", err)
		}
		version, p.All = shingle.NoVersion, true
	}
	if err != nil {
		return fmt.Errorf("read position: %w", err)
	}
	for {
		before := p
		if p.All {
			err = n.page(ctx, &p)
		} else {
			err = n.changes(ctx, &p)
		}
		if err != nil {
			return err
		}
		if p == before {
			return nil
		}
		if version, err = n.m.store.put(ctx, positionKey, p, version); err != nil {
			return fmt.Errorf("write position: %w", err)
		}
	}
}

// page takes in some of all domains.
func (n *intake) page(ctx context.Context, p *position) error {
	list, err := n.domains.Domains(ctx, p.After, intakePage)
	if err != nil {
		return fmt.Errorf("read domains: %w", err)
	}
	for i := range list {
		if err := n.take(ctx, &shingle.Change{Host: list[i].Host, Domain: list[i]}); err != nil {
			return err
		}
		p.After = list[i].Host
	}
	if len(list) < intakePage {
		p.After, p.All = "", false
	}
	return nil
}

// changes takes in some of what changed since. When the feed no longer goes back
// that far, all domains are read again; what was deleted meanwhile is found when
// it comes up for renewal and is no longer allowed.
func (n *intake) changes(ctx context.Context, p *position) error {
	list, next, err := n.domains.Changes(ctx, p.Cursor, intakePage)
	if errors.Is(err, shingle.ErrNotFound) {
		head, err := n.domains.Head(ctx)
		if err != nil {
			return fmt.Errorf("read head of changes: %w", err)
		}
		n.m.log.Warn("worker fell behind the change feed, reading all domains again")
		*p = position{Cursor: head, All: true}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read changes: %w", err)
	}
	for i := range list {
		if err := n.take(ctx, &list[i]); err != nil {
			return err
		}
	}
	p.Cursor = next
	return nil
}

func (n *intake) take(ctx context.Context, c *shingle.Change) error {
	switch {
	case c.Deleted:
		return n.m.Drop(ctx, c.Host)
	case c.Domain.Paused:
		return nil // its renewals are not allowed, which the worker finds when one is due
	}
	return n.m.Want(ctx, c.Host, c.Domain.Tenant)
}
