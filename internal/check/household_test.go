package check

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// household is a keeper over a store that can fail, with a clock of its own, and
// domains that look as the test says.
type household struct {
	t     *testing.T
	store *memory.Store
	blobs *storetest.FaultyBlobs
	ahead atomic.Int64
	cfg   KeeperConfig

	mu     sync.Mutex
	looks  map[string]shingle.CheckResult
	checks map[string]int
	ready  map[string]int
	events []shingle.Event
}

func newHousehold(t *testing.T) *household {
	h := &household{
		t: t, store: &memory.Store{}, looks: map[string]shingle.CheckResult{}, checks: map[string]int{}, ready: map[string]int{},
	}
	h.blobs = &storetest.FaultyBlobs{Blobs: h.store}
	h.cfg = KeeperConfig{
		Blobs: h.blobs, Domains: h.store, Poll: 2 * time.Millisecond, Now: h.now, Events: h, Lifecycle: shingle.Lifecycle{AnyPointer: true},
		Check: func(_ context.Context, d shingle.Domain, _ Look) (shingle.CheckResult, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.checks[d.Host]++
			r := h.looks[d.Host]
			r.Host, r.At = d.Host, h.now()
			return r, nil
		},
		Ready: func(_ context.Context, d shingle.Domain) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.ready[d.Host]++
			return nil
		},
	}
	return h
}

func (h *household) now() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) }

// Record implements [shingle.Events].
func (h *household) Record(_ context.Context, e shingle.Event) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
	return nil
}

func (h *household) told(host string) (states []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.Host == host {
			_, state, _ := strings.Cut(string(e.Data), `"state":"`)
			state, _, _ = strings.Cut(state, `"`)
			states = append(states, state)
		}
	}
	return states
}

// readied returns how often a certificate was asked for.
func (h *household) readied(host string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ready[host]
}

func (h *household) look(host string, r shingle.CheckResult) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looks[host] = r
}

func (h *household) add(host, tenant string) shingle.Domain {
	h.t.Helper()
	d, err := h.store.CreateDomain(h.t.Context(), shingle.Domain{Host: host, Tenant: tenant}, h.now())
	if err != nil {
		h.t.Fatal(err)
	}
	return d
}

func (h *household) keeper() *Keeper {
	h.t.Helper()
	k, err := NewKeeper(h.cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	return k
}

func (h *household) run(k *Keeper) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = k.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	h.t.Cleanup(stop)
	return stop
}

// until waits for a status.
func (h *household) until(k *Keeper, host, what string, good func(shingle.Status) bool) shingle.Status {
	h.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		s, err := k.Status(h.t.Context(), host)
		if err == nil && good(s) {
			return s
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("%s is not %s: %+v, %v", host, what, s, err)
		}
	}
}

func in(state shingle.State) func(shingle.Status) bool {
	return func(s shingle.Status) bool { return s.State == state }
}

const keptHost = "blog.customer.com"

var (
	nowhere = shingle.CheckResult{DNS: shingle.DNSResult{Finding: shingle.Finding{Reason: shingle.ReasonNoRecord, Message: "There is no record."}}}
	pointed = shingle.CheckResult{DNS: shingle.DNSResult{Finding: shingle.Finding{Reason: shingle.ReasonPointsHere}}}
)

func served(until time.Time) shingle.CheckResult {
	r := pointed
	r.HTTPS.Reason, r.CertifiedUntil = shingle.ReasonHTTPSWorks, until
	return r
}

func (h *household) count(prefix string) int {
	keys, err := h.store.List(h.t.Context(), prefix, "", 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	return len(keys)
}

func (h *household) settled(good func() bool) {
	h.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !good(); <-tick.C {
		if time.Now().After(deadline) {
			h.t.Fatal("not settled")
		}
	}
}
