package events

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

const (
	webhooksPrefix = "webhooks/"
	maxWebhooks    = 100
	maxURL         = 2048
	maxDescription = 256
	secretBytes    = 32
	rotationTime   = 24 * time.Hour // in which both secrets sign
	maxEarlier     = 3              // secrets that sign besides those two
)

// SealedRecords begins the keys of the records with the secrets of a webhook, and
// SealedMember is the member that has what [Sealer] made of them.
const (
	SealedRecords = webhooksPrefix
	SealedMember  = "secrets"
)

// endpoint is a webhook as it is stored.
type endpoint struct {
	Webhook shingle.Webhook `json:"webhook"`
	Secrets []byte          `json:"secrets"`           // sealed JSON of secrets
	Deleted bool            `json:"deleted,omitempty"` // gone for all but the leader, who clears up behind it
}

// Readable returns an error for what is no webhook.
func (e *endpoint) Readable() error {
	switch {
	case !isID(e.Webhook.ID):
		return shingle.RecordFault("its ID is none")
	case e.Webhook.URL == "" || len(e.Secrets) == 0 && !e.Deleted:
		return shingle.RecordFault("its URL or its secrets are missing")
	}
	return nil
}

// secrets are what a webhook's deliveries are signed with.
type secrets struct {
	Current       []byte    `json:"current"`
	Previous      []byte    `json:"previous,omitempty"`
	PreviousUntil time.Time `json:"previous_until,omitzero"`
	Earlier       []retired `json:"earlier,omitempty"` // rotated away before that, newest first
}

// retired is a secret that signs for a while yet.
type retired struct {
	Secret []byte    `json:"secret"`
	Until  time.Time `json:"until"`
}

// rotated returns the secrets with a fresh one at now. Whoever rotates again, because the
// answer did not arrive or the new secret got about, has the receiver's own sign on.
func (s *secrets) rotated(fresh []byte, now time.Time) secrets {
	next := secrets{Current: fresh, Previous: s.Current, PreviousUntil: now.Add(rotationTime)}
	next.Earlier = s.retired(now)
	next.Earlier = next.Earlier[:min(len(next.Earlier), maxEarlier)]
	return next
}

// retired returns those that sign at now besides the current one, newest first.
func (s *secrets) retired(now time.Time) (list []retired) {
	for _, r := range append([]retired{{s.Previous, s.PreviousUntil}}, s.Earlier...) {
		if len(r.Secret) > 0 && now.Before(r.Until) {
			list = append(list, r)
		}
	}
	return list
}

// valid returns the secrets that sign at now, the current one first.
func (s *secrets) valid(now time.Time) [][]byte {
	list := [][]byte{s.Current}
	for _, r := range s.retired(now) {
		list = append(list, r.Secret)
	}
	return list
}

func webhookKey(id string) string { return webhooksPrefix + id }

// CreateWebhook sets up a webhook with a URL, and returns it with the secret that
// verifies its deliveries, "whsec_" and base64, which is shown only here. It
// returns [shingle.ErrInvalid] for what cannot be accepted.
func (h *Hub) CreateWebhook(ctx context.Context, w shingle.Webhook) (made shingle.Webhook, secret string, err error) {
	if err := h.validate(&w); err != nil {
		return w, "", err
	}
	all, err := h.Webhooks(ctx)
	if err != nil {
		return w, "", err
	}
	if len(all) >= maxWebhooks {
		return w, "", shingle.Errorf(shingle.CodeLimited, "there are %d webhooks, which is the limit: remove one", maxWebhooks)
	}
	w = shingle.Webhook{
		ID: strings.ToLower(rand.Text()[:16]), CreatedAt: h.cfg.Now().UTC().Truncate(time.Microsecond),
		URL: w.URL, Description: w.Description, Types: w.Types, Tenant: w.Tenant, Disabled: w.Disabled,
	}
	s := secrets{Current: newSecret()}
	e := endpoint{Webhook: w}
	if e.Secrets, err = h.seal(ctx, &s, w.ID); err != nil {
		return w, "", err
	}
	if _, err := h.records.Put(ctx, webhookKey(w.ID), e, shingle.NoVersion); err != nil {
		return w, "", fmt.Errorf("create webhook: %w", err)
	}
	return w, showSecret(s.Current), nil
}

