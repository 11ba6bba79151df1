package events

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Log returns what happened, newest first. after is the next of the page before, or empty for the first; next
// is empty at the end. A page may be short before that. limit is 1 to 1000. It costs a read of the store for each
// event. A bad after is [shingle.ErrInvalid].
func (h *Hub) Log(ctx context.Context, about shingle.EventFilter, after string, limit int) (list []shingle.Event, next string, err error) {
	prefix := logOf(about)
	place, err := base64.RawURLEncoding.DecodeString(after)
	if err != nil || len(place) > 0 && strings.Count(string(place), "/") != 1 {
		return nil, "", &shingle.Error{Code: shingle.CodeInvalid, Field: "after", Message: "after takes the next of an earlier answer, unchanged"}
	}
	start := ""
	if len(place) > 0 {
		start = prefix + string(place)
	}
	keys, err := h.records.List(ctx, prefix, start, limit)
	if err != nil {
		return nil, "", fmt.Errorf("list events: %w", err)
	}
	for _, key := range keys {
		var e shingle.Event
		_, err := h.records.Get(ctx, logPrefix+strings.TrimPrefix(key, prefix), &e)
		if errors.Is(err, shingle.ErrNotFound) || errors.Is(err, shingle.ErrUnreadable) {
			continue // just removed for its age; or nobody can tell of it
		}
		if err != nil {
			return nil, "", fmt.Errorf("read event: %w", err)
		}
		if about.Takes(&e) {
			list = append(list, e)
		}
	}
	if len(keys) == limit {
		next = base64.RawURLEncoding.EncodeToString([]byte(strings.TrimPrefix(keys[len(keys)-1], prefix)))
	}
	return list, next, nil
}

// logOf returns the prefix of the keys that have what about says, and perhaps more.
func logOf(about shingle.EventFilter) string {
	switch {
	case about.Host != "":
		return hostsPrefix + about.Host + "/"
	case about.Tenant != "":
		return tenantPrefix(about.Tenant)
	}
	return logPrefix
}

// keep writes e into the log. The indexes come first: an entry of theirs without
// an event is passed over.
func (h *Hub) keep(ctx context.Context, e *shingle.Event) error {
	for _, key := range indexKeys(e) {
		if err := h.records.Create(ctx, key, struct{}{}); err != nil {
			return err
		}
	}
	err := h.records.Create(ctx, logKey(e), e)
	h.logged.raise()
	return err
}

// cleanPage bounds what is removed between two looks for deliveries.
const cleanPage = 100

// clean removes some of what is older than Keep, and reports whether there is more.
func (h *Hub) clean(ctx context.Context, now time.Time) (more bool, err error) {
	keys, err := h.records.List(ctx, logPrefix, logPrefix+age(now.Add(-h.cfg.Keep)), cleanPage)
	if err != nil {
		return false, fmt.Errorf("list old events: %w", err)
	}
	for _, key := range keys {
		var e shingle.Event
		switch _, err := h.records.Get(ctx, key, &e); {
		case errors.Is(err, shingle.ErrUnreadable):
			e = shingle.Event{} // which entries it has is not known; without it they are passed over
		case err != nil && !errors.Is(err, shingle.ErrNotFound):
			return false, fmt.Errorf("read old event: %w", err)
		}
		for _, index := range indexKeys(&e) {
			if err := h.records.Remove(ctx, index); err != nil {
				return false, err
			}
		}
		if err := h.records.Remove(ctx, key); err != nil {
			return false, err
		}
	}
	return len(keys) == cleanPage, nil
}
