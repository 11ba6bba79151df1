package jobs_test

import (
	"context"
	"encoding/json"
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
	"github.com/shingle-proxy/shingle/internal/jobs"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// shop is a [jobs.Worker] over domains that it counts the changes of.
type shop struct {
	mu      sync.Mutex
	hosts   map[string]bool
	changes map[string]int
	fail    error // of every line
}

func newShop(hosts ...string) *shop {
	s := &shop{hosts: map[string]bool{}, changes: map[string]int{}}
	for _, h := range hosts {
		s.hosts[h] = true
	}
	return s
}

func (s *shop) Do(ctx context.Context, j *shingle.Job, line json.RawMessage, doubt bool) (out shingle.JobLine, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil || s.fail != nil {
		return out, errors.Join(ctx.Err(), s.fail)
	}
	if err := json.Unmarshal(line, &out.Host); err != nil {
		return out, err
	}
	had, create := s.hosts[out.Host], j.Kind == shingle.JobCreate
	did, nothing := shingle.JobLineDeleted, shingle.JobLineNotFound
	if create {
		did, nothing = shingle.JobLineCreated, shingle.JobLineExists
	}
	switch {
	case strings.HasPrefix(out.Host, "bad"):
		out.Result, out.Message = shingle.JobLineFailed, strings.Repeat("é", 1000)
	case had != create:
		s.hosts[out.Host] = create
		s.changes[out.Host]++
		out.Result = did
	case doubt && s.changes[out.Host] > 0:
		out.Result = did
	default:
		out.Result = nothing
	}
	return out, nil
}

func (s *shop) Find(_ context.Context, j *shingle.Job, after string, limit int) (hosts []string, next string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h, there := range s.hosts {
		if there && h > after && strings.Contains(h, j.Filter.Text) {
			hosts = append(hosts, h)
		}
	}
	slices.Sort(hosts)
	if len(hosts) > limit {
		return hosts[:limit], hosts[limit-1], nil
	}
	return hosts, "", nil
}

// bell counts how many events there were of each ID.
type bell struct {
	mu   sync.Mutex
	rung map[string]shingle.Event
}

func (b *bell) Record(_ context.Context, e shingle.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung == nil {
		b.rung = map[string]shingle.Event{}
	}
	b.rung[e.ID] = e
	return nil
}

func hub(blobs shingle.Blobs, s *shop, events shingle.Events) *jobs.Hub {
	return jobs.New(jobs.Config{Blobs: blobs, Worker: s, Events: events})
}

// lead runs a hub until end is called.
func lead(ctx context.Context, h *jobs.Hub) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			_ = h.Run(ctx)
		}
	})
	return func() { cancel(); running.Wait() }
}

func quoted(hosts []string) (lines []json.RawMessage) {
	for _, h := range hosts {
		lines = append(lines, json.RawMessage(fmt.Sprintf("%q", h)))
	}
	return lines
}

func names(prefix string, n int) (hosts []string) {
	for i := range n {
		hosts = append(hosts, fmt.Sprintf("%s%04d.example.com", prefix, i))
	}
	return hosts
}

func report(t *testing.T, h *jobs.Hub, id string) (list []shingle.JobLine) {
	t.Helper()
	for from := 0; from >= 0; {
		lines, next, err := h.Report(t.Context(), id, from, 1)
		if err != nil {
			t.Fatal(err)
		}
		list, from = append(list, lines...), next
	}
	return list
}

