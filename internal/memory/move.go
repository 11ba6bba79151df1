package memory

import (
	"context"
	"maps"
	"slices"

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

// Tokens implements [shingle.MovableStore].
func (s *Store) Tokens(ctx context.Context, after string, limit int) (list []shingle.Token, err error) {
	err = s.locked(ctx, func() error {
		if err := checkLimit(limit); err != nil {
			return err
		}
		for _, id := range slices.Sorted(maps.Keys(s.tokens)) {
			if id > after && len(list) < limit {
				list = append(list, s.tokens[id])
			}
		}
		return nil
	})
	return list, err
}
