package traffic

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
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

func TestHub_WritesByTheHourAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blobs := &storetest.FaultyBlobs{Blobs: &memory.Store{}}
		n := writes(blobs)
		p := start(t, blobs, "one") // at midnight
		time.Sleep(5 * time.Hour)
		if n.Load() != 0 {
			t.Errorf("%d writes of nothing", n.Load())
		}
		p.add(blog, 7)
		time.Sleep(20 * time.Minute)
		p.add(blog, 1)
		want(t, reader(t, blobs), blog, 0, 7)
		time.Sleep(40*time.Minute + time.Minute)
		p.add(blog, 30)
		time.Sleep(19 * time.Minute)
		p.add("*.customer.com", 2)
		p.add(blog, 100)
		if n.Load() != 3 {
			t.Errorf("%d writes", n.Load())
		}
		p.end()
		want(t, reader(t, blobs), blog, 0, 8, 130)
		want(t, reader(t, blobs), "*.customer.com", 0, 0, 2)
		want(t, reader(t, blobs), "other.customer.com", 0, 0, 0)
	})
}

func TestHub_CrashLosesTheLastIntervalAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blobs := &memory.Store{}
		p := start(t, blobs, "one")
		p.add(blog, 7)
		time.Sleep(17 * time.Minute)
		p.add(blog, 1)
		p.kill()
		want(t, reader(t, blobs), blog, 7)
		for range 3 { // each goes on where the one before ended
			p = start(t, blobs, "one")
			p.add(blog, 10)
			p.end()
		}
		want(t, reader(t, blobs), blog, 37)
		if keys, err := blobs.List(t.Context(), "", "", 10); err != nil || len(keys) != 1 {
			t.Errorf("%v, %v", keys, err)
		}
	})
}

func TestHub_AddsUpTheFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blobs := &memory.Store{}
		for i := range 40 {
			p := start(t, blobs, fmt.Sprint("edge", i))
			p.add(blog, uint64(i))
			p.end()
		}
		want(t, reader(t, blobs), blog, 780)
	})
}

// TestHub_EveryFault has each write fail in each way, and counts nothing twice.
func TestHub_EveryFault(t *testing.T) {
	gone := errors.New("the network is gone")
	for name, fault := range map[string]storetest.Fault{
		"refused": storetest.On("Put", storetest.Times(2, storetest.Refuse(gone))),
		"lost":    storetest.On("Put", storetest.Times(2, storetest.LoseReply(gone))),
		"lost, and cannot look": func() storetest.Fault {
			left := atomic.Int64{}
			left.Store(6)
			return func(_ context.Context, op, _ string, call func() error) error {
				if left.Add(-1) < 0 {
					return call()
				}
				if op == "Put" {
					_ = call()
				}
				return gone
			}
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				blobs := &storetest.FaultyBlobs{Blobs: &memory.Store{}}
				before := start(t, blobs, "one")
				before.add(blog, 5)
				before.end()
				blobs.Inject(fault)
				p := start(t, blobs, "one")
				for range 12 {
					p.add(blog, 1)
					time.Sleep(15 * time.Minute)
				}
				p.end()
				sum := uint64(0)
				for _, n := range requests(t, reader(t, blobs), blog, 4) {
					sum += n
				}
				if sum != 17 {
					t.Errorf("%d requests, not 17", sum)
				}
			})
		})
	}
}

func TestHub_StoreAwayForHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blobs := &storetest.FaultyBlobs{Blobs: &memory.Store{}}
		p := start(t, blobs, "one")
		blobs.Inject(storetest.Refuse(errors.New("away")))
		for i := range 5 {
			p.add(blog, uint64(i+1))
			time.Sleep(time.Hour)
		}
		blobs.Inject(nil)
		time.Sleep(30 * time.Minute)
		want(t, reader(t, blobs), blog, 1, 2, 3, 4, 5, 0)
		p.kill()
		if len(p.hours) != 1 {
			t.Errorf("%d hours are kept in memory", len(p.hours))
		}
	})
}

