package check

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// isListed checks that the index of statuses has exactly what the status of host is, or
// soon will: a keeper that runs may be about to write.
func (h *household) isListed(k *Keeper, host string) {
	h.t.Helper()
	if err := k.index(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	var s shingle.Status
	var found []shingle.ListedStatus
	good := func() (err error) {
		if s, err = k.Status(h.t.Context(), host); err != nil {
			return err
		}
		found = h.listed(host)
		if s.State == shingle.StateRemoved && len(found) == 0 || len(found) == 1 && found[0].Is(&s) {
			return nil
		}
		return fmt.Errorf("%s is %s, %s since %s, and listed as %+v", host, s.State, s.Who, s.Changed, found)
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	err := good()
	for deadline := time.Now().Add(time.Minute); err != nil && time.Now().Before(deadline); err = good() {
		<-tick.C
	}
	if err != nil {
		h.t.Error(err)
	}
}

// listed returns the entries of host in the index.
func (h *household) listed(host string) (found []shingle.ListedStatus) {
	h.t.Helper()
	for _, state := range shingle.States {
		for _, who := range shingle.Whos {
			list, err := NewListed(h.blobs, nil).Listed(h.t.Context(), shingle.StatusKind{State: state, Who: who}, shingle.ListedStatus{}, 1000)
			if err != nil {
				h.t.Fatal(err)
			}
			for _, l := range list {
				if l.Host == host {
					found = append(found, l)
				}
			}
		}
	}
	return found
}

func TestListed_FollowsADomainThroughItsLife(t *testing.T) {
	h := newHousehold(t)
	k := h.keeper()
	h.look(keptHost, pointed)
	h.run(k)
	d := h.add(keptHost, "acme:eu")
	h.until(k, keptHost, "issuing", in(shingle.StateIssuing))
	listed := func() {
		t.Helper()
		h.settled(func() bool { return h.count(listedPrefix) == 1 })
		h.isListed(k, keptHost)
	}
	listed()
	h.look(keptHost, served(h.now().Add(90*24*time.Hour)))
	for h.ahead.Load() < int64(24*time.Hour) && !in(shingle.StateActive)(h.until(k, keptHost, "a status", func(shingle.Status) bool { return true })) {
		h.ahead.Add(int64(time.Minute))
		_, _, err := k.CheckNow(t.Context(), keptHost)
		if err != nil {
			t.Fatal(err)
		}
	}
	listed()
	d.Tenant = "rival"
	d, err := h.store.UpdateDomain(t.Context(), d, h.now())
	if err != nil {
		t.Fatal(err)
	}
	h.until(k, keptHost, "its new tenant's", func(s shingle.Status) bool { return s.Tenant == "rival" })
	listed()
	if err := h.store.DeleteDomain(t.Context(), keptHost, d.Version, "", h.now()); err != nil {
		t.Fatal(err)
	}
	h.until(k, keptHost, "removed", in(shingle.StateRemoved))
	h.settled(func() bool { return h.count(listedPrefix) == 0 })
}

// TestListed_ManyCheckersAtOnce has many write the status of one domain.
func TestListed_ManyCheckersAtOnce(t *testing.T) {
	h := newHousehold(t)
	h.look(keptHost, pointed)
	h.add(keptHost, "acme")
	k := h.keeper()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if i == 4 {
				h.look(keptHost, served(h.now().Add(90*24*time.Hour)))
			}
			for range 5 {
				if _, _, err := k.CheckNow(t.Context(), keptHost); err != nil && shingle.CodeOf(err) != shingle.CodeConflict {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := h.count(listedPrefix); n != 1 {
		t.Errorf("%d entries", n)
	}
	h.isListed(k, keptHost)
}

// TestListed_NewestChangeFirst reads page by page, with changes of one moment.
func TestListed_NewestChangeFirst(t *testing.T) {
	h := newHousehold(t)
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for i := range 30 {
		s := shingle.Status{Host: fmt.Sprintf("h%02d.example.com", i), State: shingle.StatePending, Who: shingle.WhoCustomer, Changed: at.Add(time.Duration(i/4) * time.Microsecond)}
		if _, err := h.blobs.Put(t.Context(), listedKey(&s), nil, shingle.NoVersion); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.keeper().index(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{1, 3, 1000} {
		seen, last := map[string]bool{}, shingle.ListedStatus{}
		for {
			list, err := NewListed(h.blobs, nil).Listed(t.Context(), shingle.StatusKind{State: shingle.StatePending, Who: shingle.WhoCustomer}, last, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range list {
				if seen[l.Host] || last.Host != "" && l.Changed.After(last.Changed) {
					t.Errorf("%+v after %+v", l, last)
				}
				seen[l.Host], last = true, l
			}
			if len(list) < limit {
				break
			}
		}
		if len(seen) != 30 {
			t.Errorf("%d at a time: %d", limit, len(seen))
		}
	}
}

// TestListed_TakesInStatusesOfBefore has an installation whose statuses were written before
// there was an index, and a process that dies while it makes one.
func TestListed_TakesInStatusesOfBefore(t *testing.T) {
	h := newHousehold(t)
	k := h.keeper()
	const domains = indexPage + 10
	h.look(keptHost, pointed)
	for i := range domains {
		host := fmt.Sprintf("old%03d.customer.com", i)
		h.add(host, "acme")
		s := shingle.Status{Host: host, Tenant: "acme", State: shingle.StateBlocked, Who: shingle.WhoOperator, Changed: h.now()}
		if _, err := k.records.Put(t.Context(), statusKey(host), entry{Status: s, Seq: 1}, shingle.NoVersion); err != nil {
			t.Fatal(err)
		}
	}
	index := NewListed(h.blobs, nil)
	blocked := shingle.StatusKind{State: shingle.StateBlocked, Who: shingle.WhoOperator}
	if _, err := index.Listed(t.Context(), blocked, shingle.ListedStatus{}, 10); shingle.CodeOf(err) != shingle.CodeUnavailable {
		t.Errorf("half an index answered: %v", err)
	}
	h.blobs.Inject(func(_ context.Context, op, key string, call func() error) error {
		if op == "Put" && strings.Contains(key, fmt.Sprintf("old%03d", indexPage+5)) {
			return errors.New("the process is dead")
		}
		return call()
	})
	if err := k.index(t.Context()); err == nil {
		t.Error("it did not die")
	}
	h.blobs.Inject(nil)
	k = h.keeper()
	if err := k.index(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := index.Listed(t.Context(), blocked, shingle.ListedStatus{}, 1000)
	hosts := map[string]bool{}
	for _, l := range list {
		hosts[l.Host] = true
	}
	// Those whose turn it was at the death may have two entries, until their marks are due.
	if err != nil || len(hosts) != domains || len(list) > domains+indexWriters {
		t.Errorf("%d entries of %d hosts, want %d, %v", len(list), len(hosts), domains, err)
	}
	if marks := h.count(duePrefix); marks < len(list)-domains {
		t.Errorf("%d entries too many, and %d marks of them", len(list)-domains, marks)
	}
}

// TestListed_LostRaceLeavesNothing has another process write a status between the new entry
// and the status that was to name it.
func TestListed_LostRaceLeavesNothing(t *testing.T) {
	h := newHousehold(t)
	h.look(keptHost, pointed)
	h.add(keptHost, "acme")
	k := h.keeper()
	if _, _, err := k.CheckNow(t.Context(), keptHost); err != nil {
		t.Fatal(err)
	}
	h.look(keptHost, served(h.now().Add(90*24*time.Hour)))
	lost := false
	h.blobs.Inject(func(ctx context.Context, op, key string, call func() error) error {
		if op == "Put" && strings.HasPrefix(key, statusPrefix) && !lost {
			lost = true
			b, err := h.store.Get(ctx, key)
			if err == nil {
				_, err = h.store.Put(ctx, key, b.Value, b.Version)
			}
			if err != nil {
				t.Error(err)
			}
		}
		return call()
	})
	if _, _, err := k.CheckNow(t.Context(), keptHost); err != nil {
		t.Fatal(err)
	}
	if n := h.count(listedPrefix); !lost || n != 1 {
		t.Errorf("%d entries", n)
	}
	h.isListed(k, keptHost)
}
