package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// TestHub_IsBoundedWhenManyComeAtOnce has a customer ask for ten jobs at the same moment:
// each sees that there is room.
func TestHub_IsBoundedWhenManyComeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 10
		store := &storetest.FaultyBlobs{Blobs: &memory.Store{}}
		var looked sync.WaitGroup
		looked.Add(many)
		store.Inject(storetest.On("List", storetest.Times(many, func(_ context.Context, _, _ string, call func() error) error {
			err := call()
			looked.Done()
			looked.Wait()
			return err
		})))
		h, errs := hub(store, newShop(), nil), make(chan error, many)
		for range many {
			go func() {
				_, err := h.CreateJob(t.Context(), shingle.Job{Kind: shingle.JobCreate, Tenant: "acme"}, quoted(names("h", 100)))
				errs <- err
			}()
		}
		made := 0
		for range many {
			if err := <-errs; err == nil {
				made++
			} else if !errors.Is(err, shingle.ErrLimited) {
				t.Error(err)
			}
		}
		if made > 2 {
			t.Errorf("%d jobs of one tenant", made)
		}
		if keys := left(t, store, "job"); len(keys) != made*4 { // a place, a record and two parts
			t.Errorf("left: %q", keys)
		}
	})
}

// TestHub_BrokenOffRequestKeepsNoPlace has a client go away in the middle of a long list.
func TestHub_BrokenOffRequestKeepsNoPlace(t *testing.T) {
	store := &storetest.FaultyBlobs{Blobs: &memory.Store{}}
	ctx, leave := context.WithCancel(t.Context())
	store.Inject(func(ctx context.Context, op, key string, call func() error) error {
		if op == "Put" && strings.HasSuffix(key, "/000001") {
			leave()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return call()
	})
	if _, err := hub(store, newShop(), nil).CreateJob(ctx, shingle.Job{Kind: shingle.JobCreate, Tenant: "acme"}, quoted(names("h", 500))); err == nil {
		t.Fatal("it was taken over")
	}
	if keys := left(t, store, "job"); len(keys) > 0 {
		t.Errorf("left: %q", keys)
	}
}

// TestHub_IsNotHeldUpByJobsThatAreBeingSetUp has places in the queue whose jobs never come.
func TestHub_IsNotHeldUpByJobsThatAreBeingSetUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory.Store{}
		h := hub(store, newShop(), nil)
		j, err := h.CreateJob(t.Context(), shingle.Job{Kind: shingle.JobCreate}, quoted(names("h", 1000)))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 15 {
			if _, err := store.Put(t.Context(), fmt.Sprintf("jobqueue/%sx%d", j.ID[:7], i), []byte("{}"), shingle.NoVersion); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		defer lead(t.Context(), h)()
		if ended(t, h, j.ID); time.Since(begun) > 30*time.Second {
			t.Errorf("1000 lines took %s", time.Since(begun))
		}
	})
}
