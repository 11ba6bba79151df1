package traffic

import (
	"context"
	"errors"
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

func slicesOf(n uint64, times int) (list []uint64) {
	for range times {
		list = append(list, n)
	}
	return list
}
