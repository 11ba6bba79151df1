package certs

import (
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// TestRewrap_KnowsEveryPlace fails when something is sealed where a rewrap does not
// look, or when the list of places has one in which nothing is ever sealed.
func TestRewrap_KnowsEveryPlace(t *testing.T) {
	s, m := newSafe(t)
	before := s.sealed()
	for record := range before {
		if !mayHold(m.store.keys.places, record) {
			t.Errorf("%s has a sealed value", record)
		}
	}
	for _, p := range m.store.keys.places {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(before)), p.has) {
			t.Errorf("nothing is sealed in %s", p.Key)
		}
	}
	total := s.rewrap(m, shingle.Rewrap{Deep: true})
	after := s.sealed()
	for record, id := range before {
		if after[record] == id {
			t.Errorf("%s was not sealed anew", record)
		}
	}
	if want := map[string]int{"account key": 1, "certificates": 1, "delegation secret": 1, "orders": 1, "ticket keys": 1, "webhook secrets": 1}; !maps.Equal(total.Changed, want) || total.Failed != 0 {
		t.Errorf("%+v", total)
	}
	s.opens()
}

func TestRewrap_FreesTheOldMasterKey(t *testing.T) {
	s, m := newSafe(t)
	old := s.rotate(m)
	current, err := m.cfg.MasterKey.Current(t.Context())
	s.check(err)
	s.uses(m, shingle.MasterKeyUse{ID: old, DataKeys: 1}, shingle.MasterKeyUse{ID: current, Current: true})
	before := s.sealed()

	if dry := s.rewrap(m, shingle.Rewrap{DryRun: true}); !maps.Equal(dry.Changed, map[string]int{"data keys": 1}) {
		t.Errorf("dry run: %+v", dry)
	}
	s.uses(m, shingle.MasterKeyUse{ID: old, DataKeys: 1}, shingle.MasterKeyUse{ID: current, Current: true})
	if total := s.rewrap(m, shingle.Rewrap{}); !maps.Equal(total.Changed, map[string]int{"data keys": 1}) {
		t.Errorf("%+v", total)
	}
	s.uses(m, shingle.MasterKeyUse{ID: current, Current: true, DataKeys: 1})
	if again := s.rewrap(m, shingle.Rewrap{}); len(again.Changed) != 0 || again.Looked != 1 {
		t.Errorf("again: %+v", again)
	}
	if !maps.Equal(before, s.sealed()) {
		t.Error("more than the data keys was changed")
	}
	s.check(os.Remove(s.old))
	s.opens()
}

// TestRewrap_IsGoneOnWith breaks a deep rewrap off at each of its writes in turn,
// as the death of the process would, and goes on with it in another one.
func TestRewrap_IsGoneOnWith(t *testing.T) {
	s, _ := newSafe(t)
	var writes atomic.Int64
	s.blobs.put(func(key string, write func() (string, error)) (string, error) {
		if mayHold((&Config{Sealed: s.cfg.Sealed}).sealedPlaces(), key) {
			if writes.Add(1)%2 == 0 {
				return "", errStore
			}
		}
		return write()
	})
	before := s.sealed()
	changed, broken := 0, 0
	for r, m := (shingle.Rewrap{Deep: true}), s.start(); ; {
		page, err := m.Rewrap(t.Context(), r)
		for _, n := range page.Changed {
			changed += n
		}
		if err != nil {
			broken++
			r.After, m = "", s.start() // another process, which begins at the beginning
			if broken > 20 {
				t.Fatal(err)
			}
			continue
		}
		if r.After = page.Next; page.Next == "" {
			break
		}
	}
	if changed != len(before) || broken < 2 || writes.Load() != int64(changed+broken) {
		t.Errorf("%d records, %d changed in %d writes, broken off %d times", len(before), changed, writes.Load(), broken)
	}
	s.opens()
	// The next one is another rewrap, and no data key was made for nothing.
	if total := s.rewrap(s.start(), shingle.Rewrap{Deep: true, DryRun: true}); total.Changed["certificates"] != 1 {
		t.Errorf("%+v", total)
	}
	keys, err := s.blobs.List(t.Context(), dataKeyRecord(dataKeyPrefix), "", 100)
	if err != nil || len(keys) != 2 {
		t.Errorf("data keys %q, %v", keys, err)
	}
}

