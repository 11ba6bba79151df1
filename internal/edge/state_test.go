package edge

import (
	"errors"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle/internal/storetest"
)

// TestState_IsToldWhenItChanges follows an edge whose store fails, answers again, and that
// drains: whoever wants to know is told each time, and not otherwise.
func TestState_IsToldWhenItChanges(t *testing.T) {
	told, wake := make(chan struct{}, 100), make(chan struct{})
	var store *storetest.FaultyDomainStore
	te := startEdge(t, helloOrigin(t), func(c *Config) {
		store = &storetest.FaultyDomainStore{Store: c.Store}
		c.Store, c.Wake, c.PollInterval, c.StateChanged = store, wake, time.Hour, func() { told <- struct{}{} }
	})
	next := func(what string) {
		t.Helper()
		select {
		case <-told:
		case <-time.After(time.Minute):
			t.Fatalf("not told that it %s", what)
		}
	}
	step := func() { wake <- struct{}{}; wake <- struct{}{} }
	next("knows the domains")
	if te.Degraded() != nil {
		t.Errorf("degraded: %q", te.Degraded())
	}
	step()
	store.Inject(storetest.Refuse(errors.New("away")))
	step()
	next("is cut off")
	if te.Degraded() == nil {
		t.Error("it is not degraded")
	}
	store.Inject(nil)
	step()
	next("is in step again")
	if te.Degraded() != nil || te.Draining() {
		t.Errorf("degraded: %q", te.Degraded())
	}
	te.Drain()
	te.Drain()
	next("drains")
	if !te.Draining() || len(told) != 0 {
		t.Errorf("drains: %v, told %d times more", te.Draining(), len(told))
	}
}