func ended(t *testing.T, h *jobs.Hub, id string) shingle.Job {
	t.Helper()
	for range 10_000 {
		j, err := h.Job(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if j.Ended() {
			return j
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the job does not end")
	return shingle.Job{}
}

func left(t *testing.T, store shingle.Blobs, prefix string) []string {
	t.Helper()
	keys, err := store.List(t.Context(), prefix, "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestHub_DoesEveryLineAndReportsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, s, events := &memory.Store{}, newShop("h0007.example.com"), &bell{}
		h := hub(store, s, events)
		defer lead(t.Context(), h)()
		hosts := append(names("h", 120), "bad.example.com", "h0001.example.com")
		j, err := h.CreateJob(t.Context(), shingle.Job{Kind: shingle.JobCreate, By: "ci", Tenant: "acme"}, quoted(hosts))
		if err != nil {
			t.Fatal(err)
		}
		j = ended(t, h, j.ID)
		if j.State != shingle.JobDone || j.Total != 122 || j.Done != 122 || j.Changed != 119 || j.Unchanged != 2 || j.Failed != 1 {
			t.Errorf("%+v", j)
		}
		list := report(t, h, j.ID)
		if len(list) != 122 || list[7].Result != shingle.JobLineExists || list[120].Result != shingle.JobLineFailed || len(list[120].Message) > 500 {
			t.Errorf("%d lines: %+v", len(list), list)
		}
		for i, line := range list {
			if line.Line != i+1 || line.Host != hosts[i] {
				t.Errorf("line %d: %+v", i+1, line)
			}
		}
		time.Sleep(time.Minute)
		if len(events.rung) != 1 || len(left(t, store, "joblines/"))+len(left(t, store, "jobqueue/")) > 0 {
			t.Errorf("%v, left: %q %q", events.rung, left(t, store, "joblines/"), left(t, store, "jobqueue/"))
		}
		for _, e := range events.rung {
			if e.Type != shingle.EventJobEnded || e.Tenant != "acme" || !strings.Contains(string(e.Data), `"changed":119`) {
				t.Errorf("%+v", e)
			}
		}
	})
}

// TestHub_RevokedTokenEndsItsJobs: what was done stays, and that a token cannot be looked
// up for now ends nothing.
func TestHub_RevokedTokenEndsItsJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, s, asked := &memory.Store{}, newShop(), 0
		h := jobs.New(jobs.Config{Blobs: store, Worker: s, Events: &bell{}, Revoked: func(_ context.Context, id string) (bool, error) {
			if id != "leaked" {
				return false, nil
			}
			if asked++; asked == 2 {
				return false, shingle.ErrUnavailable
			}
			return asked > 3, nil
		}})
		defer lead(t.Context(), h)()
		for _, token := range []string{"leaked", "good", ""} {
			j, err := h.CreateJob(t.Context(), shingle.Job{Kind: shingle.JobCreate, By: "ci", Token: token}, quoted(names("h"+token, 220)))
			if err != nil {
				t.Fatal(err)
			}
			j = ended(t, h, j.ID)
			want, done := shingle.JobDone, 220
			if token == "leaked" {
				want, done = shingle.JobCanceled, 100
			}
			if j.State != want || j.Done != done || strings.Contains(j.Problem, "the token ci was revoked") != (token == "leaked") {
				t.Errorf("token %q: %+v", token, j)
			}
			if n := len(report(t, h, j.ID)); n != done {
				t.Errorf("token %q: a report of %d lines", token, n)
			}
		}
		time.Sleep(time.Minute)
		if n := len(left(t, store, "joblines/")) + len(left(t, store, "jobqueue/")); n > 0 {
			t.Errorf("%d records are left", n)
		}
	})
}

// TestHub_KilledAtEachWrite has the process that leads die before or after each of its
// writes, and another go on: every line is done once, and reported as done.
func TestHub_KilledAtEachWrite(t *testing.T) {
	for _, kind := range []string{"create", "delete by filter"} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, after %t", kind, after), func(t *testing.T) {
				for n := 1; killedAt(t, kind, after, n); n++ {
					if n > 100 {
						t.Fatal("it makes too many writes")
					}
				}
			})
		}
	}
}

