package check

import (
	"context"
	"fmt"
	"time"

	"github.com/shingle-proxy/shingle"
)

// conclude writes what follows from a check of d, which began when its status was known.
// A check takes seconds, in which the domain may be changed or deleted: what was found is
// then not about the domain that there is, and counts for nothing. It is due again, at
// once; ok is false.
func (k *Keeper) conclude(ctx context.Context, d *shingle.Domain, known shingle.Status, r *shingle.CheckResult) (s shingle.Status, ok bool, err error) {
	moved := isNew(&known)
	for range changeTries {
		if moved {
			now, err := k.cfg.Domains.Domain(ctx, d.Host)
			if err != nil {
				return s, false, err
			}
			if now.Version != d.Version || !now.CreatedAt.Equal(d.CreatedAt) {
				s, err = k.change(ctx, d.Host, again)
				return s, false, err
			}
		}
		s, err = k.change(ctx, d.Host, func(s shingle.Status, now time.Time) shingle.Status {
			if moved = !sameTurn(&s, &known); moved {
				known = s
				return s
			}
			if isNew(&s) {
				s = k.cfg.Lifecycle.Begin(*d, s, now)
			}
			return k.cfg.Lifecycle.Apply(*d, s, *r, now)
		})
		if !moved || err != nil {
			return s, err == nil, err
		}
	}
	return s, false, fmt.Errorf("write status of %s: %w", d.Host, shingle.ErrConflict)
}

// isNew reports whether the domain of a status has yet to begin its life.
func isNew(s *shingle.Status) bool { return s.Host == "" || s.State == shingle.StateRemoved }

// sameTurn reports whether nothing was written between two readings of a status that has
// to do with its domain, or with another check.
func sameTurn(a, b *shingle.Status) bool {
	return a.Host == b.Host && a.Tenant == b.Tenant && a.State == b.State && a.Next.Equal(b.Next) && a.Checked.Equal(b.Checked)
}

// again makes the check of a domain due now. It is no error when the keeper has not heard
// of it, or does not check it.
func again(s shingle.Status, now time.Time) shingle.Status {
	if !isNew(&s) && !s.Next.IsZero() && now.Before(s.Next) {
		s.Next = now
	}
	return s
}
