package certs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/shingle-proxy/shingle"
)

// budgets are the token buckets of the fleet, one record each. Two machines
// whose clocks disagree share a bucket as the later one sees it: the difference
// is earned once at most. A clock that is more than maxSkew ahead does not count:
// nothing would be earned until the others are there.
type budgets struct{ store *store }

// bucket is a token bucket as it is stored.
type bucket struct {
	Tokens float64   `json:"tokens"`
	At     time.Time `json:"at"` // when there were so many
}

// maxSkew is how far the clocks of a fleet may be apart.
const maxSkew = 24 * time.Hour

// fill returns the bucket as it is at now.
func (b bucket) fill(r Rate, now time.Time) bucket {
	if b.At.IsZero() {
		return bucket{Tokens: float64(r.Count), At: now}
	}
	if b.At.Sub(now) > maxSkew {
		b.At = now
	}
	if earned := now.Sub(b.At); earned > 0 {
		b.Tokens = min(float64(r.Count), b.Tokens+float64(earned)/float64(r.every()))
		b.At = now
	}
	return b
}

// next returns when there will be a whole token; not after now if there is.
func (b bucket) next(r Rate, now time.Time) time.Time {
	if b.Tokens >= 1-1e-9 {
		return now
	}
	return b.At.Add(time.Duration(math.Ceil((1 - b.Tokens) * float64(r.every()))))
}

// show returns the bucket as others may know it.
func (b bucket) show(r Rate) shingle.Budget {
	return shingle.Budget{Left: max(0, b.Tokens), Count: r.Count, Per: r.Per}
}

func ordersKey(directory string) string   { return "budgets/" + directoryHash(directory) + "/orders" }
func renewalsKey(directory string) string { return "budgets/" + directoryHash(directory) + "/renewals" }
func perDomainKey(directory, domain string) string {
	return "budgets/" + directoryHash(directory) + "/domains/" + domain
}

// directoryHash names a CA in keys.
func directoryHash(directory string) string {
	sum := sha256.Sum256([]byte(directory))
	return hex.EncodeToString(sum[:8])
}

// left returns the bucket at now.
func (b budgets) left(ctx context.Context, key string, r Rate, now time.Time) (bucket, error) {
	var have bucket
	if _, err := b.store.get(ctx, key, &have); countsAnew(err) {
		have = bucket{}
	} else if err != nil {
		return have, fmt.Errorf("read budget: %w", err)
	}
	return have.fill(r, now), nil
}

// take takes a token. When there is none it returns when there will be one.
func (b budgets) take(ctx context.Context, key string, r Rate, now time.Time) (wait time.Time, err error) {
	err = b.change(ctx, key, r, now, func(have *bucket) bool {
		if wait = have.next(r, now); wait.After(now) {
			return false
		}
		wait = time.Time{}
		have.Tokens--
		return true
	})
	return wait, err
}

// give returns a token that was not used.
func (b budgets) give(ctx context.Context, key string, r Rate, now time.Time) error {
	return b.change(ctx, key, r, now, func(have *bucket) bool {
		have.Tokens = min(float64(r.Count), have.Tokens+1)
		return true
	})
}

// empty takes what is left: the CA counts otherwise than we.
func (b budgets) empty(ctx context.Context, key string, r Rate, now time.Time) error {
	return b.change(ctx, key, r, now, func(have *bucket) bool {
		have.Tokens = min(0, have.Tokens)
		return true
	})
}

// countsAnew reports whether there is no budget that could be gone on with. One that
// cannot be read is begun anew: the CA, which counts too, then says no earlier than we,
// whereas nobody's certificates were renewed by a budget that stands still.
func countsAnew(err error) bool {
	return errors.Is(err, shingle.ErrNotFound) || errors.Is(err, shingle.ErrUnreadable)
}

const budgetAttempts = 16

func (b budgets) change(ctx context.Context, key string, r Rate, now time.Time, edit func(*bucket) bool) error {
	return update(ctx, b.store, key, func(have *bucket) bool {
		*have = have.fill(r, now)
		return edit(have)
	})
}

// update changes the record of a budget, anew when it meets another change. edit
// returns false to leave it as it is.
func update[T any](ctx context.Context, s *store, key string, edit func(*T) bool) error {
	for range budgetAttempts {
		var have T
		version, err := s.get(ctx, key, &have)
		if countsAnew(err) {
			have = *new(T)
		} else if err != nil {
			return fmt.Errorf("read budget: %w", err)
		}
		if !edit(&have) {
			return nil
		}
		if _, err = s.put(ctx, key, have, version); !errors.Is(err, shingle.ErrConflict) {
			return err
		}
	}
	return shingle.Errorf(shingle.CodeUnavailable, "the budget of orders is contended; try again in a moment")
}

// takeOrder takes what one order costs: for a renewal that the CA exempts from
// its limits a token of ours, for any other one of the account's and, unless it
// renews, one of the registered domain's.
func (b budgets) takeOrder(ctx context.Context, ca *authority, host string, exempt, renewal bool, now time.Time) (wait time.Time, err error) {
	if exempt {
		return b.take(ctx, renewalsKey(ca.Directory), ca.Limits.Renewals, now)
	}
	domain := perDomainKey(ca.Directory, shingle.RegisteredDomain(host))
	if !renewal {
		if wait, err = b.take(ctx, domain, ca.Limits.PerDomain, now); err != nil || !wait.IsZero() {
			return wait, err
		}
	}
	wait, err = b.take(ctx, ordersKey(ca.Directory), ca.Limits.Orders, now)
	if !renewal && (err != nil || !wait.IsZero()) {
		return wait, errors.Join(err, b.give(ctx, domain, ca.Limits.PerDomain, now))
	}
	return wait, err
}
