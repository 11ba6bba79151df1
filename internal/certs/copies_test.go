package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/keyfile"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// copyFleet is a store that can be cut off, and processes over it. All runs in a
// synctest bubble: an hour costs nothing.
type copyFleet struct {
	t       *testing.T
	ca      *chainMaker
	rows    *memory.Store
	blobs   *storetest.FaultyBlobs
	near    *late         // of the processes that can be cut off; nil: none
	copy    *memory.Store // of the process with copies, over its restarts
	keyFile string
	orders  atomic.Int64 // permissions asked
	log     syncBuffer
}

// copyProcess is one process.
type copyProcess struct {
	*Manager
	tickets atomic.Pointer[[][32]byte]
	stop    func()
}

func newCopyFleet(t *testing.T) *copyFleet {
	rows := &memory.Store{}
	return &copyFleet{
		t: t, ca: newChainMaker(t), rows: rows, blobs: &storetest.FaultyBlobs{Blobs: rows}, copy: &memory.Store{},
		keyFile: filepath.Join(t.TempDir(), "seal.key"),
	}
}

// start runs a process with the local copy over a store.
func (f *copyFleet) start(store, local shingle.Blobs) *copyProcess {
	f.t.Helper()
	key, err := keyfile.Open(f.keyFile)
	if err != nil {
		f.t.Fatal(err)
	}
	var near Reader
	if f.near != nil && store != shingle.Blobs(f.rows) {
		near = f.near
	}
	m, err := New(Config{
		Blobs: store, Near: near, Copy: local, MasterKey: key, TermsAgreed: true, CAs: []CA{{Directory: "https://ca.example/directory"}},
		Permission: shingle.PermissionFunc(func(context.Context, string) error { f.orders.Add(1); return shingle.ErrForbidden }),
		Logger:     slog.New(slog.NewTextHandler(&f.log, nil)),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	p := &copyProcess{Manager: m}
	ctx, cancel := context.WithCancel(f.t.Context())
	var parts sync.WaitGroup
	parts.Go(func() { m.Follow(ctx) })
	parts.Go(func() { m.FollowTicketKeys(ctx, func(keys [][32]byte) { p.tickets.Store(&keys) }) })
	p.stop = sync.OnceFunc(func() {
		cancel()
		parts.Wait()
		if err := m.Close(); err != nil {
			f.t.Error(err)
		}
	})
	f.t.Cleanup(p.stop)
	return p
}

// other runs a process that is never cut off and has no copies.
func (f *copyFleet) other() *copyProcess { return f.start(f.rows, nil) }

// edge runs the process with copies.
func (f *copyFleet) edge() *copyProcess { return f.start(f.blobs, f.copy) }

// issue stores a certificate for host and makes news of it.
func (p *copyProcess) issue(f *copyFleet, host string) {
	f.t.Helper()
	ctx, key := f.t.Context(), newKey(f.t)
	sealed, err := p.store.sealKey(ctx, key, certKey(host))
	if err != nil {
		f.t.Fatal(err)
	}
	version, err := p.store.version(ctx, certKey(host))
	if err != nil {
		f.t.Fatal(err)
	}
	r := record{Chain: string(f.ca.chain(f.t, host, key)), Key: sealed}
	if _, err := p.store.put(ctx, certKey(host), r, version); err != nil {
		f.t.Fatal(err)
	}
	_, err = p.store.changePlan(ctx, host, time.Now(), func(p *plan, _ bool) bool {
		p.NotAfter = time.Now().AddDate(0, 0, 90) // Drop makes news of it then
		return true
	})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := p.store.announce(ctx, host, time.Now()); err != nil {
		f.t.Fatal(err)
	}
}

// served returns the leaf that host's visitors get.
func (p *copyProcess) served(f *copyFleet, host string) []byte {
	f.t.Helper()
	var cert *tls.Certificate
	cert, err := p.Certificate(f.t.Context(), host)
	if err != nil {
		f.t.Fatalf("%s: %v", host, err)
	}
	return cert.Certificate[0]
}

func (f *copyFleet) copied(host string) bool {
	_, err := f.copy.Get(f.t.Context(), certKey(host))
	return err == nil
}

var errAway = errors.New("connection refused")

// cuts are the ways in which a store is away.
func cuts(t *testing.T, test func(t *testing.T, f *copyFleet, cut storetest.Fault)) {
	for name, cut := range map[string]storetest.Fault{"refuses": storetest.Refuse(errAway), "hangs": storetest.Block()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, newCopyFleet(t), cut) })
		})
	}
}

const (
	toldHost = "told.example.com" // never visited before the store went away
	seenHost = "seen.example.com"
)

