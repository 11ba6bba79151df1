package check

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
)

// maxQuestions bounds what one check asks, in all: a zone whose name servers have
// names in many others' zones must not have us ask those again and again.
const maxQuestions = 250

var errSpent = errors.New("too many questions for one check")

type budgetKey struct{}

// withBudget returns a context in which a bounded number of questions is asked.
func withBudget(ctx context.Context) context.Context {
	left := new(atomic.Int64)
	left.Store(maxQuestions)
	return context.WithValue(ctx, budgetKey{}, left)
}

// spend takes one question from the budget, if ctx has one.
func spend(ctx context.Context) error {
	if left, ok := ctx.Value(budgetKey{}).(*atomic.Int64); ok && left.Add(-1) < 0 {
		return errSpent
	}
	return nil
}

// limits bounds the queries under way, in all and to one server.
type limits struct {
	all       chan struct{}
	perServer int

	mu      sync.Mutex
	servers map[netip.Addr]*slots // those with queries under way or waiting
}

type slots struct {
	free  chan struct{}
	users int // under way and waiting
}

func newLimits(all, perServer int) *limits {
	return &limits{all: make(chan struct{}, all), perServer: perServer, servers: map[netip.Addr]*slots{}}
}

// acquire waits for a place. Whoever gets one calls release. An unlimited server
// is one of our own resolvers. Waiting for one slow server takes no place from
// others.
func (l *limits) acquire(ctx context.Context, server netip.Addr, unlimited bool) (release func(), err error) {
	leave := func() {}
	if !unlimited {
		s := l.enter(server)
		select {
		case s.free <- struct{}{}:
			leave = func() { <-s.free; l.leave(server, s) }
		case <-ctx.Done():
			l.leave(server, s)
			return nil, ctx.Err()
		}
	}
	select {
	case l.all <- struct{}{}:
		return func() { <-l.all; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

func (l *limits) enter(server netip.Addr) *slots {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.servers[server]
	if s == nil {
		s = &slots{free: make(chan struct{}, l.perServer)}
		l.servers[server] = s
	}
	s.users++
	return s
}

func (l *limits) leave(server netip.Addr, s *slots) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.users--; s.users == 0 {
		delete(l.servers, server)
	}
}
