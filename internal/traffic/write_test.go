package traffic

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

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