// Webhooks returns all webhooks.
func (h *Hub) Webhooks(ctx context.Context) ([]shingle.Webhook, error) {
	all, err := h.endpoints(ctx)
	if err != nil {
		return nil, err
	}
	list := []shingle.Webhook{}
	for i := range all {
		if !all[i].Deleted {
			list = append(list, all[i].Webhook)
		}
	}
	return list, nil
}

// Webhook returns one, or [shingle.ErrNotFound].
func (h *Hub) Webhook(ctx context.Context, id string) (shingle.Webhook, error) {
	e, _, err := h.endpoint(ctx, id)
	return e.Webhook, err
}

// UpdateWebhook has edit change what the operator may set: URL, Description,
// Types, Tenant and Disabled. To enable a webhook forgets its failures.
func (h *Hub) UpdateWebhook(ctx context.Context, id string, edit func(*shingle.Webhook)) (shingle.Webhook, error) {
	e, err := h.change(ctx, id, func(e *endpoint) error {
		w := e.Webhook
		edit(&w)
		if err := h.validate(&w); err != nil {
			return err
		}
		was := e.Webhook.Disabled
		e.Webhook.URL, e.Webhook.Description, e.Webhook.Types, e.Webhook.Tenant = w.URL, w.Description, w.Types, w.Tenant
		if e.Webhook.Disabled = w.Disabled; was && !w.Disabled {
			e.Webhook.DisabledWhy, e.Webhook.FailingFrom = "", time.Time{}
		}
		return nil
	})
	return e.Webhook, err
}

// RotateSecret gives a webhook a new secret, which it returns. For a day
// deliveries are signed with the old one too.
func (h *Hub) RotateSecret(ctx context.Context, id string) (secret string, err error) {
	fresh := newSecret()
	_, err = h.change(ctx, id, func(e *endpoint) error {
		old, err := h.open(ctx, e)
		if err != nil {
			return err
		}
		s := old.rotated(fresh, h.cfg.Now())
		e.Secrets, err = h.seal(ctx, &s, id)
		return err
	})
	if err != nil {
		return "", err
	}
	return showSecret(fresh), nil
}

// lostWhy is why a webhook is disabled whose secret was lost.
const lostWhy = "its secret was lost with the key that sealed it: rotate the secret, give the new one to the receiver, and enable the webhook"

// LoseSecret gives the webhook whose record is at key another secret, for the one
// that nobody can open any more, and disables it until the operator has told the
// receiver.
func (h *Hub) LoseSecret(ctx context.Context, key string) error {
	id := strings.TrimPrefix(key, webhooksPrefix)
	_, err := h.change(ctx, id, func(e *endpoint) (err error) {
		e.Webhook.Disabled, e.Webhook.DisabledWhy = true, lostWhy
		e.Secrets, err = h.seal(ctx, &secrets{Current: newSecret()}, id)
		return err
	})
	if errors.Is(err, shingle.ErrNotFound) {
		return nil
	}
	return err
}

// DeleteWebhook removes a webhook, with its deliveries and dead letters.
func (h *Hub) DeleteWebhook(ctx context.Context, id string) error {
	_, err := h.change(ctx, id, func(e *endpoint) error {
		e.Deleted, e.Secrets = true, nil
		return nil
	})
	if err == nil {
		h.nudge()
	}
	return err
}

// endpoint reads a webhook, or returns [shingle.ErrNotFound].
func (h *Hub) endpoint(ctx context.Context, id string) (e endpoint, version string, err error) {
	if !isID(id) {
		return e, "", namedWebhook(id, shingle.ErrNotFound)
	}
	if version, err = h.records.Get(ctx, webhookKey(id), &e); err == nil && e.Deleted {
		err = shingle.ErrNotFound
	}
	return e, version, namedWebhook(id, err)
}

