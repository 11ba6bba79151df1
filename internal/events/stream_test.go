package events

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
)

type streamed struct {
	id string
	e  shingle.Event
}

// stream follows a hub until the test ends, and returns what comes.
func stream(t *testing.T, h *Hub, about shingle.EventFilter, after string) <-chan streamed {
	t.Helper()
	out := make(chan streamed, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- h.Stream(ctx, about, after, func(id string, e shingle.Event) error { out <- streamed{id, e}; return nil }, func() error { return nil })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the stream ended: %v", err)
		}
	})
	return out
}

func TestStream_SendsWhatIsLoggedAndGoesOnBehindIt(t *testing.T) {
	f := newFixture(t)
	h := f.hub()
	f.run(h)
	record := func(i int, host, tenant string) string {
		e := f.event(i)
		e.Host, e.Tenant = host, tenant
		check(t, h.Record(t.Context(), e))
		f.advance(time.Second)
		return e.ID
	}
	record(0, "old.example.com", "acme")
	until(t, "logged", func() bool { return f.count(logPrefix) == 1 && f.count(outboxPrefix) == 0 })
	_, old, err := h.Log(t.Context(), shingle.EventFilter{}, "", 1)
	check(t, err)
	all := stream(t, h, shingle.EventFilter{}, old)
	acme := stream(t, h, shingle.EventFilter{Tenant: "acme"}, old)
	host := stream(t, f.hub(), shingle.EventFilter{Host: "b.example.com"}, old) // of another process
	var ids []string
	for i := range 6 {
		ids = append(ids, record(1+i, fmt.Sprintf("%c.example.com", 'a'+i%2), []string{"acme", "rival"}[i%2]))
	}
	var last string
	for i, id := range ids {
		got := <-all
		if last = got.id; got.e.ID != id {
			t.Fatalf("%d: got %s, want %s", i, got.e.ID, id)
		}
	}
	for i := 0; i < len(ids); i += 2 {
		if got := <-acme; got.e.ID != ids[i] {
			t.Errorf("of acme: got %s, want %s", got.e.ID, ids[i])
		}
		if got := <-host; got.e.ID != ids[i+1] {
			t.Errorf("of the host: got %s, want %s", got.e.ID, ids[i+1])
		}
	}
	after := record(7, "c.example.com", "acme")
	until(t, "logged", func() bool { return f.count(logPrefix) == 8 })
	if got := <-stream(t, f.hub(), shingle.EventFilter{}, last); got.e.ID != after {
		t.Errorf("behind the last: got %s, want %s", got.e.ID, after)
	}
	never := func(string, shingle.Event) error { return nil }
	for _, bad := range []string{"no cursor", "YQ"} {
		if err := h.Stream(t.Context(), shingle.EventFilter{}, bad, never, func() error { return nil }); !errors.Is(err, shingle.ErrInvalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestStream_ThatIsTooFarBehindIsTold(t *testing.T) {
	f := newFixture(t)
	h := f.hub()
	f.run(h)
	for i := range streamPage + 1 {
		check(t, h.Record(t.Context(), f.event(i)))
		f.advance(time.Millisecond)
	}
	until(t, "logged", func() bool { return f.count(logPrefix) == streamPage+1 && f.count(outboxPrefix) == 0 })
	list, next, err := h.Log(t.Context(), shingle.EventFilter{}, "", streamPage)
	check(t, err)
	if len(list) != streamPage || next == "" {
		t.Fatalf("%d events", len(list))
	}
	_, oldest, err := h.Log(t.Context(), shingle.EventFilter{}, next, 1)
	check(t, err)
	stop := errors.New("stop")
	if err := h.Stream(t.Context(), shingle.EventFilter{}, oldest, func(string, shingle.Event) error { return stop }, func() error { return nil }); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

// TestStream_LooksOnceForMuch has a job's worth of events logged, one after the other.
func TestStream_LooksOnceForMuch(t *testing.T) {
	f := newFixture(t)
	var looks atomic.Int64
	f.blobs.Inject(func(_ context.Context, op, key string, call func() error) error {
		if op == "List" && strings.HasPrefix(key, logPrefix) {
			looks.Add(1)
		}
		return call()
	})
	h := f.hub()
	synctest.Test(t, func(t *testing.T) {
		got := stream(t, h, shingle.EventFilter{}, "")
		synctest.Wait()
		begun := looks.Load()
		for i := range 100 {
			e := f.event(i)
			e.At = e.At.Add(time.Duration(i) * time.Millisecond)
			check(t, h.keep(t.Context(), &e))
			time.Sleep(5 * time.Millisecond)
		}
		for range 100 {
			<-got
		}
		if n := looks.Load() - begun; n > 10 {
			t.Errorf("%d looks in half a second", n)
		}
	})
}
