package api

import (
	"context"
	"sync"

	"github.com/shingle-proxy/shingle"
)

// shares bounds what the tokens of one tenant have under way in this process at a time:
// they are in a customer's hands, and have to leave the others enough.
type shares struct {
	most int
	what string // in errors

	mu sync.Mutex
	of map[string]int // by tenant
}

// take returns what gives the caller's share back, or [shingle.ErrLimited]. Callers
// without a tenant have no such bound.
func (s *shares) take(ctx context.Context) (release func(), err error) {
	tenant := tenantOf(ctx)
	if tenant == "" {
		return func() {}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[tenant] >= s.most {
		return nil, shingle.Errorf(shingle.CodeLimited, "%d %s of %s are under way here, which is the limit: try again when one has ended", s.most, s.what, tenant)
	}
	if s.of == nil {
		s.of = map[string]int{}
	}
	s.of[tenant]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.of[tenant]--; s.of[tenant] == 0 {
			delete(s.of, tenant)
		}
	}, nil
}
