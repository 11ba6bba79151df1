package members_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/members"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// once reports one time, as a process that is called and then never again.
func once(t *testing.T, store shingle.Blobs, m shingle.Member) {
	process(t.Context(), members.New(members.Config{Blobs: store, Called: true}), m)()
}

// process reports until end is called, which waits for it.
func process(ctx context.Context, r *members.Roster, m shingle.Member) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { r.Report(ctx, func(context.Context) shingle.Member { return m }) })
	return func() { cancel(); running.Wait() }
}

func ids(t *testing.T, r *members.Roster) (list []string) {
	t.Helper()
	for after := ""; ; {
		found, next, err := r.Members(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range found {
			list = append(list, m.ID)
		}
		if after = next; after == "" {
			return list
		}
	}
}

func TestRoster_ReportsOnceAMinuteAndLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blobs := &storetest.FaultyBlobs{Blobs: &memory.Store{}}
		var writes atomic.Int64
		blobs.Inject(func(_ context.Context, op, _ string, call func() error) error {
			if op == "Put" {
				writes.Add(1)
			}
			return call()
		})
		r := members.New(members.Config{Blobs: blobs})
		end := process(t.Context(), r, shingle.Member{ID: "a"})
		time.Sleep(30 * 24 * time.Hour)
		if n := writes.Load(); n < 39_000 || n > 43_200 {
			t.Errorf("%d writes in 30 days", n)
		}
		m, err := r.Member(t.Context(), "a")
		if err != nil || m.State(time.Now()) != shingle.MemberAlive || !m.Self {
			t.Errorf("%+v, %v", m, err)
		}
		end()
		if _, err := r.Member(t.Context(), "a"); !errors.Is(err, shingle.ErrNotFound) {
			t.Errorf("after its end: %v", err)
		}
	})
}

func TestRoster_SilentProcessIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory.Store{}
		once(t, store, shingle.Member{ID: "a"})
		other := members.New(members.Config{Blobs: store})
		defer process(t.Context(), other, shingle.Member{ID: "b"})()
		lead, stop := context.WithCancel(t.Context())
		var leading sync.WaitGroup
		leading.Go(func() { _ = other.Lead(lead) })
		defer leading.Wait()
		defer stop()
		time.Sleep(3 * time.Hour)
		m, err := other.Member(t.Context(), "a")
		if err != nil || m.State(time.Now()) != shingle.MemberSilent || m.Self {
			t.Errorf("%+v, %v", m, err)
		}
		if b, err := other.Member(t.Context(), "b"); err != nil || !b.Leads || !b.Self {
			t.Errorf("%+v, %v", b, err)
		}
		if got := ids(t, other); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("listed %q", got)
		}
		time.Sleep(shingle.MemberKept - 2*time.Hour)
		if got := ids(t, other); !slices.Equal(got, []string{"b"}) {
			t.Errorf("listed %q", got)
		}
		time.Sleep(time.Hour)
		if keys, err := store.List(t.Context(), members.Prefix, "", 10); err != nil || len(keys) != 1 {
			t.Errorf("in the store: %q, %v", keys, err)
		}
	})
}

func TestRoster_NextProcessOfTheFolderTakesTheRecordOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory.Store{}
		once(t, store, shingle.Member{ID: "a", Version: "1"})
		r := members.New(members.Config{Blobs: store})
		defer process(t.Context(), r, shingle.Member{ID: "a", Version: "2"})()
		synctest.Wait()
		if m, err := r.Member(t.Context(), "a"); err != nil || m.Version != "2" {
			t.Errorf("%+v, %v", m, err)
		}
	})
}

func TestRoster_StoreAwayIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blobs := &storetest.FaultyBlobs{Blobs: &memory.Store{}}
		blobs.Inject(func(context.Context, string, string, func() error) error { return errors.New("away") })
		r := members.New(members.Config{Blobs: blobs})
		defer process(t.Context(), r, shingle.Member{ID: "a"})()
		time.Sleep(time.Hour)
		blobs.Inject(func(_ context.Context, _, _ string, call func() error) error { return call() })
		time.Sleep(15 * time.Second)
		if _, err := r.Member(t.Context(), "a"); err != nil {
			t.Error(err)
		}
	})
}

// TestRoster_ReportIsAKilobyte has all that a process may say stay within what one
// write is billed for, unless it is in great trouble.
func TestRoster_ReportIsAKilobyte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory.Store{}
		r := members.New(members.Config{Blobs: store})
		m := shingle.Member{
			ID: strings.Repeat("a", 10), Role: "serve", Name: strings.Repeat("n", 63), Version: "v0.0.0-20261125121200-d2e4becd2e4b", Region: "ap-northeast-1", Address: "255.255.255.255:65535", API: "255.255.255.255:65535",
			Started: time.Now(), Table: &shingle.MemberTable{Domains: 1_000_000, Synced: time.Now().Truncate(time.Second)}, Load: &shingle.MemberLoad{Connections: 10000, MaxConnections: 10000, Requests: 12345.67, Errors: 12345.67},
			MasterKeys: []string{"file-1f3a5c7e9b2d4f60", "file-1f3a5c7e9b2d4f61"},
		}
		defer process(t.Context(), r, m)()
		synctest.Wait()
		b, err := store.Get(t.Context(), members.Prefix+m.ID)
		if err != nil || len(b.Value) > 900 {
			t.Errorf("%d bytes: %s, %v", len(b.Value), b.Value, err)
		}
		for range 100 {
			m.Degraded, m.MasterKeys = append(m.Degraded, strings.Repeat("é", 1000)), append(m.MasterKeys, fmt.Sprint("key", len(m.MasterKeys)))
		}
		m.ID = "b"
		defer process(t.Context(), members.New(members.Config{Blobs: store}), m)()
		synctest.Wait()
		is, err := r.Member(t.Context(), "b")
		if err != nil || len(is.Degraded) != 4 || len(is.MasterKeys) != 16 || is.MasterKeys[15] != "key101" {
			t.Errorf("%+v, %v", is, err)
		}
	})
}

func TestRoster_LackingAreTheLiveOnesOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory.Store{}
		r := members.New(members.Config{Blobs: store})
		defer process(t.Context(), r, shingle.Member{ID: "self", MasterKeys: []string{"old"}})()
		for id, keys := range map[string][]string{"has": {"old", "new"}, "lacks": {"old"}} {
			defer process(t.Context(), members.New(members.Config{Blobs: store}), shingle.Member{ID: id, MasterKeys: keys})()
		}
		synctest.Wait()
		if got, err := r.Lacking(t.Context(), "new"); err != nil || !slices.Equal(got, []string{"lacks"}) {
			t.Errorf("%v, %v lack the new key", got, err)
		}
		if got, err := r.Lacking(t.Context(), "old"); err != nil || len(got) > 0 {
			t.Errorf("%v, %v lack the old key", got, err)
		}
		once(t, store, shingle.Member{ID: "silent", MasterKeys: []string{"old"}})
		time.Sleep(3 * time.Hour)
		if got, err := r.Lacking(t.Context(), "new"); err != nil || !slices.Equal(got, []string{"lacks"}) {
			t.Errorf("%v, %v lack the new key hours later", got, err)
		}
	})
}

// reporter is a process whose writes are counted, and whose state changes.
func reporter(t *testing.T, ready, changed chan struct{}) (r *members.Roster, writes *atomic.Int64) {
	blobs := &storetest.FaultyBlobs{Blobs: &memory.Store{}}
	writes = &atomic.Int64{}
	blobs.Inject(func(_ context.Context, op, _ string, call func() error) error {
		if op == "Put" {
			writes.Add(1)
		}
		return call()
	})
	return members.New(members.Config{Blobs: blobs, Ready: ready, Changed: changed}), writes
}

func TestRoster_FirstReportWaitsUntilTheProcessKnowsHowItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ready, changed := make(chan struct{}), make(chan struct{}, 1)
		r, writes := reporter(t, ready, changed)
		defer process(t.Context(), r, shingle.Member{ID: "a"})()
		time.Sleep(5 * time.Second)
		if n := writes.Load(); n != 0 {
			t.Errorf("%d reports before it knew", n)
		}
		changed <- struct{}{}
		close(ready)
		synctest.Wait()
		if n := writes.Load(); n != 1 {
			t.Errorf("%d reports when it knew", n)
		}
		time.Sleep(50 * time.Second)
		if n := writes.Load(); n != 1 {
			t.Errorf("%d reports in the first minute", n)
		}
	})
	synctest.Test(t, func(t *testing.T) { // it hangs
		r, writes := reporter(t, make(chan struct{}), nil)
		defer process(t.Context(), r, shingle.Member{ID: "a"})()
		time.Sleep(11 * time.Second)
		if n := writes.Load(); n != 1 {
			t.Errorf("%d reports of one that hangs", n)
		}
	})
}

func TestRoster_ChangeIsReportedAtOnceAndWithinBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changed := make(chan struct{}, 1)
		r, writes := reporter(t, nil, changed)
		var draining atomic.Bool
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			r.Report(ctx, func(context.Context) shingle.Member { return shingle.Member{ID: "a", Draining: draining.Load()} })
		})
		defer running.Wait()
		defer cancel()
		synctest.Wait()
		draining.Store(true)
		changed <- struct{}{}
		synctest.Wait()
		if m, err := r.Member(t.Context(), "a"); err != nil || m.State(time.Now()) != shingle.MemberDraining {
			t.Errorf("%+v, %v", m, err)
		}
		writes.Store(0)
		for range 600 { // it flaps for a minute
			select {
			case changed <- struct{}{}:
			default:
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := writes.Load(); n < 5 || n > 9 {
			t.Errorf("%d reports in a minute of changes", n)
		}
	})
}

// TestRoster_LeavesWhileItReports ends a process in the middle of a report.
func TestRoster_LeavesWhileItReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory.Store{}
		blobs := &storetest.FaultyBlobs{Blobs: store}
		changed := make(chan struct{}, 1)
		r := members.New(members.Config{Blobs: blobs, Changed: changed})
		end := process(t.Context(), r, shingle.Member{ID: "a"})
		synctest.Wait()
		blobs.Inject(func(ctx context.Context, op, _ string, call func() error) error {
			if op == "Put" {
				<-ctx.Done()
				return ctx.Err()
			}
			return call()
		})
		changed <- struct{}{}
		synctest.Wait()
		end()
		if keys, err := store.List(t.Context(), members.Prefix, "", 10); err != nil || len(keys) != 0 {
			t.Errorf("it left %q, %v", keys, err)
		}
	})
}
