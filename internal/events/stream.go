package events

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

const (
	// streamPoll is how late what another process logged is seen; what this one logged
	// is seen at once.
	streamPoll = 2 * time.Second
	// streamGap is between two looks at least: what is logged in quick succession, as by a
	// job, is looked for together.
	streamGap = 100 * time.Millisecond
	// streamPage is how much of the log's newest end a stream looks at. An event that
	// is logged late, behind others, is found as long as it is among these.
	streamPage = 200
)

// Stream calls send with each event that happens from now on, about what about says,
// until ctx ends or send fails, whose error it returns. id is where the event is in
// the log: given as after, it has the stream begin behind it, with what happened
// since; [shingle.ErrNotFound] says that this is more than a stream looks at. idle
// is called when the stream has begun, and now and then, and ends it likewise.
func (h *Hub) Stream(ctx context.Context, about shingle.EventFilter, after string, send func(id string, e shingle.Event) error, idle func() error) error {
	place, err := base64.RawURLEncoding.DecodeString(after)
	if err != nil || len(place) > 0 && strings.Count(string(place), "/") != 1 {
		return &shingle.Error{Code: shingle.CodeInvalid, Field: "after", Message: "this is not the id of an event of this stream"}
	}
	prefix := logOf(about)
	if about.Tenant != "" { // a host's log may have those of others
		prefix = tenantPrefix(about.Tenant)
	}
	seen, err := h.newest(ctx, prefix)
	if err != nil {
		return err
	}
	if after != "" {
		i, _ := slices.BinarySearch(seen, prefix+string(place)) // newest first: what is before it is newer
		if i == streamPage {
			return errTooMuch
		}
		seen = slices.Clone(seen[i:])
	}
	if err := idle(); err != nil { // nothing is missed from here on
		return err
	}
	tick := time.NewTicker(streamPoll)
	defer tick.Stop()
	for {
		logged, looked := h.logged.wait(), time.Now()
		page, err := h.newest(ctx, prefix)
		if err != nil && ctx.Err() == nil {
			h.log.Warn("events not looked for, trying again", "error", err)
		} else if err == nil {
			fresh := without(page, seen)
			if len(fresh) == streamPage {
				return errTooMuch
			}
			missing, err := h.sendAll(ctx, about, prefix, fresh, send)
			if err != nil {
				return err
			}
			seen = slices.DeleteFunc(page, func(key string) bool { return slices.Contains(missing, key) })
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-logged:
			if err := pause(ctx, streamGap-time.Since(looked)); err != nil {
				return err
			}
		case <-tick.C:
			if err := idle(); err != nil {
				return err
			}
		}
	}
}

// pause returns after a time, or ctx' error when that ends.
func pause(ctx context.Context, d time.Duration) error {
	if d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

var errTooMuch = shingle.Errorf(shingle.CodeNotFound, "more has happened than a stream looks at: read the list of events, and stream anew")

// newest returns the keys of the newest events below prefix.
func (h *Hub) newest(ctx context.Context, prefix string) ([]string, error) {
	keys, err := h.records.List(ctx, prefix, "", streamPage)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	return keys, nil
}

// without returns what is new in page. What slid into its end because something was
// removed is older than all that were seen.
func without(page, seen []string) (fresh []string) {
	for _, key := range page {
		if _, known := slices.BinarySearch(seen, key); !known && (len(seen) < streamPage || key < seen[len(seen)-1]) {
			fresh = append(fresh, key)
		}
	}
	return fresh
}

// sendAll sends events, which are the newest first, in their order. It returns the
// keys of those that are missing: an index is written before its event.
func (h *Hub) sendAll(ctx context.Context, about shingle.EventFilter, prefix string, keys []string, send func(string, shingle.Event) error) (missing []string, err error) {
	for _, key := range slices.Backward(keys) {
		place := strings.TrimPrefix(key, prefix)
		var e shingle.Event
		_, err := h.records.Get(ctx, logPrefix+place, &e)
		switch {
		case errors.Is(err, shingle.ErrNotFound):
			missing = append(missing, key)
			continue
		case errors.Is(err, shingle.ErrUnreadable):
			continue
		case err != nil:
			return nil, fmt.Errorf("read event: %w", err)
		case !about.Takes(&e):
			continue
		}
		if err := send(base64.RawURLEncoding.EncodeToString([]byte(place)), e); err != nil {
			return nil, err
		}
	}
	return missing, nil
}
