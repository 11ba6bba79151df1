package tokens

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// fleet is a store, and a clock for those who share it.
type fleet struct {
	t     *testing.T
	blobs *storetest.FaultyBlobs
	mu    sync.Mutex
	now   time.Time
	ops   map[string]int // what was asked of the store
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{t: t, blobs: &storetest.FaultyBlobs{Blobs: &memory.Store{}}, now: time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC), ops: map[string]int{}}
	f.blobs.Inject(func(_ context.Context, op, _ string, do func() error) error {
		f.mu.Lock()
		f.ops[op]++
		f.mu.Unlock()
		return do()
	})
	return f
}

func (f *fleet) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fleet) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

// count returns how often op was asked of the store since the last count.
func (f *fleet) count(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.ops[op]
	f.ops[op] = 0
	return n
}

func (f *fleet) keeper() *Keeper {
	f.t.Helper()
	k, err := New(Config{Blobs: f.blobs, Now: f.clock})
	check(f.t, err)
	return k
}

func (f *fleet) create(k *Keeper, t shingle.Token) (string, shingle.Token) {
	f.t.Helper()
	text, made, err := k.CreateToken(f.t.Context(), t)
	check(f.t, err)
	return text, made
}

var (
	reader   = shingle.Token{Name: "ci", Role: shingle.RoleRead}
	somebody = netip.MustParseAddr("198.18.7.9")
)

func TestKeeper_TakesWhatItMade(t *testing.T) {
	f := newFleet(t)
	text, made := f.create(f.keeper(), shingle.Token{Name: "acme-panel", Role: shingle.RoleTenant, Tenant: "Acme:eu", ExpiresAt: f.now.Add(time.Hour)})
	k := f.keeper() // another process
	got, err := k.CheckToken(t.Context(), text, somebody)
	check(t, err)
	made.LastUsed = got.LastUsed
	if got != made {
		t.Errorf("got %+v, want %+v", got, made)
	}
	for _, wrong := range []string{text + "x", text[:len(text)-1], strings.Replace(text, made.ID, "aaaaaaaaaa", 1), "shingle_../x_y", ""} {
		if _, err := k.CheckToken(t.Context(), wrong, somebody); !errors.Is(err, shingle.ErrUnauthorized) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	f.advance(time.Hour)
	if _, err := k.CheckToken(t.Context(), text, somebody); !errors.Is(err, shingle.ErrUnauthorized) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired: %v", err)
	}
	keys, err := f.blobs.List(t.Context(), "", "", 10)
	check(t, err)
	for _, key := range keys {
		b, err := f.blobs.Get(t.Context(), key)
		check(t, err)
		if secret := text[strings.LastIndex(text, "_")+1:]; strings.Contains(key+string(b.Value), secret) {
			t.Errorf("%s holds the secret", key)
		}
	}
}

// refusedSince makes a token that both know, and has it refused by one at once and by the
// other soon after end has ended it.
func (f *fleet) refusedSince(here, there *Keeper, end func(k *Keeper, ctx context.Context, id string) error) shingle.Token {
	f.t.Helper()
	text, made := f.create(here, reader)
	for _, k := range []*Keeper{here, there} {
		_, err := k.CheckToken(f.t.Context(), text, somebody)
		check(f.t, err)
	}
	check(f.t, end(here, f.t.Context(), made.ID))
	if _, err := here.CheckToken(f.t.Context(), text, somebody); !errors.Is(err, shingle.ErrUnauthorized) {
		f.t.Errorf("here: %v", err)
	}
	f.advance(Fresh)
	if _, err := there.CheckToken(f.t.Context(), text, somebody); !errors.Is(err, shingle.ErrUnauthorized) {
		f.t.Errorf("there: %v", err)
	}
	return made
}

func TestKeeper_RevokedHereAtOnceAndElsewhereSoon(t *testing.T) {
	f := newFleet(t)
	here, there := f.keeper(), f.keeper()
	made := f.refusedSince(here, there, (*Keeper).DeleteToken)
	if err := here.DeleteToken(t.Context(), made.ID); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	f.create(here, reader) // the name is free again
}

// TestKeeper_ExpireTokenIsNoRevocation: it is refused everywhere, and stays on the list.
func TestKeeper_ExpireTokenIsNoRevocation(t *testing.T) {
	f := newFleet(t)
	here, there := f.keeper(), f.keeper()
	made := f.refusedSince(here, there, (*Keeper).ExpireToken)
	if is, err := here.Token(t.Context(), made.ID); err != nil || !is.Expired(f.now) {
		t.Errorf("%+v, %v", is, err)
	}
	if err := here.ExpireToken(t.Context(), "nobody"); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("one that is not there: %v", err)
	}
}

