package events

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

// FeedPosition is the key of the record that says how far the change feed became events.
const FeedPosition = "events/position"

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

	SetupGeneration int64 `json:"setup_generation,omitempty"` // of the links to its set-up page

	Settings map[string]json.RawMessage `json:"settings,omitempty"` // as settings tells
}

// feed makes events of what changed.
func (h *Hub) feed() *records.Feed {
	return &records.Feed{
		Records: h.records, Domains: h.cfg.Domains, Key: FeedPosition,
		Take: func(ctx context.Context, c *shingle.Change) error {
			if e, ok := moved(c); ok {
				if err := h.Record(ctx, e); err != nil {
					return err
				}
			}
			return h.Record(ctx, changed(c))
		},
		Gap: func() {
			h.log.Error("events of domains are missing: the change feed no longer goes back to where it was read last")
		},
	}
}

// changed makes an event of a change.
func changed(c *shingle.Change) shingle.Event {
	e := shingle.Event{Type: shingle.EventDomainUpdated, At: c.At, Host: c.Host, Tenant: c.Domain.Tenant, By: c.By}
	var data domainChange
	if c.Before.Host != "" {
		data.Before = show(&c.Before)
	} else if c.Domain.Version <= 1 { // what was before a later version is not known
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

// moved makes the event of a change for the tenant that lost a domain by it to another; ok
// is false when nobody did. Whose it is now, and who did it, is not theirs to know.
func moved(c *shingle.Change) (e shingle.Event, ok bool) {
	if c.Deleted || c.Before.Tenant == "" || c.Before.Tenant == c.Domain.Tenant {
		return e, false
	}
	e = shingle.Event{Type: shingle.EventDomainMoved, At: c.At, Host: c.Host, Tenant: c.Before.Tenant}
	e.ID = shingle.EventID(string(e.Type), c.Host, strconv.FormatInt(c.Domain.Version, 10), c.At.Format(time.RFC3339Nano))
	e.Data, _ = json.Marshal(domainChange{Before: show(&c.Before)}) // strings and numbers always can
	return e, true
}

func show(d *shingle.Domain) *domain {
	return &domain{
		Tenant: d.Tenant, Origin: d.Origin, Redirect: d.Redirect, Paused: d.Paused, Version: d.Version,
		SetupGeneration: d.SetupGeneration, Settings: settings(d.Settings),
	}
}
