package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Run serves until ctx ends or a part fails, and then closes everything: first what
// others can take over, and what visitors need when the edge has ended. ready is called
// once when requests are answered.
func (a *App) Run(ctx context.Context, ready func() error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	serving, ended := context.WithCancel(context.WithoutCancel(ctx))
	defer ended()
	var parts, edge sync.WaitGroup
	if a.edge != nil {
		edge.Go(func() { cancel(a.edge.Run(ctx)) })
	}
	parts.Go(func() { a.work(ctx, serving) })
	parts.Go(func() { a.traffic.Run(serving) })
	if a.agent != nil {
		parts.Go(func() { a.agent.Run(ctx) })
	}
	if a.control != nil {
		parts.Go(func() {
			if err := a.control.Serve(a.listen.Control); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("serve control: %w", err))
			}
		})
	}
	var scrapes *http.Server
	if a.listen.Metrics != nil {
		scrapes = a.metricsServer()
		parts.Go(func() {
			if err := scrapes.Serve(a.listen.Metrics); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("serve metrics: %w", err))
			}
		})
	}
	if a.edge == nil || a.awaitEdge(ctx) {
		if err := ready(); err != nil {
			cancel(err)
		}
	}
	<-ctx.Done()
	a.endControl()
	edge.Wait()
	ended()
	if scrapes != nil {
		_ = scrapes.Close()
	}
	parts.Wait()
	err := context.Cause(ctx)
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, a.Close())
}

// work does what is due, as far as it is this process's to do: until ctx ends, and what
// serves visitors until serving does.
func (a *App) work(ctx, serving context.Context) {
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { a.certs.Follow(serving) })
	parts.Go(func() { a.roster.Report(serving, a.reporter()) })
	if a.control != nil {
		parts.Go(func() { a.certs.Lead(ctx, a.housekeeping()) })
	}
}

// housekeeping is what one process of the fleet does for all.
func (a *App) housekeeping() map[string]func(context.Context) error {
	parts := map[string]func(context.Context) error{
		"certificates": a.certs.Work, "events": a.events.Run, "jobs": a.jobs.Run,
		"edges": a.roster.Lead, "tokens": a.tokens.Run, "traffic": a.traffic.Lead,
	}
	if a.cfg.checks() {
		parts["checks"] = a.keeper.Run
	}
	if store, ok := a.stores.domains.(indexer); ok {
		parts["index"] = func(ctx context.Context) error { return a.index(ctx, store) }
	}
	return parts
}

// endControl gives the requests to the API a moment to end.
func (a *App) endControl() {
	if a.control == nil {
		return
	}
	close(a.ending)
	end, stop := context.WithTimeout(context.Background(), 3*time.Second)
	defer stop()
	if a.control.Shutdown(end) != nil {
		_ = a.control.Close()
	}
}

// awaitEdge waits until the edge can serve. It reports false when ctx ended.
func (a *App) awaitEdge(ctx context.Context) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for a.edge.Healthy() != nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// Close frees what New took. Run has done it when it returns. What it closes is
// left in its place: others may look at it still, and hear that it is closed.
func (a *App) Close() error {
	a.closing.Do(func() { a.closed = a.close() })
	return a.closed
}

func (a *App) close() error {
	errs := []error{a.listen.Close()}
	if a.traffic != nil {
		a.traffic.Close()
	}
	if a.certs != nil {
		errs = append(errs, a.certs.Close())
	}
	if a.asking != nil {
		a.asking.close()
	}
	if a.stores != nil {
		errs = append(errs, a.stores.close())
	}
	if a.instance != nil {
		errs = append(errs, a.instance.close())
	}
	return errors.Join(errs...)
}