// TestRewrap_BegunByAClockThatIsAhead must not make a data key for each record.
func TestRewrap_BegunByAClockThatIsAhead(t *testing.T) {
	s, m := newSafe(t)
	s.write(m, rewrapRecord, deepRewrap{Began: s.now().Add(time.Hour).Truncate(time.Microsecond)})
	s.rewrap(m, shingle.Rewrap{Deep: true})
	if keys, err := s.blobs.List(t.Context(), dataKeyRecord(dataKeyPrefix), "", 100); err != nil || len(keys) != 2 {
		t.Errorf("data keys %q, %v", keys, err)
	}
}

// TestRewrap_BesideARenewal has a certificate sealed anew between when its renewal
// read it and when it stores the next: the renewal must not be lost.
func TestRewrap_BesideARenewal(t *testing.T) {
	s, m := newSafe(t)
	old := must(t, m, testHost).Leaf.SerialNumber
	var done atomic.Bool
	s.blobs.put(func(key string, write func() (string, error)) (string, error) {
		if key == certKey(testHost) && s.ca.orders.Load() == 2 && done.CompareAndSwap(false, true) {
			s.rewrap(m, shingle.Rewrap{Deep: true})
		}
		return write()
	})
	s.check(m.Renew(t.Context(), testHost))
	f, err := m.begin(testHost, s.now())
	s.check(err)
	_, err = f.wait(t.Context())
	s.check(err)
	landed(m, testHost)
	e, _, err := m.load(t.Context(), testHost)
	s.check(err)
	if got := withLeaf(t, &e.cert).Leaf.SerialNumber; got.Cmp(old) == 0 {
		t.Error("the new certificate was thrown away")
	}
	wantOrders(t, s.ca, 2)
}

func TestRewrap_OneAtATime(t *testing.T) {
	s, m := newSafe(t)
	other := s.start()
	held, err := other.leases.try(t.Context(), rewrapLease)
	s.check(err)
	if _, err := m.Rewrap(t.Context(), shingle.Rewrap{}); shingle.CodeOf(err) != shingle.CodeUnavailable || !strings.Contains(err.Error(), "another process") {
		t.Errorf("beside another: %v", err)
	}
	if _, err := m.Rewrap(t.Context(), shingle.Rewrap{DryRun: true}); err != nil {
		t.Errorf("a dry run beside another: %v", err)
	}
	held.release(t.Context())
	s.rewrap(m, shingle.Rewrap{})
}

func TestRewrap_RefusesWhatMakesNoSense(t *testing.T) {
	s, m := newSafe(t)
	current, err := m.cfg.MasterKey.Current(t.Context())
	s.check(err)
	for name, x := range map[string]struct {
		r    shingle.Rewrap
		code shingle.Code
	}{
		"a cursor of another's": {shingle.Rewrap{After: "!"}, shingle.CodeInvalid},
		"two things":            {shingle.Rewrap{Deep: true, Lost: "file-1"}, shingle.CodeInvalid},
		"an unknown key":        {shingle.Rewrap{Lost: "file-1"}, shingle.CodeNotFound},
		"a key that is there":   {shingle.Rewrap{Lost: current}, shingle.CodeNotFound},
	} {
		if name == "a key that is there" {
			m, x.code = s.start(), shingle.CodeInvalid // which has nothing in memory
		}
		if _, err := m.Rewrap(t.Context(), x.r); shingle.CodeOf(err) != x.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(s.sealed()) != 6 {
		t.Error("something was dropped")
	}
}