// killedAt kills at the nth write. It reports false when there were fewer.
func killedAt(t *testing.T, kind string, after bool, n int) (killed bool) {
	synctest.Test(t, func(t *testing.T) {
		store, events := &memory.Store{}, &bell{}
		hosts := names("h", 120)
		s, j, lines := newShop("h0100.example.com"), shingle.Job{Kind: shingle.JobCreate, By: "ci"}, quoted(hosts)
		if kind != "create" {
			s = newShop(append(hosts, "other.example.com")...)
			j, lines = shingle.Job{Kind: shingle.JobDelete, By: "ci", Filter: &shingle.JobFilter{Text: "h0"}}, nil
		}
		good := hub(store, s, events)
		j, err := good.CreateJob(t.Context(), j, lines)
		if err != nil {
			t.Fatal(err)
		}
		victim := &storetest.FaultyBlobs{Blobs: store}
		ctx, die := context.WithCancel(t.Context())
		defer die()
		var writes atomic.Int64
		victim.Inject(func(_ context.Context, op, _ string, call func() error) error {
			if op != "Put" && op != "Delete" || writes.Add(1) < int64(n) {
				return call()
			}
			if after && writes.Load() == int64(n) {
				_ = call()
			}
			die()
			return errors.New("killed")
		})
		end := lead(ctx, hub(victim, s, events))
		time.Sleep(10 * time.Minute)
		end()
		killed = writes.Load() >= int64(n)

		defer lead(t.Context(), good)()
		j = ended(t, good, j.ID)
		time.Sleep(time.Minute)
		list := report(t, good, j.ID)
		if j.State != shingle.JobDone || j.Done != 120 || len(list) != 120 || len(events.rung) != 1 {
			t.Errorf("killed at %d: %+v, %d lines, %d events", n, j, len(list), len(events.rung))
		}
		for i, line := range list {
			want, changes := shingle.JobLineCreated, 1
			if kind != "create" {
				want = shingle.JobLineDeleted
			} else if i == 100 {
				want, changes = shingle.JobLineExists, 0
			}
			if line.Host != hosts[i] || line.Line != i+1 || line.Result != want || s.changes[line.Host] != changes {
				t.Errorf("killed at %d: %+v, %d changes", n, line, s.changes[line.Host])
			}
		}
		if kind != "create" && !s.hosts["other.example.com"] {
			t.Error("what the filter is not about was deleted")
		}
		if keys := append(left(t, store, "joblines/"), left(t, store, "jobqueue/")...); len(keys) > 0 {
			t.Errorf("killed at %d: left %q", n, keys)
		}
	})
	return killed
}

func TestHub_JobsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop()
		h := hub(&memory.Store{}, s, nil)
		big, err := h.CreateJob(t.Context(), shingle.Job{Kind: shingle.JobCreate}, quoted(names("big", 10_000)))
		if err != nil {
			t.Fatal(err)
		}
		defer lead(t.Context(), h)()
		time.Sleep(5 * time.Second)
		small, err := h.CreateJob(t.Context(), shingle.Job{Kind: shingle.JobCreate}, quoted(names("small", 10)))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		ended(t, h, small.ID)
		if waited := time.Since(began); waited > 5*time.Second {
			t.Errorf("a small job waited for %s", waited)
		}
		j, err := h.Job(t.Context(), big.ID)
		if err != nil || j.Done > 1500 {
			t.Errorf("%d lines in ten seconds, %v", j.Done, err)
		}
	})
}

func TestHub_CanceledStopsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, s := &memory.Store{}, newShop()
		h := hub(store, s, nil)
		j, err := h.CreateJob(t.Context(), shingle.Job{Kind: shingle.JobCreate}, quoted(names("h", 10_000)))
		if err != nil {
			t.Fatal(err)
		}
		defer lead(t.Context(), h)()
		time.Sleep(5 * time.Second)
		if _, err := hub(store, s, nil).CancelJob(t.Context(), j.ID); err != nil { // by another process
			t.Fatal(err)
		}
		j = ended(t, h, j.ID)
		if j.State != shingle.JobCanceled || j.Done == 0 || j.Done == j.Total || len(report(t, h, j.ID)) != j.Done || len(s.changes) != j.Done {
			t.Errorf("%+v, %d lines, %d changes", j, len(report(t, h, j.ID)), len(s.changes))
		}
		if _, err := h.CancelJob(t.Context(), j.ID); !errors.Is(err, shingle.ErrConflict) {
			t.Error(err)
		}
	})
}

