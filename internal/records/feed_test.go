package records_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/records"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// TestFeed_LooksAtTheChangesAlone has one process follow a feed, and another after
// it: what is known of the position is not read again, and nothing is lost.
func TestFeed_LooksAtTheChangesAlone(t *testing.T) {
	store := &memory.Store{}
	blobs := &storetest.FaultyBlobs{Blobs: store}
	reads := 0
	blobs.Inject(func(_ context.Context, op, _ string, call func() error) error {
		if op == "Get" {
			reads++
		}
		return call()
	})
	taken := map[string]int{}
	open := func() *records.Feed {
		return &records.Feed{
			Records: records.New(blobs, nil), Domains: store, Key: "test/position", All: true,
			Take: func(_ context.Context, c *shingle.Change) error { taken[c.Host]++; return nil },
		}
	}
	first, second := open(), open()
	added := 0
	step := func(f *records.Feed, wantReads int) {
		t.Helper()
		added++
		d := shingle.Domain{Host: "a" + strconv.Itoa(added) + ".customer.com"}
		if _, err := store.CreateDomain(t.Context(), d, time.Now()); err != nil {
			t.Fatal(err)
		}
		reads = 0
		if err := f.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		if taken[d.Host] == 0 || reads != wantReads {
			t.Errorf("%s taken %d times, with %d reads", d.Host, taken[d.Host], reads)
		}
	}
	step(first, 1)
	step(first, 0)
	step(second, 1)
	step(second, 0)
	if err := first.Step(t.Context()); err == nil { // it stood still, and another led
		t.Error("it did not notice that it is not alone")
	}
	step(first, 1)
	if len(taken) != added {
		t.Errorf("%d of %d taken", len(taken), added)
	}
}
