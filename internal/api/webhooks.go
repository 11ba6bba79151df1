package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shingle-proxy/shingle"
)

// Webhook is a place that events are sent to, by the Standard Webhooks
// specification.
type Webhook struct {
	ID          string    `json:"id"`
	URL         string    `json:"url" example:"https://app.example.com/hooks/shingle"`
	Description string    `json:"description,omitempty"`
	Types       []string  `json:"types" nullable:"false" doc:"The types of event that it gets; none: all"`
	Tenant      string    `json:"tenant,omitempty" doc:"Only events of this tenant"`
	Disabled    bool      `json:"disabled"`
	DisabledWhy string    `json:"disabled_why,omitempty" doc:"When Shingle did it"`
	CreatedAt   time.Time `json:"created_at"`
	LastSuccess time.Time `json:"last_success,omitzero"`
	LastFailure time.Time `json:"last_failure,omitzero"`
	LastError   string    `json:"last_error,omitempty" doc:"Of the last failure"`
	FailingFrom time.Time `json:"failing_from,omitzero" doc:"Since when nothing has arrived"`
	Secret      string    `json:"secret,omitempty" doc:"Verifies the deliveries; shown when it is made and never again"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// NewWebhook is the body of a create.
type NewWebhook struct {
	URL         string   `json:"url" doc:"An https URL in the public Internet"`
	Description string   `json:"description,omitempty" doc:"For people, at most 256 bytes"`
	Types       []string `json:"types,omitempty" doc:"The types of event to send; none: all"`
	Tenant      string   `json:"tenant,omitempty" doc:"Only events of this tenant"`
}

// WebhookPatch is the body of an update: what is absent stays.
type WebhookPatch struct {
	URL         *string   `json:"url,omitempty"`
	Description *string   `json:"description,omitempty"`
	Types       *[]string `json:"types,omitempty"`
	Tenant      *string   `json:"tenant,omitempty"`
	Disabled    *bool     `json:"disabled,omitempty" doc:"To enable one again forgets its failures"`
}

// WebhookList is all webhooks.
type WebhookList struct {
	Webhooks []Webhook `json:"webhooks" nullable:"false"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// DeadLetter is a delivery that was given up.
type DeadLetter struct {
	Event    Event     `json:"event"`
	Attempts int       `json:"attempts"`
	At       time.Time `json:"at" doc:"Of the last attempt"`
	Error    string    `json:"error" doc:"How that ended"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// DeadLetterList is a page of dead letters, newest events first.
type DeadLetterList struct {
	DeadLetters []DeadLetter `json:"dead_letters" nullable:"false"`
	Next        string       `json:"next,omitempty" doc:"Send it as after for the next page; absent at the end"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// ReplayRequest says what to send again.
type ReplayRequest struct {
	Event string `json:"event,omitempty" doc:"The ID of one event; absent: all dead letters"`
}

// Replayed is how many dead letters are sent again.
type Replayed struct {
	Count int `json:"count"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// IDInput names a webhook. It is exported for huma.
type IDInput struct {
	ID string `path:"id" maxLength:"64"`
}

type (
	webhookAnswer      struct{ Body Webhook }
	webhooksAnswer     struct{ Body WebhookList }
	deadLettersAnswer  struct{ Body DeadLetterList }
	replayedAnswer     struct{ Body Replayed }
	createWebhookInput struct{ Body NewWebhook }
	updateWebhookInput struct {
		IDInput
		Body WebhookPatch
	}
	deadLettersInput struct {
		IDInput
		PageInput
	}
	replayInput struct {
		IDInput
		Body ReplayRequest
	}
)

func (s *server) webhookRoutes(a huma.API) {
	const all, one = "/v1/webhooks", "/v1/webhooks/{id}"
	body := []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}
	create := operation("create-webhook", http.MethodPost, all, "Set up a webhook", append(body, http.StatusTooManyRequests)...)
	create.DefaultStatus = http.StatusCreated
	create.Description = "Events are sent as the Standard Webhooks specification says, and again for days until they arrive. The answer holds the secret that verifies them, this once."
	register(s, a, create, s.createWebhook)
	register(s, a, operation("list-webhooks", http.MethodGet, all, "List the webhooks"), s.listWebhooks)
	register(s, a, operation("get-webhook", http.MethodGet, one, "Show a webhook", http.StatusNotFound), s.getWebhook)
	register(s, a, operation("update-webhook", http.MethodPatch, one, "Change a webhook", append(body, http.StatusNotFound)...), s.updateWebhook)
	register(s, a, operation("delete-webhook", http.MethodDelete, one, "Remove a webhook", http.StatusNotFound), s.deleteWebhook)
	rotate := operation("rotate-webhook-secret", http.MethodPost, one+"/rotate", "Give a webhook a new secret", http.StatusNotFound)
	rotate.Description = "For a day deliveries are signed with the old secret too."
	register(s, a, rotate, s.rotateWebhook)
	register(s, a, operation("test-webhook", http.MethodPost, one+"/test", "Send a test event now", http.StatusNotFound), s.testWebhook)
	register(s, a, operation("list-dead-letters", http.MethodGet, one+"/dead-letters", "List what could not be delivered", http.StatusNotFound), s.listDeadLetters)
	register(s, a, operation("replay-dead-letters", http.MethodPost, one+"/replay", "Send dead letters again",
		append(body, http.StatusNotFound, http.StatusPreconditionFailed)...), s.replayDeadLetters)
}

func (s *server) createWebhook(ctx context.Context, in *createWebhookInput) (*webhookAnswer, error) {
	b := in.Body
	w, secret, err := s.Events.CreateWebhook(ctx, shingle.Webhook{URL: b.URL, Description: b.Description, Types: eventTypes(b.Types), Tenant: b.Tenant})
	if err != nil {
		return nil, err
	}
	out := showWebhook(w)
	out.Secret = secret
	return &webhookAnswer{out}, nil
}

func (s *server) listWebhooks(ctx context.Context, _ *struct{}) (*webhooksAnswer, error) {
	list, err := s.Events.Webhooks(ctx)
	if err != nil {
		return nil, err
	}
	out := WebhookList{Webhooks: make([]Webhook, len(list))}
	for i, w := range list {
		out.Webhooks[i] = showWebhook(w)
	}
	return &webhooksAnswer{out}, nil
}

func (s *server) getWebhook(ctx context.Context, in *IDInput) (*webhookAnswer, error) {
	w, err := s.Events.Webhook(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &webhookAnswer{showWebhook(w)}, nil
}

func (s *server) updateWebhook(ctx context.Context, in *updateWebhookInput) (*webhookAnswer, error) {
	w, err := s.Events.UpdateWebhook(ctx, in.ID, in.Body.apply)
	if err != nil {
		return nil, err
	}
	return &webhookAnswer{showWebhook(w)}, nil
}

func (p *WebhookPatch) apply(w *shingle.Webhook) {
	if p.URL != nil {
		w.URL = *p.URL
	}
	if p.Description != nil {
		w.Description = *p.Description
	}
	if p.Types != nil {
		w.Types = eventTypes(*p.Types)
	}
	if p.Tenant != nil {
		w.Tenant = *p.Tenant
	}
	if p.Disabled != nil {
		w.Disabled = *p.Disabled
	}
}

func (s *server) deleteWebhook(ctx context.Context, in *IDInput) (*struct{}, error) {
	return nil, s.Events.DeleteWebhook(ctx, in.ID)
}

func (s *server) rotateWebhook(ctx context.Context, in *IDInput) (*webhookAnswer, error) {
	secret, err := s.Events.RotateSecret(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out, err := s.getWebhook(ctx, in)
	if err != nil {
		return nil, err
	}
	out.Body.Secret = secret
	return out, nil
}

func (s *server) testWebhook(ctx context.Context, in *IDInput) (*struct{}, error) {
	return nil, s.Events.Test(ctx, in.ID)
}

func (s *server) listDeadLetters(ctx context.Context, in *deadLettersInput) (*deadLettersAnswer, error) {
	list, next, err := s.Events.DeadLetters(ctx, in.ID, in.After, in.Limit)
	if err != nil {
		return nil, inQuery(err)
	}
	out := DeadLetterList{DeadLetters: make([]DeadLetter, len(list)), Next: next}
	for i := range list {
		d := &list[i]
		out.DeadLetters[i] = DeadLetter{Event: showEvent(&d.Event), Attempts: d.Attempts, At: d.At, Error: d.Error}
	}
	return &deadLettersAnswer{out}, nil
}

func (s *server) replayDeadLetters(ctx context.Context, in *replayInput) (*replayedAnswer, error) {
	n, err := s.Events.Replay(ctx, in.ID, in.Body.Event)
	if err != nil {
		return nil, err
	}
	return &replayedAnswer{Replayed{Count: n}}, nil
}

func eventTypes(names []string) []shingle.EventType {
	list := make([]shingle.EventType, len(names))
	for i, name := range names {
		list[i] = shingle.EventType(name)
	}
	return list
}

func showWebhook(w shingle.Webhook) Webhook {
	out := Webhook{
		ID: w.ID, URL: w.URL, Description: w.Description, Types: make([]string, len(w.Types)), Tenant: w.Tenant,
		Disabled: w.Disabled, DisabledWhy: w.DisabledWhy, CreatedAt: w.CreatedAt,
		LastSuccess: w.LastSuccess, LastFailure: w.LastFailure, LastError: w.LastError, FailingFrom: w.FailingFrom,
	}
	for i, t := range w.Types {
		out.Types[i] = string(t)
	}
	return out
}
