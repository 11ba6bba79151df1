package certs

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/keyfile"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// indexed is a Manager that does not work by itself, over a store that can be made
// to stand still.
type indexed struct {
	*Manager
	t     *testing.T
	blobs *storetest.FaultyBlobs
}

func newIndexed(t *testing.T) *indexed {
	key, err := keyfile.Open(filepath.Join(t.TempDir(), "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	x := &indexed{t: t, blobs: &storetest.FaultyBlobs{Blobs: &memory.Store{}}}
	x.Manager, err = New(Config{
		Blobs: x.blobs, MasterKey: key, TermsAgreed: true, CAs: []CA{{Directory: "https://ca.sim/directory"}},
		Permission: shingle.PermissionFunc(func(context.Context, string) error { return nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

// stall has the next call with that name and a key in the due index stand still
// after it has been done, until resume is called. stalled is closed when it does.
func (x *indexed) stall(op string) (stalled <-chan struct{}, resume func()) {
	at, released := make(chan struct{}), make(chan struct{})
	once := storetest.Times(1, func(_ context.Context, _, _ string, call func() error) error {
		err := call()
		close(at)
		<-released
		return err
	})
	x.blobs.Inject(storetest.On(op, func(ctx context.Context, op, key string, call func() error) error {
		if !strings.HasPrefix(key, duePrefix) {
			return call()
		}
		return once(ctx, op, key, call)
	}))
	return at, func() { close(released) }
}

// renewAt has the host looked at then.
func (x *indexed) renewAt(at time.Time) {
	x.t.Helper()
	_, err := x.store.changePlan(x.t.Context(), testHost, time.Now(), func(p *plan, _ bool) bool {
		p.RenewAt = at
		p.reschedule()
		return true
	})
	x.check(err)
}

// tidyAll has the worker look at each entry that is due, whose hosts are not due.
func (x *indexed) tidyAll() {
	x.t.Helper()
	list, _, _, err := x.store.dueUntil(x.t.Context(), "", time.Now(), duePage)
	x.check(err)
	for _, i := range list {
		p, version, err := x.store.plan(x.t.Context(), i.host)
		if err == nil && p.Due == i.key {
			continue
		}
		_, err = x.tidy(x.t.Context(), i, p, version, time.Now())
		x.check(err)
	}
}

func (x *indexed) check(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

// remembered fails unless the worker will find the host.
func (x *indexed) remembered() {
	x.t.Helper()
	p, _, err := x.store.plan(x.t.Context(), testHost)
	x.check(err)
	if _, err := x.blobs.Get(x.t.Context(), p.Due); err != nil {
		x.t.Errorf("it is never looked at again: the plan names %s: %v", p.Due, err)
	}
}

// TestDue_StalledWriterLosesNoHost has a writer stand still between making its
// entry and writing the plan, until the worker has taken the entry for one that a
// crash left.
func TestDue_StalledWriterLosesNoHost(t *testing.T) {
	for name, before := range map[string]func(x *indexed){
		"of a plan":     func(x *indexed) { x.renewAt(time.Now().Add(30 * day)) },
		"of a new plan": func(*indexed) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newIndexed(t)
				before(x)
				stalled, resume := x.stall("Put")
				done := make(chan struct{})
				go func() { defer close(done); x.renewAt(time.Now().Add(time.Second)) }()
				<-stalled
				time.Sleep(5 * time.Minute)
				x.tidyAll()
				resume()
				<-done
				x.remembered()
			})
		})
	}
}

// TestDue_EntryOfTheSameSecondIsNotRemoved has a writer stand still before it
// removes its old entry, while the plan moves back to the same second.
func TestDue_EntryOfTheSameSecondIsNotRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newIndexed(t)
		later := time.Now().Add(time.Hour)
		x.renewAt(later)
		stalled, resume := x.stall("Get")
		done := make(chan struct{})
		go func() { defer close(done); x.renewAt(time.Now()) }()
		<-stalled
		x.renewAt(later)
		resume()
		<-done
		x.remembered()
	})
}

// TestDue_DropOfTheSameSecondRemovesItsOwn has a domain deleted and added again,
// while the deletion stands still before its last step.
func TestDue_DropOfTheSameSecondRemovesItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newIndexed(t)
		x.check(x.Want(t.Context(), testHost, "acme"))
		stalled, resume := x.stall("Get")
		done := make(chan error, 1)
		go func() { done <- x.Drop(t.Context(), testHost) }()
		<-stalled
		x.check(x.Want(t.Context(), testHost, "acme"))
		resume()
		x.check(<-done)
		x.remembered()
	})
}

// TestDue_LookCostsWhatIsDue counts the keys that a look at the index is given.
func TestDue_LookCostsWhatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, []*simCA{newSimCA(t, "ca")}, nil)
		defer s.close()
		for i := range 3000 {
			s.check(s.m.store.mark(t.Context(), duePrefix+time.Now().Add(time.Hour).UTC().Format(dueTime)+"/r00000000/"+simHostName(i)+"/1"))
		}
		s.blobs.reset()
		w := newWorker(s.m)
		s.check(w.look(t.Context()))
		if n := s.blobs.listed.Load(); n > firstPage {
			t.Errorf("%d keys were read to see that nothing is due", n)
		}
		time.Sleep(2 * time.Hour)
		s.blobs.reset()
		s.check(w.look(t.Context()))
		if n := s.blobs.lists.Load(); n > 15 {
			t.Errorf("3000 due items took %d listings", n)
		}
		if n := w.queue.len(classRenewal); n != 3000 {
			t.Errorf("%d items in the queue", n)
		}
	})
}
