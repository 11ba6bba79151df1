package events

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/shingle-proxy/shingle"
)

func deadKey(webhook string, e *shingle.Event) string {
	return deadPrefix + webhook + "/" + age(e.At) + "/" + e.ID
}

// DeadLetters returns what could not be delivered to a webhook, newest events
// first, at most limit (1 to 1000). after and next are as those of [Hub.Log].
func (h *Hub) DeadLetters(ctx context.Context, webhook, after string, limit int) (list []shingle.DeadLetter, next string, err error) {
	if _, err := h.Webhook(ctx, webhook); err != nil {
		return nil, "", err
	}
	place, err := base64.RawURLEncoding.DecodeString(after)
	if err != nil {
		return nil, "", invalid("after", "after takes the next of an earlier answer, unchanged")
	}
	prefix, start := deadPrefix+webhook+"/", ""
	if len(place) > 0 {
		start = prefix + string(place)
	}
	keys, err := h.records.List(ctx, prefix, start, limit)
	if err != nil {
		return nil, "", fmt.Errorf("list dead letters: %w", err)
	}
	for _, key := range keys {
		var d shingle.DeadLetter
		_, err := h.records.Get(ctx, key, &d)
		if errors.Is(err, shingle.ErrNotFound) || errors.Is(err, shingle.ErrUnreadable) {
			continue // just replayed; or nobody can tell of it
		}
		if err != nil {
			return nil, "", fmt.Errorf("read dead letter: %w", err)
		}
		list = append(list, d)
	}
	if len(keys) == limit {
		next = base64.RawURLEncoding.EncodeToString([]byte(strings.TrimPrefix(keys[len(keys)-1], prefix)))
	}
	return list, next, nil
}

// Replay sends dead letters of a webhook again, all of them or the one of an
// event, and returns how many. It can be repeated after an error.
func (h *Hub) Replay(ctx context.Context, webhook, event string) (n int, err error) {
	w, err := h.Webhook(ctx, webhook)
	if err != nil {
		return 0, err
	}
	if w.Disabled {
		return 0, shingle.Errorf(shingle.CodeConflict, "the webhook is disabled: enable it first")
	}
	now := h.cfg.Now()
	prefix := deadPrefix + webhook + "/"
	for after := ""; ; {
		keys, err := h.records.List(ctx, prefix, after, page)
		if err != nil {
			return n, fmt.Errorf("list dead letters: %w", err)
		}
		for _, key := range keys {
			if after = key; event != "" && !strings.HasSuffix(key, "/"+event) {
				continue
			}
			var dead shingle.DeadLetter
			if _, err := h.records.Get(ctx, key, &dead); err != nil {
				if errors.Is(err, shingle.ErrNotFound) || errors.Is(err, shingle.ErrUnreadable) {
					continue
				}
				return n, fmt.Errorf("read dead letter: %w", err)
			}
			d := delivery{Webhook: webhook, Event: dead.Event}
			if err := h.records.Create(ctx, d.key(now), d); err != nil {
				return n, fmt.Errorf("make delivery: %w", err)
			}
			if err := h.records.Remove(ctx, key); err != nil {
				return n, err
			}
			n++
		}
		if len(keys) < page {
			break
		}
	}
	if n == 0 && event != "" {
		return 0, shingle.Errorf(shingle.CodeNotFound, "webhook %s has no dead letter of event %s", webhook, event)
	}
	h.nudge()
	return n, nil
}

// Test sends a webhook a test event, once and now. The error is why it did not
// arrive, and may be shown.
func (h *Hub) Test(ctx context.Context, id string) error {
	to, _, err := h.endpoint(ctx, id)
	if err != nil {
		return err
	}
	e := shingle.Event{ID: "evt_" + strings.ToLower(rand.Text()[:24]), Type: shingle.EventWebhookTest, At: h.cfg.Now().UTC(), Data: object("webhook", id)}
	if o := h.send(ctx, &to, &e); o.err != nil {
		return &shingle.Error{Code: shingle.CodeUnavailable, Message: "the test event did not arrive: " + o.err.Error(), Err: o.err}
	}
	return nil
}

// object is a JSON object of strings: name, value, name, value.
func object(pairs ...string) json.RawMessage {
	m := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	b, _ := json.Marshal(m) // strings always can
	return b
}