// TestCopies_ServeForAnHourWithoutAStore restarts a process in the middle.
func TestCopies_ServeForAnHourWithoutAStore(t *testing.T) {
	cuts(t, func(t *testing.T, f *copyFleet, cut storetest.Fault) {
		other := f.other()
		other.issue(f, seenHost)
		if _, err := other.keys.load(t.Context()); err != nil { // the fleet has an account
			t.Fatal(err)
		}
		edge := f.edge()
		leaf := edge.served(f, seenHost)
		answer, err := edge.KeyAuthorization(t.Context(), "token")
		if err != nil {
			t.Fatal(err)
		}
		other.issue(f, toldHost)
		time.Sleep(time.Hour) // of the bubble: the ticket key seals, and there was news
		tickets := *edge.tickets.Load()

		f.blobs.Inject(cut)
		time.Sleep(30 * time.Minute)
		edge.stop()
		edge = f.edge()
		time.Sleep(30 * time.Minute)
		if got := edge.served(f, seenHost); !bytes.Equal(got, leaf) {
			t.Error("another certificate is served")
		}
		edge.served(f, toldHost)
		if again, err := edge.KeyAuthorization(t.Context(), "token"); err != nil || again != answer {
			t.Errorf("the answer to a validation is %q, %v", again, err)
		}
		if k := edge.tickets.Load(); k == nil || (*k)[0] != tickets[0] {
			t.Error("sessions of before the restart are not resumed")
		}
		if why := edge.Degraded(); !strings.Contains(why, "has not answered since 2000-01-01T01:") || strings.Contains(why, "refused") {
			t.Errorf("degraded: %q", why)
		}
		if _, err := edge.Certificate(t.Context(), "never.example.com"); shingle.CodeOf(err) != shingle.CodeUnavailable {
			t.Errorf("a name without a copy: %v", err)
		}
		if f.orders.Load() != 0 {
			t.Error("an order was about to be placed")
		}

		f.blobs.Inject(nil)
		time.Sleep(time.Minute)
		if why := edge.Degraded(); why != "" {
			t.Errorf("degraded: %q", why)
		}
	})
}

// TestCopies_AWaitForTheStoreIsBounded counts in the time of the bubble.
func TestCopies_AWaitForTheStoreIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newCopyFleet(t)
		for i := range 100 { // by so many processes that there are several data keys
			f.other().issue(f, fmt.Sprintf("n%d.example.com", i))
		}
		edge := f.edge()
		time.Sleep(time.Minute)
		edge.stop()
		f.blobs.Inject(storetest.Block())
		edge = f.edge()
		start := time.Now()
		for i := range 100 {
			edge.served(f, fmt.Sprintf("n%d.example.com", i))
		}
		if took := time.Since(start); took > 3*copyWait {
			t.Errorf("a hundred visitors waited %s one after another", took)
		}
	})
}

// TestCopies_TheStoreRules changes what the store has while a process is away
// from it, and when it is not.
func TestCopies_TheStoreRules(t *testing.T) {
	cuts(t, func(t *testing.T, f *copyFleet, cut storetest.Fault) {
		other := f.other()
		other.issue(f, seenHost)
		other.issue(f, toldHost)
		edge := f.edge()
		old := edge.served(f, seenHost)
		time.Sleep(time.Minute)
		if !f.copied(seenHost) || !f.copied(toldHost) {
			t.Fatal("not copied")
		}
		f.blobs.Inject(cut)
		edge.stop()
		edge = f.edge()
		edge.served(f, seenHost)
		time.Sleep(time.Hour)
		other.issue(f, seenHost) // a renewal
		if err := other.Drop(t.Context(), toldHost); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour) // the news is older than a follower usually reads
		if got := edge.served(f, seenHost); !bytes.Equal(got, old) {
			t.Fatal("something else is served without the store")
		}

		f.blobs.Inject(nil)
		time.Sleep(time.Minute)
		edge.served(f, seenHost) // has it read again
		synctest.Wait()
		if got := edge.served(f, seenHost); bytes.Equal(got, old) {
			t.Error("the old certificate is served although the store answers")
		}
		if f.copied(toldHost) {
			t.Error("the key of a deleted domain is still there")
		}
		if _, err := edge.Certificate(t.Context(), toldHost); shingle.CodeOf(err) != shingle.CodeForbidden {
			t.Errorf("a deleted domain: %v", err)
		}
	})
}

// TestCopies_WhatHappenedBeforeTheStart starts a process that missed news, of
// which some is gone.
func TestCopies_WhatHappenedBeforeTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newCopyFleet(t)
		other := f.other()
		other.issue(f, seenHost)
		edge := f.edge()
		old := edge.served(f, seenHost)
		time.Sleep(time.Minute)
		edge.stop()
		other.issue(f, seenHost)
		time.Sleep(2 * newsLife)
		if err := other.store.clean(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		other.issue(f, toldHost)
		time.Sleep(3 * time.Hour)

		f.blobs.Inject(storetest.Refuse(errAway))
		edge = f.edge()
		if got := edge.served(f, seenHost); !bytes.Equal(got, old) {
			t.Error("it is not the copy that is served")
		}
		f.blobs.Inject(nil)
		time.Sleep(2 * probeEvery)
		edge.served(f, seenHost) // has it read again
		synctest.Wait()
		if got := edge.served(f, seenHost); bytes.Equal(got, old) {
			t.Error("the old certificate is served although the store answers")
		}
		time.Sleep(time.Minute)
		if !f.copied(toldHost) {
			t.Error("what was news before the start is not copied")
		}
	})
}