func TestKeeper_RevokedStaysSoWhenTheStoreIsAway(t *testing.T) {
	f := newFleet(t)
	k := f.keeper()
	text, _ := f.create(k, reader)
	_, err := k.CheckToken(t.Context(), text, somebody)
	check(t, err)
	f.blobs.Inject(func(context.Context, string, string, func() error) error { return errors.New("away") })
	_, err = k.CheckToken(t.Context(), text, somebody)
	check(t, err) // it was just read
	f.advance(Fresh)
	if _, err := k.CheckToken(t.Context(), text, somebody); !errors.Is(err, shingle.ErrUnavailable) {
		t.Errorf("what was revoked may not be taken for good: %v", err)
	}
}

func TestKeeper_GoodTokensCostAReadInAWhile(t *testing.T) {
	f := newFleet(t)
	k := f.keeper()
	text, _ := f.create(k, reader)
	f.count("Get")
	for range 10_000 {
		_, err := k.CheckToken(t.Context(), text, somebody)
		check(t, err)
	}
	if n := f.count("Get"); n != 1 {
		t.Errorf("%d reads", n)
	}
}

func TestKeeper_LastUseIsWrittenOnceAnHour(t *testing.T) {
	f := newFleet(t)
	text, made := f.create(f.keeper(), reader)
	f.count("Put")
	a, b := f.keeper(), f.keeper()
	for range 3 * 60 {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for _, k := range []*Keeper{a, b} {
					_, err := k.CheckToken(t.Context(), text, somebody)
					check(t, err)
				}
			})
		}
		all.Wait()
		f.advance(time.Minute)
	}
	if n := f.count("Put"); n < 3 || n > 6 { // of two processes that meet, one finds the record changed
		t.Errorf("%d writes in three hours", n)
	}
	got, err := a.Token(t.Context(), made.ID)
	check(t, err)
	if since := f.clock().Sub(got.LastUsed); since > time.Hour {
		t.Errorf("last use %s ago", since)
	}
}

// A last use that is written late must not bring back what was revoked.
func TestKeeper_UseDoesNotBringBack(t *testing.T) {
	f := newFleet(t)
	here, there := f.keeper(), f.keeper()
	text, made := f.create(here, reader)
	stop := make(chan struct{})
	reached := make(chan struct{})
	f.blobs.Inject(func(_ context.Context, op, _ string, do func() error) error {
		if op == "Put" {
			close(reached)
			<-stop
		}
		return do()
	})
	done := make(chan error)
	go func() {
		_, err := there.CheckToken(t.Context(), text, somebody)
		done <- err
	}()
	<-reached
	check(t, here.DeleteToken(t.Context(), made.ID))
	close(stop)
	check(t, <-done)
	f.advance(Fresh)
	if _, err := there.CheckToken(t.Context(), text, somebody); !errors.Is(err, shingle.ErrUnauthorized) {
		t.Errorf("it is back: %v", err)
	}
}

func TestKeeper_FloodOfGuesses(t *testing.T) {
	f := newFleet(t)
	k := f.keeper()
	good, made := f.create(k, reader)
	_, err := k.CheckToken(t.Context(), good, somebody)
	check(t, err)
	f.count("Get")
	wrong := func(i int) string { return fmt.Sprintf("shingle_%s%d_x", strings.Repeat("a", 9), i) }
	// One network is refused before its texts cost anything.
	limited := 0
	for i := range 1000 {
		if _, err := k.CheckToken(t.Context(), wrong(i), somebody); errors.Is(err, shingle.ErrLimited) {
			limited++
		}
	}
	if n := f.count("Get"); n > guessBurst || limited < 1000-guessBurst {
		t.Errorf("%d reads, %d refused", n, limited)
	}
	// So is one that tries secrets for an ID that it knows.
	if _, err := k.CheckToken(t.Context(), "shingle_"+made.ID+"_x", somebody); !errors.Is(err, shingle.ErrLimited) {
		t.Errorf("a guessed secret: %v", err)
	}
	// Many networks share a bound.
	for i := range 20_000 {
		a := netip.AddrFrom4([4]byte{100, byte(i >> 8), byte(i), 1})
		if _, err := k.CheckToken(t.Context(), wrong(1000+i), a); !errors.Is(err, shingle.ErrLimited) && !errors.Is(err, shingle.ErrUnauthorized) {
			t.Fatal(err)
		}
	}
	if n := f.count("Get"); n > readBurst {
		t.Errorf("%d reads", n)
	}
	// Whoever has proven a token goes on, from wherever, over its next reads too.
	for range 3 {
		_, err := k.CheckToken(t.Context(), good, somebody)
		check(t, err)
		f.mu.Lock()
		f.now = f.now.Add(Fresh)
		f.mu.Unlock()
		for i := range 200 { // the flood goes on
			_, _ = k.CheckToken(t.Context(), wrong(90_000+i), netip.Addr{})
		}
	}
}

