package certs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Lead runs f in one process of the fleet at a time, until ctx ends: another
// process takes over when that one stands still, and one whose f returned begins
// again after a Poll. name tells what is led.
func (m *Manager) Lead(ctx context.Context, name string, f func(ctx context.Context) error) {
	for ctx.Err() == nil {
		err := m.leases.hold(ctx, name, func(ctx context.Context, token uint64) error {
			m.log.Info("leading the fleet", "what", name, "fence", token)
			return f(ctx)
		})
		if err != nil && ctx.Err() == nil {
			m.log.Warn("no longer leading the fleet", "what", name, "error", err)
		}
		select {
		case <-time.After(m.cfg.Poll):
		case <-ctx.Done():
		}
	}
}

// Seal encrypts a secret of another part of Shingle, to be stored at record. It
// is not re-sealed when data keys are replaced: they are kept.
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