// TestCopies_SweepFindsWhatWasDeletedWithoutNews has a process away for so long
// that the news is gone.
func TestCopies_SweepFindsWhatWasDeletedWithoutNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newCopyFleet(t)
		other := f.other()
		for i := range 2*sweepPage + 5 {
			other.issue(f, fmt.Sprintf("n%d.example.com", i))
		}
		other.issue(f, seenHost)
		edge := f.edge()
		time.Sleep(time.Minute)
		edge.stop()
		if err := other.Drop(t.Context(), seenHost); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * newsLife)
		if err := other.store.clean(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		f.edge()
		time.Sleep(time.Hour)
		if f.copied(seenHost) || !f.copied("n0.example.com") {
			t.Error("the sweep did not do what it is for")
		}
	})
}

// TestCopies_SweepReadsEachOnceADay counts the reads of a process at rest.
func TestCopies_SweepReadsEachOnceADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newCopyFleet(t)
		const hosts, days = 20, 5
		other := f.other()
		for i := range hosts {
			other.issue(f, fmt.Sprintf("n%d.example.com", i))
		}
		f.edge()
		time.Sleep(2 * newsLife) // the first sweep is over, and the news is old
		var reads atomic.Int64
		f.blobs.Inject(storetest.On("Get", func(_ context.Context, _, key string, call func() error) error {
			if strings.HasPrefix(key, CopiedCertificates) {
				reads.Add(1)
			}
			return call()
		}))
		time.Sleep(days * 24 * time.Hour)
		if n := reads.Load(); n < hosts*(days-1) || n > hosts*days {
			t.Errorf("%d reads of %d certificates in %d days", n, hosts, days)
		}
	})
}

// TestCopies_NothingElseIsCopied looks at what is in the copy: nothing but
// what serves, and all that is secret in it sealed.
func TestCopies_NothingElseIsCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newCopyFleet(t)
		f.other().issue(f, seenHost)
		edge := f.edge()
		edge.served(f, seenHost)
		time.Sleep(time.Minute)
		edge.stop()
		keys, err := f.copy.List(t.Context(), "", "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			if !isCopied(key) && key != warmRecord {
				t.Errorf("%s is copied", key)
			}
			here, err := f.copy.Get(t.Context(), key)
			there, err2 := f.rows.Get(t.Context(), key)
			if key != warmRecord && (err != nil || err2 != nil || !bytes.Equal(here.Value, there.Value)) {
				t.Errorf("%s differs from the store: %v, %v", key, err, err2)
			}
		}
	})
}

// TestCopies_PendingIsBounded has a disk that hangs.
func TestCopies_PendingIsBounded(t *testing.T) {
	c := newCopies(&memory.Store{}, slog.New(slog.DiscardHandler))
	for i := range 3 * maxPending {
		c.keep(fmt.Sprintf("certs/n%d.example.com", i), []byte("x"))
	}
	if len(c.pending) != maxPending {
		t.Errorf("%d records wait", len(c.pending))
	}
	if err := c.flush(t.Context()); err != nil || len(c.pending) != 0 {
		t.Errorf("%d records are left, %v", len(c.pending), err)
	}
}

// TestWarm_MostVisitedAreLoadedAtTheStart restarts a process, and counts the
// reads that follow.
func TestWarm_MostVisitedAreLoadedAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newCopyFleet(t)
		other := f.other()
		const hosts = 300
		for i := range hosts {
			other.issue(f, fmt.Sprintf("n%d.example.com", i))
		}
		edge := f.edge()
		for minute := range 20 {
			for i := range hosts {
				if i%10 == 0 || minute < 2 && i%2 == 0 { // some often, more now and then
					edge.served(f, fmt.Sprintf("n%d.example.com", i))
				}
			}
			time.Sleep(time.Minute)
		}
		edge.stop()
		b, err := f.copy.Get(t.Context(), warmRecord)
		names := strings.Split(string(b.Value), "\n")
		if err != nil || len(names) != hosts/2 {
			t.Fatalf("%d names, %v", len(names), err)
		}
		for i, name := range names {
			if often := strings.HasSuffix(name, "0.example.com"); often != (i < hosts/10) {
				t.Errorf("%s is in place %d", name, i)
			}
		}
		if err := other.Drop(t.Context(), names[0]); err != nil {
			t.Fatal(err)
		}

		var reads atomic.Int64
		f.blobs.Inject(storetest.On("Get", func(_ context.Context, _, key string, call func() error) error {
			if strings.HasPrefix(key, CopiedCertificates) {
				reads.Add(1)
			}
			return call()
		}))
		time.Sleep(2 * newsLife) // no news is left to be read
		edge = f.edge()
		time.Sleep(time.Second)
		if n := reads.Load(); n > 2*warmRate {
			t.Errorf("%d reads in the first second", n)
		}
		time.Sleep(10 * time.Second)
		if n, _ := edge.cache.size(); n != hosts/2-1 {
			t.Errorf("%d certificates are loaded", n)
		}
		if f.orders.Load() != 0 {
			t.Error("an order was about to be placed for what is not there")
		}
	})
}
