package traffic

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

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
