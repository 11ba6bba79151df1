package memory

import (
	"context"

	"github.com/shingle-proxy/shingle"
)

var _ shingle.MovableStore = (*Store)(nil)

// LoadDomains implements [shingle.MovableStore].
func (s *Store) LoadDomains(ctx context.Context, rows []shingle.Domain) error {
	return s.locked(ctx, func() error {
		for _, d := range rows {
			s.domains[d.Host] = d
			s.hosts.add(d.Host)
		}
		return nil
	})
}