func TestHub_BoundsWhatWaits(t *testing.T) {
	var v visits
	h, err := New(Config{Blobs: &memory.Store{}, Source: &v, Edge: "one"})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for i := range 5 { // hours that are not written
		x := &hour{at: now.UTC().Truncate(time.Hour).Add(time.Duration(i) * time.Hour)}
		x.sets = []*set{{digits: 2, domains: maxPending / 3, shares: map[string]*part{}}}
		h.hours = append(h.hours, x)
	}
	h.shed()
	if n := len(h.hours); n != 3 {
		t.Errorf("%d hours wait", n)
	}
	last := h.hours[2]
	last.sets[0].domains = digitsFor[2] - 5
	for i := range 12 {
		v.add(fmt.Sprint("h", i), 1)
	}
	h.take(last.at)
	if n := last.domains(); n != digitsFor[2] {
		t.Errorf("an hour has %d domains", n)
	}
}

func TestHub_ManyDomainsAreSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blobs := &storetest.FaultyBlobs{Blobs: &memory.Store{}}
		var largest atomic.Int64
		p := start(t, blobs, "one")
		grow := 0
		for _, n := range []int{400, 1500, 20_000} { // all, 16 shares, 256
			for ; grow < n; grow++ {
				p.add(fmt.Sprint("h", grow, ".customer.com"), 1)
			}
			p.add("h1.customer.com", 1)
			p.take(time.Now())
			p.add("h2.customer.com", 1)
			time.Sleep(14 * time.Minute)
		}
		p.end()
		keys := map[string]int{}
		for after := ""; ; {
			list, err := blobs.List(t.Context(), prefix, after, 1000)
			if err != nil {
				t.Fatal(err)
			}
			if len(list) == 0 {
				break
			}
			for _, key := range list {
				after = key
				b, err := blobs.Get(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				largest.Store(max(largest.Load(), int64(len(b.Value))))
				keys[strings.Split(key, "/")[1]]++
			}
		}
		if len(keys) != 1+16+256 || largest.Load() > 32<<10 {
			t.Errorf("%d shares, the largest record has %d bytes", len(keys), largest.Load())
		}
		want(t, reader(t, blobs), "h1.customer.com", 4)
		want(t, reader(t, blobs), "h2.customer.com", 4)
		want(t, reader(t, blobs), "h19999.customer.com", 1)
	})
}

// TestHub_CostIsBounded counts write units, of a KB each, of an hour in which every
// domain is visited all the time.
func TestHub_CostIsBounded(t *testing.T) {
	for domains, most := range map[int]int64{1: 4, 25: 4, 50: 4, 80: 6, 100: 4, 900: 24} {
		synctest.Test(t, func(t *testing.T) {
			blobs := &storetest.FaultyBlobs{Blobs: &memory.Store{}}
			var cost atomic.Int64
			blobs.Inject(func(ctx context.Context, op, key string, call func() error) error {
				err := call()
				if op == "Put" && err == nil {
					b, _ := blobs.Blobs.Get(ctx, key)
					cost.Add(int64(len(b.Value)+150)/1024 + 1)
				}
				return err
			})
			p := start(t, blobs, "one")
			for i := range 4 {
				for j := range domains {
					p.add(fmt.Sprintf("blog.customer%d.example.com", j), uint64(j*j*j+i)%1000+1)
				}
				time.Sleep(15 * time.Minute)
			}
			time.Sleep(10 * time.Minute)
			if n := cost.Load(); n > most || n == 0 {
				t.Errorf("an hour of %d domains costs %d units", domains, n)
			}
		})
	}
}

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

func TestHub_ReadsWhatItsOwnEdgeHasNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &memory.Store{}, "one")
		p.add(blog, 7)
		want(t, p.Hub, blog, 7)
		p.add(blog, 1)
		want(t, p.Hub, blog, 7) // of just now
		time.Sleep(freshLife)
		want(t, p.Hub, blog, 8)
	})
}