// TestKeeper_ManyAtOnceAreNoGuesses has a page, or a script, begin with many calls at
// once at a process that has not seen the token yet.
func TestKeeper_ManyAtOnceAreNoGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		good, _ := f.create(f.keeper(), reader)
		var reads atomic.Int64
		f.blobs.Inject(func(_ context.Context, op, _ string, do func() error) error {
			if op == "Get" {
				reads.Add(1)
				time.Sleep(time.Second) // until all have come
			}
			return do()
		})
		k := f.keeper()
		var all sync.WaitGroup
		for range 2 * guessBurst {
			all.Go(func() {
				if _, err := k.CheckToken(t.Context(), good, somebody); err != nil {
					t.Error(err)
				}
			})
		}
		if all.Wait(); reads.Load() != 1 {
			t.Errorf("%d reads", reads.Load())
		}
	})
}

func TestKeeper_MemoryIsBounded(t *testing.T) {
	f := newFleet(t)
	k := f.keeper()
	text, made := f.create(k, reader)
	_, err := k.CheckToken(t.Context(), text, somebody)
	check(t, err)
	f.advance(2 * Fresh) // its owner does not come every second
	k.mu.Lock()
	for i := range 3 * maxKnown {
		k.remember(fmt.Sprint("id", i), known{at: f.clock()})
	}
	n, kept := len(k.known), k.known[made.ID].proven
	k.mu.Unlock()
	if n > maxKnown || !kept {
		t.Errorf("%d tokens in memory, the proven one among them: %t", n, kept)
	}
}

func TestKeeper_OneGetsTheName(t *testing.T) {
	f := newFleet(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 8 {
		k := f.keeper()
		all.Go(func() {
			_, _, err := k.CreateToken(t.Context(), reader)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made++
			case !errors.Is(err, shingle.ErrExists) && !errors.Is(err, shingle.ErrConflict):
				t.Error(err)
			}
		})
	}
	all.Wait()
	list, next, err := f.keeper().Tokens(t.Context(), "", 10)
	check(t, err)
	if made != 1 || len(list) != 1 || next != "" {
		t.Errorf("%d made, %d listed", made, len(list))
	}
}

