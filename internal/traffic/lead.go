package traffic

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Times of the removal of what is old. DynamoDB removes it by itself, a day or two
// earlier and free of charge.
const (
	sweepEvery = 6 * time.Hour
	removed    = shingle.TrafficKept + 3*24*time.Hour
	sweepPage  = 64
)

// Lead is the part of the housekeeping: it removes what is old, until ctx ends.
func (h *Hub) Lead(ctx context.Context) error {
	for {
		if wait := sweepEvery - h.cfg.Now().Sub(h.swept); !h.swept.IsZero() && wait > 0 && !rest(ctx, wait) {
			return ctx.Err()
		}
		if err := h.sweep(ctx); err != nil {
			return fmt.Errorf("remove old traffic: %w", err)
		}
		h.swept = h.cfg.Now()
	}
}

// sweep removes the records of hours that ended long ago. It goes from share to share,
// in each of which the oldest come first: so that it reads little when there is nothing
// to do, for a listing costs what it lists.
func (h *Hub) sweep(ctx context.Context) error {
	oldest := h.cfg.Now().Add(-removed)
	for after, limit := "", 1; ; {
		keys, err := h.records.List(ctx, prefix, after, limit)
		if err != nil || len(keys) == 0 {
			return err
		}
		limit = min(2*limit, sweepPage)
		for _, key := range keys {
			at, err := hourOf(key)
			if err == nil && !at.Before(oldest) {
				after, limit = endOfShare(key), 1
				break
			}
			if err := h.records.Remove(ctx, key); err != nil {
				return err
			}
			after = key
		}
	}
}

// endOfShare sorts behind all keys of a key's share, and before the next share.
func endOfShare(key string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(key, prefix), "/")
	return prefix + name + "0" // follows the slash
}