func TestHub_RemembersAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blobs := &storetest.FaultyBlobs{Blobs: &memory.Store{}}
		p := start(t, blobs, "one")
		p.add(blog, 7)
		p.end()
		var lists atomic.Int64
		blobs.Inject(func(_ context.Context, op, _ string, call func() error) error {
			if op == "List" {
				lists.Add(1)
			}
			time.Sleep(time.Second)
			return call()
		})
		h := reader(t, blobs)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { want(t, h, blog, 7) })
		}
		all.Wait()
		if n := lists.Load(); n != int64(len(digitsFor)) {
			t.Errorf("%d listings", n)
		}
		blobs.Inject(storetest.Refuse(errors.New("away")))
		want(t, h, blog, 7)
		time.Sleep(answerLife)
		if _, err := h.Report(t.Context(), blog, 1); !errors.Is(err, shingle.ErrUnavailable) {
			t.Errorf("with the store away: %v", err)
		}
		blobs.Inject(nil)
		want(t, h, blog, 7) // a failure is not remembered
		for i := range maxAnswers + 5 {
			_, _ = h.Report(t.Context(), fmt.Sprint("h", i), 1)
		}
		if n := len(h.answers.list); n > maxAnswers {
			t.Errorf("%d answers are remembered", n)
		}
	})
}

func TestHub_SweepKeepsAWeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blobs := &storetest.FaultyBlobs{Blobs: &memory.Store{}}
		one, two := start(t, blobs, "one"), start(t, blobs, "two")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- reader(t, blobs).Lead(ctx) }()
		for range 24 * 14 {
			one.add(blog, 1)
			for i := range 40 {
				two.add(fmt.Sprint("h", i), 1)
			}
			time.Sleep(time.Hour)
		}
		keys, err := blobs.List(t.Context(), prefix, "", 1000)
		if n := len(keys); err != nil || n < 2*(24*10-1) || n > 2*(24*10+6) {
			t.Errorf("%d records, %v", n, err)
		}
		want(t, reader(t, blobs), blog, append(slicesOf(1, 167), 0)...)
		var calls atomic.Int64
		blobs.Inject(func(_ context.Context, _, _ string, call func() error) error { calls.Add(1); return call() })
		if err := reader(t, blobs).sweep(t.Context()); err != nil || calls.Load() > 20 {
			t.Errorf("%d calls, %v", calls.Load(), err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func slicesOf(n uint64, times int) (list []uint64) {
	for range times {
		list = append(list, n)
	}
	return list
}

func TestRecord_RoundTrip(t *testing.T) {
	all := map[string]shingle.Traffic{
		"a.example.com":                {Answers: [6]uint64{1, 2, 3, 4, 5, 6}, Origin5xx: 7, OriginErrors: 8, Refused: 9, BytesIn: 1 << 62, BytesOut: 1<<64 - 1},
		"*.example.com":                {},
		strings.Repeat("x", 253):       {BytesIn: 1},
		"xn--bcher-kva.example.com":    {Answers: [6]uint64{2: 1}},
		"blog.customer.com":            {Answers: [6]uint64{2: 100}, BytesOut: 12345},
		"blog.customer.com.example.de": {Answers: [6]uint64{5: 100}},
	}
	got, err := decode(encode(all))
	if err != nil || !maps.Equal(got, all) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := decode(encode(nil)); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func FuzzDecode(f *testing.F) {
	good := encode(map[string]shingle.Traffic{blog: {BytesOut: 5}})
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if counts, err := decode(data); err == nil {
			if again, err := decode(encode(counts)); err != nil || !maps.Equal(counts, again) {
				t.Errorf("%v, %v", again, err)
			}
		}
	})
}

func TestRecord_ThatCannotBeReadIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blobs := &memory.Store{}
		p := start(t, blobs, "one")
		p.add(blog, 7)
		p.end()
		for i, value := range []string{"{}", "nonsense", `{"run":"x","data":"AAAA"}`} {
			if _, err := blobs.Put(t.Context(), keyOf(allDomains, time.Now().UTC(), fmt.Sprint("other", i)), []byte(value), shingle.NoVersion); err != nil {
				t.Fatal(err)
			}
		}
		r, err := reader(t, blobs).Report(t.Context(), blog, 1)
		if err != nil || !r.Partial || r.Hours[0].Requests() != 7 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}
