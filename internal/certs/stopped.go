package certs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// The index of hosts whose attempts were given up has an entry for each until somebody
// has acted, so that they can be counted:
//
//	stopped/customer/blog.customer.com/SEQ
//
// with who must act, the host, and a number as in the due index.
const stoppedPrefix = "stopped/"

// Bounds of a count.
const (
	maxStopped  = 1000 // counted of each
	stoppedTidy = 20   // entries that are compared with their plans in passing
)

// stoppedBy are who must act, as it is told.
var stoppedBy = [...]string{shingle.WhoCustomer, shingle.WhoOperator, "other"}

func (p *plan) stoppedStem(host string) string {
	if !p.Stopped {
		return ""
	}
	who := stoppedBy[2]
	if p.Failed != nil && (p.Failed.Who == stoppedBy[0] || p.Failed.Who == stoppedBy[1]) {
		who = p.Failed.Who
	}
	return stoppedPrefix + who + "/" + host + "/"
}

// stopped counts the entries, in the order of stoppedBy, each as maxStopped when there
// are more. Some are compared with their plans, behind the key that after has, and that
// is moved on: a crash may have left one too many.
func (m *Manager) stopped(ctx context.Context, after *string) (counts [len(stoppedBy)]int, err error) {
	for i, who := range stoppedBy {
		keys, err := m.store.list(ctx, stoppedPrefix+who+"/", "", maxStopped)
		if err != nil {
			return counts, fmt.Errorf("list hosts that were given up: %w", err)
		}
		counts[i] = len(keys)
	}
	keys, err := m.store.list(ctx, stoppedPrefix, *after, stoppedTidy)
	if err != nil {
		return counts, fmt.Errorf("list hosts that were given up: %w", err)
	}
	for _, key := range keys {
		if err := m.tidyStopped(ctx, key); err != nil {
			return counts, err
		}
		*after = key
	}
	if len(keys) < stoppedTidy {
		*after = "" // again from the beginning
	}
	return counts, nil
}

// tidyStopped removes an entry that its plan does not name.
func (m *Manager) tidyStopped(ctx context.Context, key string) error {
	part := strings.Split(strings.TrimPrefix(key, stoppedPrefix), "/")
	if len(part) != 3 {
		return nil
	}
	p, version, err := m.store.plan(ctx, part[1])
	if errors.Is(err, shingle.ErrNotFound) {
		version = shingle.NoVersion
	} else if errors.Is(err, shingle.ErrUnreadable) {
		return nil // whether it names the entry is not known
	} else if err != nil {
		return err
	}
	if p.Halt == key {
		return nil
	}
	if _, err := m.store.strike(ctx, part[1], key, p, version); err != nil && !errors.Is(err, shingle.ErrConflict) {
		return fmt.Errorf("tidy hosts that were given up: %w", err)
	}
	return nil
}