func TestHub_StoreAwayIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop()
		h := hub(&memory.Store{}, s, nil)
		s.fail = shingle.ErrUnavailable
		j, err := h.CreateJob(t.Context(), shingle.Job{Kind: shingle.JobCreate}, quoted(names("h", 10)))
		if err != nil {
			t.Fatal(err)
		}
		defer lead(t.Context(), h)()
		time.Sleep(time.Hour)
		if j, err = h.Job(t.Context(), j.ID); err != nil || j.State != shingle.JobRunning || j.Problem == "" || j.Done != 0 {
			t.Errorf("%+v, %v", j, err)
		}
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		if j = ended(t, h, j.ID); j.Changed != 10 || j.Problem != "" {
			t.Errorf("%+v", j)
		}
	})
}

func TestHub_IsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory.Store{}
		h := hub(store, newShop(), nil)
		create := func(tenant string) (shingle.Job, error) {
			time.Sleep(time.Second) // IDs sort by it
			return h.CreateJob(t.Context(), shingle.Job{Kind: shingle.JobCreate, Tenant: tenant}, quoted([]string{"a.example.com"}))
		}
		for range 2 {
			if _, err := create("acme"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := create("acme"); !errors.Is(err, shingle.ErrLimited) {
			t.Errorf("a third of one tenant's: %v", err)
		}
		for range 18 {
			if _, err := create(""); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := create(""); !errors.Is(err, shingle.ErrLimited) {
			t.Errorf("a twenty-first: %v", err)
		}
		defer lead(t.Context(), h)()
		var last shingle.Job
		for range 250 {
			time.Sleep(5 * time.Second)
			var err error
			if last, err = create(""); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Hour)
		if n := len(left(t, store, "jobs/")); n != 200 || len(left(t, store, "jobreports/")) != 200 {
			t.Errorf("%d jobs and %d reports are kept", n, len(left(t, store, "jobreports/")))
		}
		if list, _, err := h.Jobs(t.Context(), "", "", 1); err != nil || len(list) != 1 || list[0].ID != last.ID {
			t.Errorf("the newest: %+v, %v; want %s", list, err, last.ID)
		}
		time.Sleep(shingle.JobKept + time.Hour)
		if keys := append(left(t, store, "job"), left(t, store, "jobreports/")...); len(keys) > 0 {
			t.Errorf("left: %q", keys)
		}
	})
}

// TestHub_HalfWrittenJobIsRemoved has the process die while it takes a job over.
func TestHub_HalfWrittenJobIsRemoved(t *testing.T) {
	for n := int64(1); n <= 4; n++ {
		synctest.Test(t, func(t *testing.T) {
			store, s := &memory.Store{}, newShop()
			victim := &storetest.FaultyBlobs{Blobs: store}
			var writes atomic.Int64
			victim.Inject(func(_ context.Context, op, _ string, call func() error) error {
				if (op == "Put" || op == "Delete") && writes.Add(1) >= n {
					return errors.New("killed")
				}
				return call()
			})
			if _, err := hub(victim, s, nil).CreateJob(t.Context(), shingle.Job{Kind: shingle.JobCreate}, quoted(names("h", 100))); err == nil {
				t.Fatal("it was taken over")
			}
			defer lead(t.Context(), hub(store, s, nil))()
			time.Sleep(time.Hour)
			if keys := left(t, store, "job"); len(keys) > 0 || len(s.changes) > 0 {
				t.Errorf("left %q, %d changes", keys, len(s.changes))
			}
		})
	}
}
