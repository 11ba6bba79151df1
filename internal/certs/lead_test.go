package certs

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestLead_OneLeaseForAllParts has two processes with three parts, of which one
// fails now and then.
func TestLead_OneLeaseForAllParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, []*simCA{newSimCA(t, "ca")}, func(c *Config) { c.LeaseTime = 15 * time.Second })
		defer s.close()
		other := s.process(nil)
		var running, most, failed atomic.Int64
		part := func(ctx context.Context) error {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			<-ctx.Done()
			return context.Cause(ctx)
		}
		parts := map[string]func(context.Context) error{"a": part, "b": part, "c": func(ctx context.Context) error {
			select {
			case <-time.After(time.Hour):
				failed.Add(1)
				return errors.New("ended")
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}}
		lead := func(m *Manager) (stop func()) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); m.Lead(ctx, parts) }()
			return func() { cancel(); <-done }
		}
		stop := lead(s.m)
		time.Sleep(time.Minute)
		defer lead(other)()
		s.blobs.reset()
		time.Sleep(day)
		// A write every ten seconds: 260,000 in a month.
		if n := s.blobs.puts.Load(); n < 8000 || n > 8700 {
			t.Errorf("%d writes in an idle day", n)
		}
		if most.Load() != 2 || failed.Load() < 20 {
			t.Errorf("%d of two parts ran at once; the other ended %d times", most.Load(), failed.Load())
		}
		stop()
		time.Sleep(10 * time.Second)
		if running.Load() != 2 || most.Load() != 2 {
			t.Errorf("after the first has ended, %d parts run", running.Load())
		}
	})
}