// isID reports whether id can be one of ours, which are in keys.
func isID(id string) bool {
	for i := range len(id) {
		if c := id[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return id != "" && len(id) <= 64
}

func (h *Hub) change(ctx context.Context, id string, edit func(*endpoint) error) (endpoint, error) {
	for range 8 {
		e, version, err := h.endpoint(ctx, id)
		if err != nil {
			return e, err
		}
		if err := edit(&e); err != nil {
			return e, err
		}
		if _, err = h.records.Put(ctx, webhookKey(id), e, version); !errors.Is(err, shingle.ErrConflict) {
			return e, err
		}
	}
	return endpoint{}, fmt.Errorf("change webhook: %w", shingle.ErrConflict)
}

func (h *Hub) endpoints(ctx context.Context) ([]endpoint, error) {
	keys, err := h.records.List(ctx, webhooksPrefix, "", maxWebhooks*2)
	if err != nil {
		return nil, fmt.Errorf("list webhooks: %w", err)
	}
	var list []endpoint
	for _, key := range keys {
		var e endpoint
		_, err := h.records.Get(ctx, key, &e)
		switch {
		case errors.Is(err, shingle.ErrNotFound), errors.Is(err, shingle.ErrUnreadable): // what it asks for, and of which tenant, is not known
		case err != nil:
			return nil, fmt.Errorf("read webhook: %w", err)
		default:
			list = append(list, e)
		}
	}
	return list, nil
}

func (h *Hub) validate(w *shingle.Webhook) error {
	u, err := url.Parse(w.URL)
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" || len(w.URL) > maxURL:
		return invalid("url", "the URL must look like https://app.example.com/hooks, without a user")
	case u.Scheme != "https" && (!h.cfg.AllowPrivate || u.Scheme != "http"):
		return invalid("url", "the URL must begin with https://")
	case len(w.Description) > maxDescription:
		return invalid("description", "a description has at most 256 bytes")
	case len(w.Tenant) > shingle.MaxTenant:
		return invalid("tenant", "a tenant has at most 128 bytes")
	}
	for _, t := range w.Types {
		if !slices.Contains(shingle.EventTypes, t) {
			return invalid("types", fmt.Sprintf("%q is not an event: there are %s", t, strings.Join(typeNames(), ", ")))
		}
	}
	return nil
}

func typeNames() []string {
	names := make([]string, len(shingle.EventTypes))
	for i, t := range shingle.EventTypes {
		names[i] = string(t)
	}
	return names
}

func (h *Hub) seal(ctx context.Context, s *secrets, id string) ([]byte, error) {
	plain, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode secrets: %w", err)
	}
	sealed, err := h.cfg.Sealer.Seal(ctx, plain, webhookKey(id))
	if err != nil {
		return nil, fmt.Errorf("seal secrets: %w", err)
	}
	return sealed, nil
}

func (h *Hub) open(ctx context.Context, e *endpoint) (*secrets, error) {
	plain, err := h.cfg.Sealer.Open(ctx, e.Secrets, webhookKey(e.Webhook.ID))
	if err != nil {
		return nil, fmt.Errorf("open secrets: %w", err)
	}
	var s secrets
	if json.Unmarshal(plain, &s) != nil || len(s.Current) == 0 {
		return nil, errors.New("decode secrets: not those of a webhook") // the decoder's error could quote one
	}
	return &s, nil
}

func newSecret() []byte {
	b := make([]byte, secretBytes)
	_, _ = rand.Read(b) // never fails
	return b
}

func showSecret(b []byte) string { return "whsec_" + base64.StdEncoding.EncodeToString(b) }

func namedWebhook(id string, err error) error {
	if errors.Is(err, shingle.ErrNotFound) {
		return shingle.Errorf(shingle.CodeNotFound, "there is no webhook %.64q", id)
	}
	return err
}

func invalid(field, message string) error {
	return &shingle.Error{Code: shingle.CodeInvalid, Field: field, Message: message}
}
