package check

import (
	"context"
	"iter"
	"sync"

	"github.com/shingle-proxy/shingle"
)

// Sweep checks the hosts that requests yields, at most atOnce at a time, and hands
// each result to done, which is called by several goroutines. It holds nothing of
// a host that is done, however many there are. It returns when all are, or the
// error of ctx when that ended first: done has then not been called for all.
func (c *Checker) Sweep(ctx context.Context, requests iter.Seq[Request], atOnce int, done func(shingle.CheckResult)) error {
	return c.sweep(ctx, requests, atOnce, func(req Request) {
		if r, err := c.Check(ctx, req); err == nil {
			done(r)
		}
	})
}

func (c *Checker) sweep(ctx context.Context, requests iter.Seq[Request], atOnce int, check func(Request)) error {
	work := make(chan Request)
	var workers sync.WaitGroup
	for range max(atOnce, 1) {
		workers.Go(func() {
			for req := range work {
				check(req)
			}
		})
	}
	defer workers.Wait()
	defer close(work)
	for req := range requests {
		select {
		case work <- req:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}
