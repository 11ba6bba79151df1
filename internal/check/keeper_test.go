package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

func TestKeeper_FollowsADomainThroughItsLife(t *testing.T) {
	h := newHousehold(t)
	h.look(keptHost, nowhere)
	h.add(keptHost, "acme")
	k := h.keeper()
	h.run(k)
	s := h.until(k, keptHost, "pending", func(s shingle.Status) bool { return s.Reason == shingle.ReasonNoRecord })
	if s.Who != shingle.WhoCustomer || s.MayIssue() == nil || h.ready[keptHost] != 0 {
		t.Errorf("%+v, ready %d times", s, h.ready[keptHost])
	}
	h.look(keptHost, pointed)
	h.ahead.Add(int64(time.Minute))
	h.until(k, keptHost, "issuing", in(shingle.StateIssuing))
	h.look(keptHost, served(h.now().Add(90*24*time.Hour)))
	h.ahead.Add(int64(time.Minute))
	s = h.until(k, keptHost, "active", in(shingle.StateActive))
	if wait := s.Next.Sub(h.now()); wait < 12*time.Hour-time.Minute || wait > shingle.MaxCheck {
		t.Errorf("the next check is in %s", wait)
	}
	h.mu.Lock()
	if h.ready[keptHost] == 0 {
		t.Error("nobody was told that it may have a certificate")
	}
	h.mu.Unlock()
	h.look(keptHost, nowhere)
	h.ahead.Add(int64(36 * time.Hour))
	h.until(k, keptHost, "drifting", in(shingle.StateDrifting))
	h.ahead.Add(int64(8 * 24 * time.Hour))
	h.until(k, keptHost, "paused", in(shingle.StatePaused))
	h.look(keptHost, served(h.now().Add(90*24*time.Hour)))
	h.ahead.Add(int64(36 * time.Hour))
	h.until(k, keptHost, "back", in(shingle.StateActive))
	if got, want := h.told(keptHost), []string{"pending", "pending", "issuing", "active", "drifting", "paused", "active"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

func TestKeeper_RemovedNameNeedsProofOfItsNextTenant(t *testing.T) {
	h := newHousehold(t)
	h.look(keptHost, served(h.now().Add(90*24*time.Hour)))
	d := h.add(keptHost, "acme")
	k := h.keeper()
	h.run(k)
	h.until(k, keptHost, "active", in(shingle.StateActive))
	if err := h.store.DeleteDomain(t.Context(), keptHost, d.Version, "", h.now()); err != nil {
		t.Fatal(err)
	}
	h.until(k, keptHost, "removed", in(shingle.StateRemoved))

	// The record of the old tenant is still there, and so is a certificate.
	d = h.add(keptHost, "mallory")
	s := h.until(k, keptHost, "verifying", in(shingle.StateVerifying))
	if s.Reason != shingle.ReasonProofNeeded || s.MayIssue() == nil {
		t.Errorf("%+v", s)
	}
	proven := pointed
	proven.DNS.Proven = true
	h.look(keptHost, proven)
	h.ahead.Add(int64(time.Minute))
	h.until(k, keptHost, "proven", func(s shingle.Status) bool { return s.MayIssue() == nil })

	if err := h.store.DeleteDomain(t.Context(), keptHost, d.Version, "", h.now()); err != nil {
		t.Fatal(err)
	}
	h.until(k, keptHost, "removed", in(shingle.StateRemoved))
	h.ahead.Add(int64(31 * 24 * time.Hour))
	h.settled(func() bool {
		_, err := k.Status(t.Context(), keptHost)
		return errors.Is(err, shingle.ErrNotFound) && h.count(duePrefix) == 0
	})
}

func TestKeeper_BlockedAndUnblockedAtOnce(t *testing.T) {
	h := newHousehold(t)
	h.look(keptHost, served(h.now().Add(90*24*time.Hour)))
	d := h.add(keptHost, "acme")
	k := h.keeper()
	h.run(k)
	h.until(k, keptHost, "active", in(shingle.StateActive))
	for _, paused := range []bool{true, false} {
		d.Paused = paused
		var err error
		if d, err = h.store.UpdateDomain(t.Context(), d, h.now()); err != nil {
			t.Fatal(err)
		}
		want := shingle.StateActive
		if paused {
			want = shingle.StateBlocked
		}
		h.until(k, keptHost, string(want), in(want))
	}
}

// TestKeeper_CrashLosesNoDomain stops a keeper at each of its calls of the store,
// before and after it, and has another go on.
func TestKeeper_CrashLosesNoDomain(t *testing.T) {
	crashed := errors.New("the process is dead")
	for _, after := range []bool{false, true} {
		for at := range 25 {
			h := newHousehold(t)
			h.look(keptHost, pointed)
			h.add(keptHost, "acme")
			var calls atomic.Int64
			h.blobs.Inject(func(_ context.Context, _, _ string, call func() error) error {
				n := calls.Add(1)
				if n <= int64(at) {
					return call()
				}
				if n == int64(at)+1 && after {
					_ = call()
				}
				return crashed
			})
			stop := h.run(h.keeper())
			h.settled(func() bool { return calls.Load() > int64(at) })
			stop()
			h.blobs.Inject(nil)
			h.ahead.Add(int64(2 * time.Minute))
			k := h.keeper()
			h.run(k)
			h.until(k, keptHost, "issuing", in(shingle.StateIssuing))
			h.settled(func() bool {
				h.ahead.Add(int64(time.Minute))
				return h.count(duePrefix) == 1 && h.count(listedPrefix) == 1
			})
			h.isListed(k, keptHost)
		}
	}
}

// TestKeeper_CostsWhatIsDue has many domains that are well: to look after them
// costs nothing until their time comes.
func TestKeeper_CostsWhatIsDue(t *testing.T) {
	h := newHousehold(t)
	const domains = 300
	for i := range domains {
		host := fmt.Sprintf("n%d.customer.com", i)
		h.look(host, served(h.now().Add(90*24*time.Hour)))
		h.add(host, "acme")
	}
	k := h.keeper()
	h.run(k)
	for i := range domains {
		h.until(k, fmt.Sprintf("n%d.customer.com", i), "active", in(shingle.StateActive))
	}
	var ops, looks atomic.Int64
	h.blobs.Inject(func(_ context.Context, op, key string, call func() error) error {
		ops.Add(1)
		if op == "List" && key == duePrefix {
			looks.Add(1)
		}
		return call()
	})
	h.settled(func() bool { return looks.Load() >= 20 })
	if n, l := ops.Load(), looks.Load(); n > 2*l+2 {
		t.Errorf("%d calls of the store in %d looks at nothing", n, l)
	}
	h.mu.Lock()
	before := sum(h.checks)
	h.mu.Unlock()
	h.ahead.Add(int64(36 * time.Hour))
	h.settled(func() bool { h.mu.Lock(); defer h.mu.Unlock(); return sum(h.checks) >= before+domains })
}

func sum(m map[string]int) (n int) {
	for _, x := range m {
		n += x
	}
	return n
}

// TestKeeper_StalledWriterLosesNoDomain has a check stand still between making its
// entry in the index and writing its status, until another process has taken the
// entry for one that a crash left.
func TestKeeper_StalledWriterLosesNoDomain(t *testing.T) {
	h := newHousehold(t)
	h.look(keptHost, served(h.now().Add(90*24*time.Hour)))
	h.add(keptHost, "acme")
	k := h.keeper()
	if _, _, err := k.CheckNow(t.Context(), keptHost); err != nil {
		t.Fatal(err)
	}
	h.look(keptHost, nowhere) // it drifts: the next check is soon
	stalled, release := make(chan struct{}), make(chan struct{})
	h.blobs.Inject(storetest.On("Put", storetest.Times(3, func(_ context.Context, _, key string, call func() error) error {
		if strings.HasPrefix(key, statusPrefix) {
			close(stalled)
			<-release
		}
		return call()
	})))
	done := make(chan error, 1)
	go func() { _, _, err := k.CheckNow(t.Context(), keptHost); done <- err }()
	<-stalled
	if h.count(duePrefix) != 2 {
		t.Fatalf("%d entries while it stalls", h.count(duePrefix))
	}
	h.ahead.Add(int64(5 * time.Minute))
	stop := h.run(h.keeper())
	h.settled(func() bool { return h.count(duePrefix) == 1 })
	stop()
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	e, _, err := k.entry(t.Context(), keptHost)
	if err != nil || e.State != shingle.StateDrifting {
		t.Fatalf("%+v, %v", e, err)
	}
	if _, err := h.store.Get(t.Context(), e.Due); err != nil {
		t.Errorf("it is never checked again: %s, %v", e.Due, err)
	}
	h.isListed(k, keptHost)
}

// TestKeeper_CheckSoonIsAtOnce has a domain that is well checked long before its time.
func TestKeeper_CheckSoonIsAtOnce(t *testing.T) {
	h := newHousehold(t)
	h.look(keptHost, served(h.now().Add(90*24*time.Hour)))
	k := h.keeper()
	if err := k.CheckSoon(t.Context(), keptHost); err != nil {
		t.Errorf("of a domain that it has not heard of: %v", err)
	}
	h.add(keptHost, "acme")
	h.run(k)
	first := h.until(k, keptHost, "active", in(shingle.StateActive))
	if first.Next.Sub(h.now()) < time.Hour {
		t.Fatalf("it is due at %s anyway", first.Next)
	}
	if err := k.CheckSoon(t.Context(), keptHost); err != nil {
		t.Fatal(err)
	}
	h.until(k, keptHost, "checked again", func(s shingle.Status) bool { return s.Checked.After(first.Checked) })
}

// TestKeeper_ChangeDuringACheck changes a domain while it is looked at: what is found then
// is about a domain that is no more.
func TestKeeper_ChangeDuringACheck(t *testing.T) {
	for name, x := range map[string]struct {
		change func(h *household, d shingle.Domain) error
		want   shingle.State
	}{
		"deleted": {func(h *household, d shingle.Domain) error {
			return h.store.DeleteDomain(h.t.Context(), d.Host, d.Version, "", h.now())
		}, shingle.StateRemoved},
		"paused": {func(h *household, d shingle.Domain) error {
			d.Paused = true
			_, err := h.store.UpdateDomain(h.t.Context(), d, h.now())
			return err
		}, shingle.StateBlocked},
		"given to another": {func(h *household, d shingle.Domain) error {
			d.Tenant = "mallory"
			_, err := h.store.UpdateDomain(h.t.Context(), d, h.now())
			return err
		}, shingle.StateVerifying},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHousehold(t)
			h.look(keptHost, served(h.now().Add(90*24*time.Hour)))
			d := h.add(keptHost, "acme")
			k := h.keeper()
			h.run(k)
			h.until(k, keptHost, "active", in(shingle.StateActive))
			looked, found := make(chan struct{}), make(chan struct{})
			check := h.cfg.Check
			h.cfg.Check = func(ctx context.Context, d shingle.Domain, how Look) (shingle.CheckResult, error) {
				close(looked)
				<-found
				return check(ctx, d, how)
			}
			slow := h.keeper()
			done := make(chan error)
			go func() { _, _, err := slow.CheckNow(t.Context(), keptHost); done <- err }()
			<-looked
			if err := x.change(h, d); err != nil {
				t.Fatal(err)
			}
			h.until(k, keptHost, name, in(x.want))
			told, ready := len(h.told(keptHost)), h.readied(keptHost)
			close(found)
			if err := <-done; (err != nil) != (x.want == shingle.StateRemoved) || err != nil && !errors.Is(err, shingle.ErrNotFound) {
				t.Error(err)
			}
			s := h.until(k, keptHost, name, in(x.want))
			if now := h.told(keptHost); len(now) != told || s.Tenant == "acme" && x.want == shingle.StateVerifying {
				t.Errorf("told %q; %+v", now, s)
			}
			if x.want == shingle.StateRemoved && h.readied(keptHost) != ready {
				t.Error("a certificate was asked for")
			}
		})
	}
}

