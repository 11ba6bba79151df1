package traffic

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// visits is a [Source] that a test fills.
type visits struct {
	mu     sync.Mutex
	counts map[string]shingle.Traffic
}

func (v *visits) add(domain string, requests uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.counts == nil {
		v.counts = map[string]shingle.Traffic{}
	}
	is := v.counts[domain]
	is.Add(&shingle.Traffic{Answers: [6]uint64{2: requests}, BytesOut: 100 * requests})
	v.counts[domain] = is
}

// TakeTraffic implements [Source].
func (v *visits) TakeTraffic(_ time.Time, add func(string, shingle.Traffic)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for domain, n := range v.counts {
		add(domain, n)
	}
	v.counts = nil
}

// process is an edge that writes, and what it counts.
type process struct {
	*Hub
	visits
	kill func() // ends it as a crash does: what is not written is lost
	end  func() // ends it as a process that is told to
}

func start(t *testing.T, blobs shingle.Blobs, edge string) *process {
	t.Helper()
	p := &process{}
	if time.Now().Minute() == 0 {
		time.Sleep(time.Minute) // else what is counted at an hour's begin may be of the one before
	}
	var err error
	if p.Hub, err = New(Config{Blobs: blobs, Source: &p.visits, Edge: edge}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	p.kill = func() { cancel(); running.Wait() }
	p.end = func() { p.kill(); p.Close() }
	t.Cleanup(p.kill)
	return p
}

// reader is a process without an edge.
func reader(t *testing.T, blobs shingle.Blobs) *Hub {
	t.Helper()
	h, err := New(Config{Blobs: blobs})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// requests returns those of each hour, oldest first.
func requests(t *testing.T, h *Hub, domain string, hours int) (list []uint64) {
	t.Helper()
	r, err := h.Report(t.Context(), domain, hours)
	if err != nil || r.Partial || len(r.Hours) != hours {
		t.Fatalf("%+v, %v", r, err)
	}
	for i := range r.Hours {
		if n := r.Hours[i].Requests(); n*100 == r.Hours[i].BytesOut {
			list = append(list, n)
		}
	}
	return list
}

func want(t *testing.T, h *Hub, domain string, list ...uint64) {
	t.Helper()
	if got := requests(t, h, domain, len(list)); fmt.Sprint(got) != fmt.Sprint(list) {
		t.Errorf("%s has %v, not %v", domain, got, list)
	}
}

// writes counts the writes of a store.
func writes(blobs *storetest.FaultyBlobs) *atomic.Int64 {
	var n atomic.Int64
	blobs.Inject(func(_ context.Context, op, _ string, call func() error) error {
		if op == "Put" {
			n.Add(1)
		}
		return call()
	})
	return &n
}

const blog = "blog.customer.com"

func TestHub_ForgetsADeletedDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blobs := &memory.Store{}
		p := start(t, blobs, "one")
		p.add(blog, 7)
		p.add("kept.customer.com", 7)
		time.Sleep(17 * time.Minute)
		p.Forget(blog)
		p.Forget("never.customer.com")
		p.add(blog, 1)
		time.Sleep(15 * time.Minute)
		want(t, reader(t, blobs), blog, 1)
		want(t, reader(t, blobs), "kept.customer.com", 7)

		p.end() // its next process forgets what this one has written
		p = start(t, blobs, "one")
		other := start(t, blobs, "other")
		p.Forget(blog)
		other.Forget(blog)
		p.end()
		other.end()
		want(t, reader(t, blobs), blog, 0)
		want(t, reader(t, blobs), "kept.customer.com", 7)
		if keys, err := blobs.List(t.Context(), "", "", 10); err != nil || len(keys) != 1 {
			t.Errorf("%v, %v", keys, err)
		}
	})
}