// TestKeeper_AddedTokenIsAddedOnce adds a token that its owner has made, side by side and again.
func TestKeeper_AddedTokenIsAddedOnce(t *testing.T) {
	f := newFleet(t)
	text, token := shingle.NewToken(reader, f.clock())
	var all sync.WaitGroup
	for range 8 {
		k := f.keeper()
		all.Go(func() {
			if err := k.AddToken(t.Context(), token); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	k := f.keeper()
	if got, err := k.CheckToken(t.Context(), text, somebody); err != nil || got.Name != reader.Name || got.Role != reader.Role {
		t.Errorf("%+v, %v", got, err)
	}
	if list, _, err := k.Tokens(t.Context(), "", 10); err != nil || len(list) != 1 {
		t.Errorf("%d tokens, %v", len(list), err)
	}
	other := token
	other.Hash[0]++
	if err := k.AddToken(t.Context(), other); !errors.Is(err, shingle.ErrConflict) {
		t.Errorf("another with its ID: %v", err)
	}
	for _, bad := range []shingle.Token{{Name: "x", Role: shingle.RoleAdmin}, {Name: "x", Role: shingle.RoleAdmin, ID: "../x", Hash: token.Hash}, {Name: "x", ID: "abc", Hash: token.Hash}} {
		if err := k.AddToken(t.Context(), bad); !errors.Is(err, shingle.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestKeeper_ListsByPages(t *testing.T) {
	f := newFleet(t)
	k := f.keeper()
	want := map[string]bool{}
	for i := range 7 {
		_, made := f.create(k, shingle.Token{Name: fmt.Sprint("t", i), Role: shingle.RoleOperator})
		want[made.ID] = true
	}
	for after, more := "", true; more; more = after != "" {
		list, next, err := k.Tokens(t.Context(), after, 3)
		check(t, err)
		for _, x := range list {
			if !want[x.ID] {
				t.Errorf("%s twice or unknown", x.ID)
			}
			delete(want, x.ID)
		}
		after = next
	}
	if len(want) != 0 {
		t.Errorf("not listed: %v", want)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestKeeper_SweepRemovesWhatExpiredLongAgo(t *testing.T) {
	f := newFleet(t)
	k := f.keeper()
	f.create(k, shingle.Token{Name: "stays", Role: shingle.RoleRead})
	f.create(k, shingle.Token{Name: "late", Role: shingle.RoleRead, ExpiresAt: f.now.Add(2 * time.Hour)})
	_, old := f.create(k, shingle.Token{Name: "old", Role: shingle.RoleRead, ExpiresAt: f.now.Add(time.Hour)})
	f.advance(time.Hour + Kept)
	check(t, k.sweep(t.Context()))
	if _, err := k.Token(t.Context(), old.ID); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	keys, err := f.blobs.List(t.Context(), "", "", 10)
	check(t, err)
	if len(keys) != 4 {
		t.Errorf("left are %q", keys)
	}
}

// TestKeeper_RevokedWhileItIsRead has a token revoked between the read of another request
// and what becomes of that.
func TestKeeper_RevokedWhileItIsRead(t *testing.T) {
	for name, end := range map[string]func(*Keeper, context.Context, string) error{"revoked": (*Keeper).DeleteToken, "expired": (*Keeper).ExpireToken} {
		f := newFleet(t)
		k := f.keeper()
		text, made := f.create(k, reader)
		f.blobs.Inject(storetest.On("Get", storetest.Times(1, func(_ context.Context, _, _ string, call func() error) error {
			err := call()
			check(t, end(k, t.Context(), made.ID))
			return err
		})))
		_, _ = k.CheckToken(t.Context(), text, somebody)
		if _, err := k.CheckToken(t.Context(), text, somebody); !errors.Is(err, shingle.ErrUnauthorized) {
			t.Errorf("once it was %s: %v", name, err)
		}
	}
}

// TestKeeper_SweepGoesOnWhereItWas has the store go away again and again.
func TestKeeper_SweepGoesOnWhereItWas(t *testing.T) {
	f := newFleet(t)
	k := f.keeper()
	for i := range 3 * sweepPage {
		f.create(k, shingle.Token{Name: fmt.Sprint("old", i), Role: shingle.RoleRead, ExpiresAt: f.now.Add(time.Hour)})
	}
	f.advance(time.Hour + Kept)
	for range 3 {
		left := 0
		f.blobs.Inject(func(_ context.Context, op, _ string, call func() error) error {
			if op == "List" {
				if left++; left > 1 {
					return errors.New("away")
				}
			}
			return call()
		})
		if err := k.sweep(t.Context()); err == nil {
			t.Fatal("it did not see that the store is away")
		}
	}
	f.blobs.Inject(nil)
	check(t, k.sweep(t.Context()))
	if keys, err := f.blobs.List(t.Context(), "", "", 10); err != nil || len(keys) != 0 {
		t.Errorf("left are %q, %v", keys, err)
	}
}

// TestKeeper_RunSweepsOnceADay whoever leads.
func TestKeeper_RunSweepsOnceADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		k := f.keeper()
		k.now = time.Now
		f.create(k, shingle.Token{Name: "old", Role: shingle.RoleRead, ExpiresAt: time.Now().Add(time.Hour)})
		for range 3 { // as the function's scheduled calls do
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if err := k.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			cancel()
		}
		if n := f.count("List"); n != 1 {
			t.Errorf("%d lists of all tokens in three minutes", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), Kept+48*time.Hour)
		defer cancel()
		_ = k.Run(ctx)
		if keys, err := f.blobs.List(t.Context(), "", "", 10); err != nil || len(keys) != 0 {
			t.Errorf("left are %q, %v", keys, err)
		}
	})
}

func TestKeeper_NameOfARevokedTokenGoesWithIt(t *testing.T) {
	f := newFleet(t)
	k := f.keeper()
	_, first := f.create(k, reader)
	check(t, k.DeleteToken(t.Context(), first.ID))
	if keys, err := f.blobs.List(t.Context(), "", "", 10); err != nil || len(keys) != 0 {
		t.Errorf("left are %q, %v", keys, err)
	}
	_, second := f.create(k, reader)
	check(t, k.unname(t.Context(), &first)) // late, from a process that was slow
	if _, _, err := k.CreateToken(t.Context(), reader); !errors.Is(err, shingle.ErrExists) {
		t.Errorf("the name of %s was let go: %v", second.ID, err)
	}
}