// TestKeeper_ChangeOfTheSameSecond pauses a domain in the second in which a check of it was
// due, while that is under way.
func TestKeeper_ChangeOfTheSameSecond(t *testing.T) {
	h := newHousehold(t)
	var frozen atomic.Int64
	h.cfg.Now = func() time.Time { return time.Unix(frozen.Load(), 500_000_000) }
	frozen.Store(time.Now().Unix())
	h.look(keptHost, served(h.now().Add(90*24*time.Hour)))
	looked, found := make(chan struct{}, 10), make(chan struct{})
	check := h.cfg.Check
	h.cfg.Check = func(ctx context.Context, d shingle.Domain, how Look) (shingle.CheckResult, error) {
		looked <- struct{}{}
		<-found
		return check(ctx, d, how)
	}
	d := h.add(keptHost, "acme")
	k := h.keeper()
	h.run(k)
	<-looked
	d.Paused = true
	if _, err := h.store.UpdateDomain(t.Context(), d, h.now()); err != nil {
		t.Fatal(err)
	}
	h.settled(func() bool { // the keeper has taken it in
		p := struct{ Cursor shingle.Cursor }{}
		_, err := k.records.Get(t.Context(), FeedPosition, &p)
		head, headErr := h.store.Head(t.Context())
		return err == nil && headErr == nil && p.Cursor == head
	})
	close(found)
	frozen.Add(2)
	h.until(k, keptHost, "blocked", in(shingle.StateBlocked))
}
