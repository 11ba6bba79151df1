package events

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a hub over a store that can fail, with a clock of its own.
type fixture struct {
	t     *testing.T
	blobs *storetest.FaultyBlobs
	ahead atomic.Int64
	cfg   Config
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t, blobs: &storetest.FaultyBlobs{Blobs: &memory.Store{}}}
	f.cfg = Config{Blobs: f.blobs, Sealer: plainSealer{}, AllowPrivate: true, Poll: 5 * time.Millisecond, Now: f.now}
	return f
}

func (f *fixture) now() time.Time { return time.Now().Add(time.Duration(f.ahead.Load())) }

func (f *fixture) advance(d time.Duration) { f.ahead.Add(int64(d)) }

func (f *fixture) hub() *Hub {
	f.t.Helper()
	h, err := New(f.cfg)
	check(f.t, err)
	return h
}

// run has h lead until the test ends or the returned function is called.
func (f *fixture) run(h *Hub) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = h.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	f.t.Cleanup(stop)
	return stop
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) webhook(h *Hub, url string, types ...shingle.EventType) (shingle.Webhook, string) {
	f.t.Helper()
	w, secret, err := h.CreateWebhook(f.t.Context(), shingle.Webhook{URL: url, Types: types})
	check(f.t, err)
	return w, secret
}

func (f *fixture) event(n int) shingle.Event {
	return shingle.Event{
		ID: shingle.EventID("test", fmt.Sprint(n)), Type: shingle.EventDomainCreated, At: f.now(),
		Host: fmt.Sprintf("n%d.customer.com", n), Tenant: "acme", Data: object("n", fmt.Sprint(n)),
	}
}

// until waits for a state of the store.
func until(t *testing.T, what string, good func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !good(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not %s", what)
		}
	}
}

func (f *fixture) count(prefix string) int {
	keys, err := f.blobs.Blobs.List(f.t.Context(), prefix, "", 1000)
	check(f.t, err)
	return len(keys)
}

// plainSealer binds a value to its record, and hides nothing.
type plainSealer struct{}

func (plainSealer) Seal(_ context.Context, plain []byte, record string) ([]byte, error) {
	return append([]byte(record+"\n"), plain...), nil
}

func (plainSealer) Open(_ context.Context, sealed []byte, record string) ([]byte, error) {
	plain, ok := strings.CutPrefix(string(sealed), record+"\n")
	if !ok {
		return nil, errors.New("sealed for another record")
	}
	return []byte(plain), nil
}
