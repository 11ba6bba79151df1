package api

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strings"
)

// Events returns what happened to host, or to all domains when host is empty,
// newest first, reading page after page as they are asked for. It ends with the
// first error.
func (c *Client) Events(ctx context.Context, host string) iter.Seq2[Event, error] {
	return pages(ctx, c, "/v1/events?limit=200&host="+url.QueryEscape(host), func(l EventList) ([]Event, string) { return l.Events, l.Next })
}

// CreateWebhook sets up a webhook. Its Secret is in the answer this once.
func (c *Client) CreateWebhook(ctx context.Context, w NewWebhook) (out Webhook, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/webhooks", w, &out)
}

// Webhooks returns all webhooks.
func (c *Client) Webhooks(ctx context.Context) ([]Webhook, error) {
	var out WebhookList
	err := c.call(ctx, http.MethodGet, "/v1/webhooks", nil, &out)
	return out.Webhooks, err
}

// Webhook returns one, or [shingle.ErrNotFound], as all below do.
func (c *Client) Webhook(ctx context.Context, id string) (out Webhook, err error) {
	return out, c.call(ctx, http.MethodGet, webhookPath(id), nil, &out)
}

// UpdateWebhook changes what p holds.
func (c *Client) UpdateWebhook(ctx context.Context, id string, p WebhookPatch) (out Webhook, err error) {
	return out, c.call(ctx, http.MethodPatch, webhookPath(id), p, &out)
}

// DeleteWebhook removes a webhook.
func (c *Client) DeleteWebhook(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, webhookPath(id), nil, nil)
}

// RotateWebhook gives a webhook a new secret, which is in the answer this once.
func (c *Client) RotateWebhook(ctx context.Context, id string) (out Webhook, err error) {
	return out, c.call(ctx, http.MethodPost, webhookPath(id)+"/rotate", nil, &out)
}

// TestWebhook sends a test event. The error says why it did not arrive.
func (c *Client) TestWebhook(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodPost, webhookPath(id)+"/test", nil, nil)
}

// DeadLetters returns what could not be delivered, as [Client.Events] does.
func (c *Client) DeadLetters(ctx context.Context, id string) iter.Seq2[DeadLetter, error] {
	return pages(ctx, c, webhookPath(id)+"/dead-letters?limit=200", func(l DeadLetterList) ([]DeadLetter, string) { return l.DeadLetters, l.Next })
}

// Replay sends dead letters again: that of one event, or all when event is empty.
func (c *Client) Replay(ctx context.Context, id, event string) (n int, err error) {
	var out Replayed
	err = c.call(ctx, http.MethodPost, webhookPath(id)+"/replay", ReplayRequest{Event: event}, &out)
	return out.Count, err
}

// webhookPath keeps an ID from turning into another path.
func webhookPath(id string) string {
	if strings.Trim(id, ".") == "" {
		id = "_" // no ID, and so not found
	}
	return "/v1/webhooks/" + url.PathEscape(id)
}
