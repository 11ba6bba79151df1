package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/shingle-proxy/shingle"
)

// position is how far the change feed of the domains has become events.
type position struct {
	Cursor shingle.Cursor `json:"cursor"`
}

const positionKey = "events/position"

// domainChange is the data of a domain's event.
type domainChange struct {
	Before *domain `json:"before,omitempty"`
	After  *domain `json:"after,omitempty"`
}

// domain is a row as events show it.
type domain struct {
	Tenant   string `json:"tenant,omitempty"`
	Origin   string `json:"origin,omitempty"`
	Redirect string `json:"redirect,omitempty"`
	Paused   bool   `json:"paused"`
	Version  int64  `json:"version"`
}

// follow makes events of what changed. The position is written behind the events:
// a crash between makes them again, with the same IDs. Where the feed no longer
// goes back that far, events are missing, which is said in the log.
func (l *leader) follow(ctx context.Context) error {
	var p position
	version, err := l.records.Get(ctx, positionKey, &p)
	first := errors.Is(err, shingle.ErrNotFound)
	if err != nil && !first {
		return fmt.Errorf("read position: %w", err)
	}
	for {
		changes, next, err := l.cfg.Domains.Changes(ctx, p.Cursor, page)
		switch {
		case errors.Is(err, shingle.ErrNotFound):
			if next, err = l.cfg.Domains.Head(ctx); err != nil {
				return fmt.Errorf("read head of changes: %w", err)
			}
			if !first {
				l.log.Error("events of domains are missing: the change feed no longer goes back to where it was read last")
			}
		case err != nil:
			return fmt.Errorf("read changes: %w", err)
		case len(changes) == 0:
			return nil
		}
		for i := range changes {
			if err := l.Record(ctx, changed(&changes[i])); err != nil {
				return err
			}
		}
		p.Cursor, first = next, false
		if version, err = l.records.Put(ctx, positionKey, p, version); err != nil {
			return fmt.Errorf("write position: %w", err)
		}
	}
}

// changed makes an event of a change.
func changed(c *shingle.Change) shingle.Event {
	e := shingle.Event{Type: shingle.EventDomainUpdated, At: c.At, Host: c.Host, Tenant: c.Domain.Tenant, By: c.By}
	var data domainChange
	if c.Before.Host != "" {
		data.Before = show(&c.Before)
	} else {
		e.Type = shingle.EventDomainCreated
	}
	if !c.Deleted {
		data.After = show(&c.Domain)
	} else {
		e.Type, e.Tenant = shingle.EventDomainDeleted, c.Before.Tenant
	}
	// A row that is deleted and created again counts from 1 again.
	e.ID = shingle.EventID(string(e.Type), c.Host, strconv.FormatInt(max(c.Domain.Version, c.Before.Version), 10), c.At.Format(time.RFC3339Nano))
	e.Data, _ = json.Marshal(data) // strings and numbers always can
	return e
}

func show(d *shingle.Domain) *domain {
	return &domain{Tenant: d.Tenant, Origin: d.Origin, Redirect: d.Redirect, Paused: d.Paused, Version: d.Version}
}
