package certs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// housekeeping is the lease under which one process of the fleet leads.
const housekeeping = "housekeeping"

// Lead runs the parts, whose keys are their names, in one process of the fleet at a
// time, until ctx ends: another process takes over when that one stands still for
// twice the lease time. A part that returned begins again after a Poll. One lease is
// for all of them, since to keep a lease is most of what an idle fleet writes; so
// every process must bring the same parts.
func (m *Manager) Lead(ctx context.Context, parts map[string]func(ctx context.Context) error) {
	names := slices.Sorted(maps.Keys(parts))
	for ctx.Err() == nil {
		err := m.leads.hold(ctx, housekeeping, func(ctx context.Context, token uint64) error {
			m.log.Info("leading the fleet", "parts", names, "fence", token)
			var led sync.WaitGroup
			for _, name := range names {
				led.Go(func() { m.lead(ctx, name, parts[name]) })
			}
			led.Wait()
			return context.Cause(ctx)
		})
		if err != nil && ctx.Err() == nil {
			m.log.Warn("no longer leading the fleet", "error", err)
		}
		m.rest(ctx)
	}
}

// lead runs a part, again and again, until ctx ends.
func (m *Manager) lead(ctx context.Context, name string, part func(ctx context.Context) error) {
	for ctx.Err() == nil {
		if err := part(ctx); err != nil && ctx.Err() == nil {
			m.log.Warn("a part of the housekeeping ended and begins again", "part", name, "error", err)
		}
		m.rest(ctx)
	}
}

func (m *Manager) rest(ctx context.Context) {
	select {
	case <-time.After(m.cfg.Poll):
	case <-ctx.Done():
	}
}

// Seal encrypts a secret of another part of Shingle, to be stored at record, which
// is in one of the places of [Config.Sealed].
func (m *Manager) Seal(ctx context.Context, plain []byte, record string) ([]byte, error) {
	s, err := m.store.keys.seal(ctx, plain, record)
	if err != nil {
		return nil, fmt.Errorf("seal secret: %w", err)
	}
	return json.Marshal(s)
}

// Open reverses Seal.
func (m *Manager) Open(ctx context.Context, sealed []byte, record string) ([]byte, error) {
	var s Sealed
	if json.Unmarshal(sealed, &s) != nil {
		return nil, errors.New("open secret: not a sealed value")
	}
	plain, err := m.store.keys.open(ctx, s, record)
	if err != nil {
		return nil, fmt.Errorf("open secret: %w", err)
	}
	return plain, nil
}
