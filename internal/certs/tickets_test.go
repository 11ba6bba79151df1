package certs

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/keyfile"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// ticketFleet is a store with processes that follow its ticket keys.
type ticketFleet struct {
	t       *testing.T
	blobs   *faultyBlobs
	keyFile string
	log     syncBuffer
}

// ticketEdge is one process, and the keys that it was last told.
type ticketEdge struct {
	told atomic.Pointer[[][32]byte]
	skew time.Duration
	stop func()
}

// keys returns what SetSessionTicketKeys would have got; nil: nothing yet.
func (e *ticketEdge) keys() [][32]byte {
	if k := e.told.Load(); k != nil {
		return *k
	}
	return nil
}

func newTicketFleet(t *testing.T) *ticketFleet {
	return &ticketFleet{t: t, blobs: &faultyBlobs{Blobs: &memory.Store{}}, keyFile: filepath.Join(t.TempDir(), "seal.key")}
}

// start runs one more process, inside a synctest bubble.
func (f *ticketFleet) start(skew time.Duration) *ticketEdge {
	f.t.Helper()
	key, err := keyfile.Open(f.keyFile)
	if err != nil {
		f.t.Fatal(err)
	}
	e := &ticketEdge{skew: skew}
	m, err := New(Config{
		Blobs: f.blobs, MasterKey: key, CAs: []CA{{Directory: "https://ca.example/directory"}}, TermsAgreed: true,
		Permission: shingle.PermissionFunc(func(context.Context, string) error { return nil }),
		Logger:     slog.New(slog.NewTextHandler(&f.log, nil)),
		Now:        func() time.Time { return time.Now().Add(e.skew) },
	})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	ended := make(chan struct{})
	go func() {
		m.FollowTicketKeys(ctx, func(keys [][32]byte) { e.told.Store(&keys) })
		close(ended)
	}()
	e.stop = func() { cancel(); <-ended }
	f.t.Cleanup(e.stop)
	synctest.Wait()
	return e
}

// pass lets time go by in small steps. At each one, what any edge seals with
// every edge must be able to open.
func (f *ticketFleet) pass(d time.Duration, edges ...*ticketEdge) {
	f.t.Helper()
	for range d / time.Minute {
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, a := range edges {
			for _, b := range edges {
				if !slices.Contains(b.keys(), a.keys()[0]) {
					f.t.Fatal("an edge seals with a key that another does not know")
				}
			}
		}
	}
}

// passUntil is pass until done, for a day at most.
func (f *ticketFleet) passUntil(done func() bool, edges ...*ticketEdge) {
	f.t.Helper()
	for range 24 * 60 {
		if done() {
			return
		}
		f.pass(time.Minute, edges...)
	}
	f.t.Fatal("not within a day")
}

func TestTickets_AllEdgesOpenWhatOneSeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTicketFleet(t)
		a := f.start(0)
		time.Sleep(2 * time.Minute)
		b, c := f.start(-3*time.Minute), f.start(4*time.Minute)
		if ka, kb := a.keys(), b.keys(); len(ka) != 2 || len(kb) != 2 || ka[1] != kb[1] || ka[0] == kb[0] {
			t.Fatal("the fleet's first key seals before all edges can know it")
		}
		time.Sleep(15 * time.Minute)
		f.pass(30*time.Minute, a, b, c)
		if a.keys()[0] != b.keys()[0] || a.keys()[0] != c.keys()[0] || len(a.keys()) != 1 {
			t.Fatal("the fleet has no common first key")
		}
		first := a.keys()[0]
		for rotation := range 6 {
			f.pass(13*time.Hour, a, b, c)
			if want := min(rotation+2, ticketKeys); len(a.keys()) != want {
				t.Fatalf("%d keys, want %d", len(a.keys()), want)
			}
		}
		if slices.Contains(a.keys(), first) {
			t.Error("an old key is still there")
		}
	})
}

func TestTickets_NewKeyDoesNotSealAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTicketFleet(t)
		a := f.start(0)
		f.pass(time.Hour, a)
		old := a.keys()[0]
		f.passUntil(func() bool { return len(a.keys()) == 2 }, a)
		made := time.Now()
		if a.keys()[0] != old {
			t.Fatal("the new key seals at once")
		}
		f.passUntil(func() bool { return a.keys()[0] != old }, a)
		if waited := time.Since(made); waited < 10*time.Minute || waited > 16*time.Minute {
			t.Errorf("it sealed after %s", waited)
		}
	})
}

func TestTickets_OneKeyARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTicketFleet(t)
		var writes atomic.Int64
		f.blobs.put(func(key string, write func() (string, error)) (string, error) {
			v, err := write()
			if err == nil && key == ticketRecord {
				writes.Add(1)
			}
			return v, err
		})
		var edges []*ticketEdge
		for range 10 {
			edges = append(edges, f.start(0))
		}
		time.Sleep(20 * time.Minute)
		f.pass(36*time.Hour, edges...)
		if n := writes.Load(); n != 4 {
			t.Errorf("%d keys were made, want 4", n)
		}
	})
}

func TestTickets_StoreOutageKeepsTheKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTicketFleet(t)
		a := f.start(0)
		f.pass(time.Hour, a)
		before := slices.Clone(a.keys())
		down := func(string) error { return errStore }
		f.blobs.onGet.Store(&down)
		b := f.start(0)
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		if !slices.Equal(a.keys(), before) {
			t.Error("the keys changed")
		}
		if b.keys() != nil {
			t.Error("keys out of nowhere")
		}
		if n := strings.Count(f.log.String(), "not up to date"); n != 2 {
			t.Errorf("%d lines in the log, want one a process", n)
		}
		f.blobs.onGet.Store(nil)
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if a.keys()[0] == before[0] || a.keys()[0] != b.keys()[0] || !slices.Contains(b.keys(), before[0]) {
			t.Error("the fleet did not go on with a new key")
		}
	})
}

func TestTickets_LostReplyIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTicketFleet(t)
		f.blobs.put(func(_ string, write func() (string, error)) (string, error) {
			if _, err := write(); err != nil {
				t.Error(err)
			}
			return "", errStore
		})
		a := f.start(0)
		f.blobs.onPut.Store(nil)
		b := f.start(0)
		time.Sleep(20 * time.Minute)
		f.pass(time.Hour, a, b)
		if len(a.keys()) != 1 {
			t.Errorf("%d keys, want the one that landed", len(a.keys()))
		}
	})
}

// TestTickets_MakerWithAClockAhead must not stop the rotation of the others.
func TestTickets_MakerWithAClockAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTicketFleet(t)
		wrong := f.start(365 * 24 * time.Hour)
		wrong.stop()
		a := f.start(0)
		f.pass(time.Hour, a)
		first := a.keys()[0]
		f.pass(13*time.Hour, a)
		if a.keys()[0] == first || len(a.keys()) != 2 {
			t.Error("no rotation")
		}
	})
}

func TestTickets_DeletedRecordMeansNewKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTicketFleet(t)
		a := f.start(0)
		f.pass(time.Hour, a)
		leaked := a.keys()[0]
		b, err := f.blobs.Get(t.Context(), ticketRecord)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b.Value, []byte("secret")) {
			t.Errorf("not sealed: %s", b.Value)
		}
		if err := f.blobs.Delete(t.Context(), ticketRecord, b.Version); err != nil {
			t.Fatal(err)
		}
		f.pass(6*time.Minute, a)
		if slices.Contains(a.keys(), leaked) {
			t.Error("the key is still in use")
		}
	})
}

func TestTickets_UnreadableRecordIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTicketFleet(t)
		if _, err := f.blobs.Put(t.Context(), ticketRecord, []byte(`{"keys":{"key_id":"other","data":"AAAA"}}`), shingle.NoVersion); err != nil {
			t.Fatal(err)
		}
		a := f.start(0)
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if b, err := f.blobs.Get(t.Context(), ticketRecord); err != nil || !bytes.Contains(b.Value, []byte("AAAA")) || a.keys() != nil {
			t.Errorf("%s, %v, %d keys", b.Value, err, len(a.keys()))
		}
	})
}
