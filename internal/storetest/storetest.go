// Package storetest holds the conformance suites of the two storage contracts,
// which every backend and every fake runs, and stores that fail on demand.
//
// The suites hold a backend to the sentences of [shingle.DomainStore] and
// [shingle.Blobs] and to nothing else: versions and cursors stay opaque, a
// write is looked for only after it returned, and no time is measured.
package storetest

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// now is neither in UTC nor in whole microseconds, and stored is what a store
// makes of it.
var (
	now    = time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.FixedZone("", 3600))
	stored = now.UTC().Truncate(time.Microsecond)
)

// pageLimit is the largest limit that a contract takes.
const pageLimit = 1000

// race runs f n times at once, each with its own number, and returns how often
// f was true.
func race(n int, f func(i int) bool) int {
	var wins atomic.Int64
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			if f(i) {
				wins.Add(1)
			}
		})
	}
	close(start)
	all.Wait()
	return int(wins.Load())
}

// won reports whether a conditional write succeeded. It may have lost with one
// of the given errors only.
func won(t *testing.T, err error, losses ...error) bool {
	t.Helper()
	for _, loss := range losses {
		if errors.Is(err, loss) {
			return false
		}
	}
	if err != nil {
		t.Error(err)
	}
	return err == nil
}

// refusals checks that each call failed, and with no answer that a caller would
// take for a fact about the store.
func refusals(t *testing.T, calls map[string]error) {
	t.Helper()
	for name, err := range calls {
		switch shingle.CodeOf(err) {
		case "", shingle.CodeNotFound, shingle.CodeConflict, shingle.CodeExists, shingle.CodeInvalid:
			t.Errorf("%s with an ended context: %v", name, err)
		}
	}
}

func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
