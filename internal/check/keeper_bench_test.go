//go:build unix

package check

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// BenchmarkKeeper measures what a day costs besides the looks themselves: each domain
// comes up once, has its status read and written, and its place in the index moved.
// The store is in memory; what the keeper holds besides it is reported.
func BenchmarkKeeper(b *testing.B) {
	store := &memory.Store{}
	var ahead, checks atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	all := make(chan struct{}, 1)
	k, err := NewKeeper(KeeperConfig{
		Blobs: store, Domains: store, Poll: 5 * time.Millisecond, Now: now,
		Check: func(_ context.Context, d shingle.Domain, _ Look) (shingle.CheckResult, error) {
			r := served(now().Add(60 * 24 * time.Hour))
			if r.Host = d.Host; checks.Add(1)%int64(b.N) == 0 {
				all <- struct{}{}
			}
			return r, nil
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	for i := range b.N {
		if _, err := store.CreateDomain(b.Context(), shingle.Domain{Host: fmt.Sprintf("n%d.customer.com", i)}, now()); err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = k.Run(ctx) }()
	defer func() { cancel(); <-done }()
	<-all // the first look at each
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	before := heap()
	used, _ := usage(b)
	b.ResetTimer()
	ahead.Add(int64(37 * time.Hour))
	<-all
	b.StopTimer()
	after, _ := usage(b)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "domains/s")
	b.ReportMetric(float64(b.N)/(after-used).Seconds(), "domains/cpu-s")
	b.ReportMetric((heap()-before)/(1<<20), "heap-growth-MB")
}
