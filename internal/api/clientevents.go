package api

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"
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

// Follow calls do with what happens to host, or to all domains when host is empty,
// from now on, until ctx ends or a function returns an error, which it returns. begun
// is called when nothing will be missed any more. A connection that ends is made
// again, and nothing is left out; when there is none any more, the error is
// [shingle.CodeUnavailable].
func (c *Client) Follow(ctx context.Context, host string, begun func() error, do func(Event) error) error {
	s := &stream{client: c, path: "/v1/events/stream?host=" + url.QueryEscape(host), begun: begun, do: do}
	for {
		began := time.Now()
		if err := s.read(ctx); err != nil {
			return err
		}
		if wait := time.Second - time.Since(began); wait > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(wait):
			}
		}
	}
}

// stream reads server-sent events.
type stream struct {
	client *Client
	path   string
	last   string // id of the last event
	begun  func() error
	do     func(Event) error
}

// read reads one connection to its end, which is no error.
func (s *stream) read(ctx context.Context) error {
	req, err := s.client.request(ctx, http.MethodGet, s.path, nil)
	if err != nil {
		return err
	}
	if s.last != "" {
		req.Header.Set("Last-Event-ID", s.last)
	}
	h := *s.client.http
	h.Timeout = 0
	resp, err := h.Do(req)
	if err != nil {
		return s.client.unreachable(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		data, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		return s.client.problem(resp, data)
	}
	if err := s.begun(); err != nil {
		return err
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	var kind, data, id string
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case lines.Text() == "" && data != "":
			if err := s.take(resp, kind, data); err != nil {
				return err
			}
			s.last, kind, data, id = id, "", "", ""
		case name == "id":
			id = value
		case name == "event":
			kind = value
		case name == "data":
			data += value
		}
	}
	return ctx.Err()
}

func (s *stream) take(resp *http.Response, kind, data string) error {
	if kind == "problem" {
		return s.client.problem(resp, []byte(data))
	}
	var e Event
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		return s.client.unavailable("the answer of "+s.client.base+" is not the one of a shingle API", err)
	}
	return s.do(e)
}
