package kit

import (
	"context"
	"errors"
	"fmt"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

// secret is a key in a record of the store, sealed, the same for all processes.
type secret struct {
	records *records.Store
	sealer  Sealer
	record  string // its key
	name    string // in errors
}

// secretRecord is the record.
type secretRecord struct {
	Key []byte `json:"key"` // sealed; see KeyMember
}

// load returns the key, or [shingle.ErrNotFound].
func (s *secret) load(ctx context.Context) ([]byte, error) {
	var r secretRecord
	if _, err := s.records.Get(ctx, s.record, &r); err != nil {
		return nil, err
	}
	key, err := s.sealer.Open(ctx, r.Key, s.record)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", s.name, err)
	}
	return key, nil
}

// create stores a key, and returns it, or that of whoever was first.
func (s *secret) create(ctx context.Context, key []byte) ([]byte, error) {
	sealed, err := s.sealer.Seal(ctx, key, s.record)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", s.name, err)
	}
	_, err = s.records.Put(ctx, s.record, secretRecord{sealed}, shingle.NoVersion)
	if errors.Is(err, shingle.ErrConflict) {
		return s.load(ctx)
	}
	return key, err
}
