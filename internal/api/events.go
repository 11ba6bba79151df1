package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shingle-proxy/shingle"
)

// EventLog is what the API shows of events, and what it does with webhooks.
type EventLog interface {
	// Log returns what happened, newest first. next, when not empty, is the after
	// of the next page, which may have more when this one is short.
	Log(ctx context.Context, about shingle.EventFilter, after string, limit int) (list []shingle.Event, next string, err error)

	// Stream calls send with each event that happens from now on, or that did behind
	// the one whose id is after, until ctx ends or send or idle, which is called now
	// and then, fails. [shingle.ErrNotFound]: too much has happened since.
	Stream(ctx context.Context, about shingle.EventFilter, after string, send func(id string, e shingle.Event) error, idle func() error) error

	// CreateWebhook sets up a webhook and returns it with its secret.
	CreateWebhook(ctx context.Context, w shingle.Webhook) (made shingle.Webhook, secret string, err error)
	// Webhooks returns all of them.
	Webhooks(ctx context.Context) ([]shingle.Webhook, error)
	// Webhook returns one, or [shingle.ErrNotFound], as all below do.
	Webhook(ctx context.Context, id string) (shingle.Webhook, error)
	// UpdateWebhook has edit change what the operator may set.
	UpdateWebhook(ctx context.Context, id string, edit func(*shingle.Webhook)) (shingle.Webhook, error)
	// DeleteWebhook removes a webhook.
	DeleteWebhook(ctx context.Context, id string) error
	// RotateSecret gives a webhook a new secret.
	RotateSecret(ctx context.Context, id string) (secret string, err error)
	// Test sends a test event now. The error says why it did not arrive.
	Test(ctx context.Context, id string) error
	// DeadLetters returns what could not be delivered.
	DeadLetters(ctx context.Context, webhook, after string, limit int) (list []shingle.DeadLetter, next string, err error)
	// Replay sends dead letters again, all or that of one event.
	Replay(ctx context.Context, webhook, event string) (n int, err error)
}

// Event is something that happened.
type Event struct {
	ID     string          `json:"id" doc:"The same in the webhook-id of deliveries"`
	Type   string          `json:"type" example:"certificate.issued"`
	At     time.Time       `json:"at"`
	Host   string          `json:"host,omitempty"`
	Tenant string          `json:"tenant,omitempty"`
	By     string          `json:"by,omitempty" doc:"Name of the API token that did it; absent: Shingle itself"`
	Data   json.RawMessage `json:"data,omitempty" doc:"An object whose members depend on the type"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// EventList is a page of events, newest first.
type EventList struct {
	Events []Event `json:"events" nullable:"false"`
	Next   string  `json:"next,omitempty" doc:"Send it as after for the next page; absent at the end"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// PageInput is a place in a list. It is exported for huma.
type PageInput struct {
	After string `query:"after" maxLength:"512" doc:"The next of the page before"`
	Limit int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

type eventsInput struct {
	PageInput
	Host string `query:"host" doc:"Only what happened to this domain"`
}

type eventsAnswer struct{ Body EventList }

func (s *server) eventRoutes(a huma.API) {
	op := operation("list-events", http.MethodGet, "/v1/events", "List what happened, newest first")
	op.Description = "Every change of a domain, its DNS or its certificate: what, when, and by whom. The log goes back 90 days."
	register(s, a, op, s.listEvents)
	s.streamRoute(a)
	s.webhookRoutes(a)
}

func (s *server) listEvents(ctx context.Context, in *eventsInput) (*eventsAnswer, error) {
	host := ""
	if in.Host != "" {
		var err error
		if host, err = shingle.NormalizeDomain(in.Host); err != nil {
			return nil, at("query.host", err)
		}
	}
	about, err := s.logFor(ctx, host)
	if err != nil {
		return nil, err
	}
	list, next, err := s.Events.Log(ctx, about, in.After, in.Limit)
	if err != nil {
		return nil, inQuery(err)
	}
	out := EventList{Events: []Event{}, Next: next}
	for i := range list {
		if e := list[i].ForTenant(tenantOf(ctx)); host == "" || host == e.Host {
			out.Events = append(out.Events, showEvent(&e))
		}
	}
	return &eventsAnswer{out}, nil
}

// logFor returns the log that has a host's events, or all for none. For a tenant whose
// domain it is not, or no more, that is the tenant's own: places in the host's would tell
// when something happened to it since.
func (s *server) logFor(ctx context.Context, host string) (shingle.EventFilter, error) {
	about := shingle.EventFilter{Host: host, Tenant: tenantOf(ctx)}
	if host == "" {
		return about, nil
	}
	err := s.ownHost(ctx, host)
	if errors.Is(err, shingle.ErrNotFound) {
		about.Host, err = "", nil
	}
	return about, err
}

// inQuery places an invalid cursor where it was sent.
func inQuery(err error) error {
	if shingle.CodeOf(err) == shingle.CodeInvalid {
		return at("query.after", err)
	}
	return err
}

func showEvent(e *shingle.Event) Event {
	return Event{ID: e.ID, Type: string(e.Type), At: e.At, Host: e.Host, Tenant: e.Tenant, By: e.By, Data: e.Data}
}
