package certs

import (
	"context"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// flights runs one piece of work a host, whoever asks and however often, each in
// a goroutine of its own that goes on when nobody waits any more.
type flights struct {
	max  int // at once
	busy *shingle.Error
	ctx  context.Context // ends with the Manager

	mu      sync.Mutex
	running map[string]*flight
	closed  bool
	group   sync.WaitGroup
}

// flight is the work on one host, and all who wait for it.
type flight struct {
	cancel  context.CancelFunc
	byDNS01 bool          // and in no other way; of the goroutine that does the work
	settled chan struct{} // closed when entry and err are set
	once    sync.Once
	entry   *entry
	err     error
	ended   chan struct{} // closed when the goroutine has ended
}

// work obtains an entry. It may settle its flight early and go on.
type work func(ctx context.Context, f *flight) (*entry, error)

func newFlights(ctx context.Context, limit int, busy *shingle.Error) *flights {
	return &flights{max: limit, busy: busy, ctx: ctx, running: map[string]*flight{}}
}

// join returns host's flight, which is started when there is none.
func (g *flights) join(host string, do work) (*flight, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.running[host]; f != nil {
		return f, nil
	}
	if g.closed {
		return nil, errClosed
	}
	if len(g.running) >= g.max {
		return nil, g.busy
	}
	ctx, cancel := context.WithCancel(g.ctx)
	f := &flight{cancel: cancel, settled: make(chan struct{}), ended: make(chan struct{})}
	g.running[host] = f
	g.group.Go(func() {
		defer cancel()
		e, err := do(ctx, f)
		g.mu.Lock()
		delete(g.running, host)
		g.mu.Unlock()
		f.settle(e, err)
		close(f.ended)
	})
	return f, nil
}

// has reports whether host has a flight.
func (g *flights) has(host string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running[host] != nil
}

// any reports whether something runs.
func (g *flights) any() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.running) > 0
}

// stop cancels host's flight and returns what is closed when it has ended, or
// nil when there is none.
func (g *flights) stop(host string) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.running[host]
	if f == nil {
		return nil
	}
	f.cancel()
	return f.ended
}

// close refuses new flights and waits for the others, whose context the caller
// has ended, at most as long as given. It reports whether all ended.
func (g *flights) close(wait time.Duration) bool {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	done := make(chan struct{})
	go func() { g.group.Wait(); close(done) }()
	select {
	case <-done:
		return true
	case <-time.After(wait):
		return false
	}
}

// settle gives the waiters their result. Only the first call counts.
func (f *flight) settle(e *entry, err error) {
	f.once.Do(func() {
		f.entry, f.err = e, err
		close(f.settled)
	})
}

// wait returns the result, or [shingle.ErrUnavailable] when ctx ends first.
func (f *flight) wait(ctx context.Context) (*entry, error) {
	select {
	case <-f.settled:
		return f.entry, f.err
	case <-ctx.Done():
		return nil, &shingle.Error{Code: shingle.CodeUnavailable, Message: "the certificate is being obtained; try again in a moment", Err: ctx.Err()}
	}
}

var errClosed = shingle.Errorf(shingle.CodeUnavailable, "shutting down")
