package certs

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/keyfile"
)

// nowhere is a zone in which nothing is published.
type nowhere struct{}

func (nowhere) Name() string                                    { return "acme.operator.example" }
func (nowhere) Delegated(context.Context, string, string) error { return shingle.ErrInvalid }
func (nowhere) Publish(context.Context, string, string) error   { return shingle.ErrUnavailable }
func (nowhere) Withdraw(context.Context, string, string) error  { return nil }

// safe is a fixture with something sealed in every place.
type safe struct {
	*fixture
	old string // the file of the first master key
}

const (
	webhookRecord = "webhooks/abc"
	orderHost     = "other.customer.example"
)

func newSafe(t *testing.T) (*safe, *Manager) {
	s := &safe{fixture: newFixture(t)}
	s.old = s.keyFile
	s.cfg.DNS01 = nowhere{}
	s.cfg.Sealed = []SealedPlace{{Kind: "webhook secrets", Key: "webhooks/", Field: "secrets"}}
	m := s.start()
	key := must(t, m, testHost).PrivateKey
	landed(m, testHost)
	if _, err := m.Delegation(t.Context(), testHost, "acme"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	m.FollowTicketKeys(ctx, func([][32]byte) { cancel() })
	sealed, err := m.store.sealKey(t.Context(), key.(crypto.Signer), journalKey(orderHost))
	s.check(err)
	s.write(m, journalKey(orderHost), pendingOrder{Key: sealed, Order: "https://ca.example/order/1"})
	secret, err := m.Seal(t.Context(), []byte("hush"), webhookRecord)
	s.check(err)
	s.write(m, webhookRecord, map[string]any{"secrets": secret, "webhook": map[string]any{"url": "https://a.example/?a&b<c>"}})
	return s, m
}

func (s *safe) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *safe) write(m *Manager, key string, v any) {
	s.t.Helper()
	_, err := m.store.put(s.t.Context(), key, v, shingle.NoVersion)
	s.check(err)
}

// rotate makes the next master key and returns the ID of the one before.
func (s *safe) rotate(m *Manager) (before string) {
	s.t.Helper()
	before, err := m.cfg.MasterKey.Current(s.t.Context())
	s.check(err)
	_, _, err = keyfile.Next(s.keyFile)
	s.check(err)
	return before
}

// rewrap goes through all steps, and returns what they did.
func (s *safe) rewrap(m *Manager, r shingle.Rewrap) (total shingle.RewrapPage) {
	s.t.Helper()
	total.Changed = map[string]int{}
	for {
		page, err := m.Rewrap(s.t.Context(), r)
		s.check(err)
		total.Looked, total.Failed = total.Looked+page.Looked, total.Failed+page.Failed
		total.Wait += page.Wait
		total.Failures = append(total.Failures, page.Failures...)
		for kind, n := range page.Changed {
			total.Changed[kind] += n
		}
		if r.After = page.Next; page.Next == "" {
			return total
		}
	}
}

// sealed finds all values in the store that look sealed, by their records, but for
// the data keys.
func (s *safe) sealed() map[string]string {
	s.t.Helper()
	found := map[string]string{}
	keys, err := s.blobs.List(s.t.Context(), "", "", 1000)
	s.check(err)
	for _, key := range keys {
		b, err := s.blobs.Blobs.Get(s.t.Context(), key)
		s.check(err)
		for _, id := range sealedIn(b.Value) {
			if !strings.HasPrefix(key, keysPrefix) {
				found[key] = id
			}
		}
	}
	return found
}

// sealedIn returns the key IDs of what looks sealed in a value, however deep.
func sealedIn(value []byte) (ids []string) {
	var v any
	if json.Unmarshal(value, &v) != nil {
		return nil
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if id, ok := v["key_id"].(string); ok {
				ids = append(ids, id)
			}
			for _, member := range v {
				walk(member)
			}
		case []any:
			for _, member := range v {
				walk(member)
			}
		case string:
			if inner, err := base64.StdEncoding.DecodeString(v); err == nil {
				ids = append(ids, sealedIn(inner)...)
			}
		}
	}
	walk(v)
	return ids
}

// opens fails unless everything can be opened by a process that starts now.
func (s *safe) opens() {
	s.t.Helper()
	m := s.start()
	ctx := s.t.Context()
	_, _, err := m.load(ctx, testHost)
	s.check(err)
	_, err = m.keys.read(ctx)
	s.check(err)
	_, err = m.delegations.read(ctx)
	s.check(err)
	s.check((&ticketFollower{m: m}).read(ctx))
	var order pendingOrder
	_, err = m.store.get(ctx, journalKey(orderHost), &order)
	s.check(err)
	_, err = m.store.openKey(ctx, order.Key, journalKey(orderHost))
	s.check(err)
	var hook struct {
		Secrets []byte
		Webhook struct{ URL string }
	}
	_, err = m.store.get(ctx, webhookRecord, &hook)
	s.check(err)
	if plain, err := m.Open(ctx, hook.Secrets, webhookRecord); err != nil || string(plain) != "hush" || hook.Webhook.URL != "https://a.example/?a&b<c>" {
		s.t.Errorf("%q, %+v, %v", plain, hook, err)
	}
}

func (s *safe) uses(m *Manager, want ...shingle.MasterKeyUse) {
	s.t.Helper()
	list, err := m.MasterKeys(s.t.Context())
	s.check(err)
	slices.SortFunc(want, func(a, b shingle.MasterKeyUse) int { return strings.Compare(a.ID, b.ID) })
	for i := range list {
		if list[i].Problem != "" {
			list[i].Problem = "?"
		}
	}
	if !slices.Equal(list, want) {
		s.t.Errorf("master keys %+v, want %+v", list, want)
	}
}

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

// lose makes another master key current and removes the one before.
func (s *safe) lose(m *Manager) (lost string) {
	lost = s.rotate(m)
	s.check(os.Remove(s.old))
	return lost
}

func TestRewrap_LostKeyIsSavedByAProcessThatHasItInMemory(t *testing.T) {
	s, m := newSafe(t)
	lost := s.lose(m)
	if total := s.rewrap(m, shingle.Rewrap{}); total.Failed != 0 || total.Changed["data keys"] != 1 {
		t.Errorf("%+v", total)
	}
	if _, err := m.Rewrap(t.Context(), shingle.Rewrap{Lost: lost}); shingle.CodeOf(err) != shingle.CodeNotFound {
		t.Errorf("still lost: %v", err)
	}
	s.opens()
}

// TestRewrap_LostKeyIsSavedByAnotherProcess has the process of the API start without
// the key, beside one that has it in memory.
func TestRewrap_LostKeyIsSavedByAnotherProcess(t *testing.T) {
	s, running := newSafe(t)
	lost := s.lose(running)
	m := s.start()
	if total := s.rewrap(m, shingle.Rewrap{DryRun: true}); total.Failed != 1 {
		t.Fatalf("%+v", total)
	}
	s.hear(running)
	if page, err := m.Rewrap(t.Context(), shingle.Rewrap{DryRun: true}); err != nil || page.Failed != 1 {
		t.Fatalf("a dry run called for help: %+v, %v", page, err)
	}
	if total := s.rewrap(m, shingle.Rewrap{}); total.Failed != 1 {
		t.Fatalf("%+v", total)
	}
	s.hear(running)
	time.Sleep(unwrapPause) // the failure is remembered for so long
	if total := s.rewrap(m, shingle.Rewrap{}); total.Failed != 0 {
		t.Errorf("%+v", total)
	}
	if _, err := m.Rewrap(t.Context(), shingle.Rewrap{Lost: lost}); shingle.CodeOf(err) != shingle.CodeNotFound {
		t.Errorf("still lost: %v", err)
	}
	s.opens()
}

// hear has a process read the news.
func (s *safe) hear(m *Manager) {
	s.t.Helper()
	_, err := m.follow(s.t.Context(), s.now().Add(-newsSpan), nil)
	s.check(err)
}

// TestRewrap_RescueLeavesOthersAlone has a process that knows only the old master key
// asked to save what is under a third one: it must not undo a rotation.
func TestRewrap_RescueLeavesOthersAlone(t *testing.T) {
	s, m := newSafe(t)
	behind := s.start()
	must(t, behind, testHost)
	s.rotate(m)
	current, err := m.cfg.MasterKey.Current(t.Context())
	s.check(err)
	s.rewrap(m, shingle.Rewrap{})
	s.check(os.Rename(s.keyFile+".2", s.keyFile+".away"))
	s.check(behind.store.keys.rescue(t.Context(), masterHash("file-third")))
	s.check(os.Rename(s.keyFile+".away", s.keyFile+".2"))
	s.uses(m, shingle.MasterKeyUse{ID: current, Current: true, DataKeys: 1})
}

func TestRewrap_LostKeyIsGivenUp(t *testing.T) {
	s, running := newSafe(t)
	lost := s.lose(running)
	m := s.start() // without anything in memory
	if total := s.rewrap(m, shingle.Rewrap{}); total.Failed != 1 || len(total.Changed) != 0 || !strings.Contains(fmt.Sprint(total.Failures), lost) {
		t.Errorf("a rewrap: %+v", total)
	}
	current, err := m.cfg.MasterKey.Current(t.Context())
	s.check(err)
	s.uses(m, shingle.MasterKeyUse{ID: lost, DataKeys: 1, Problem: "?"}, shingle.MasterKeyUse{ID: current, Current: true})
	if _, err := m.Certificate(t.Context(), testHost); err == nil {
		t.Fatal("the certificate can be read")
	}
	want := map[string]int{"account key": 1, "certificates": 1, "delegation secret": 1, "orders": 1, "ticket keys": 1, "webhook secrets": 1, "data keys": 1}
	if dry := s.rewrap(m, shingle.Rewrap{Lost: lost, DryRun: true}); !maps.Equal(dry.Changed, want) {
		t.Errorf("dry run: %+v", dry)
	}
	if len(s.sealed()) != 6 {
		t.Fatal("a dry run dropped something")
	}
	secret, err := m.Seal(t.Context(), []byte("of today"), "webhooks/other")
	s.check(err)
	s.write(m, "webhooks/other", map[string]any{"secrets": secret})
	if total := s.rewrap(m, shingle.Rewrap{Lost: lost}); !maps.Equal(total.Changed, want) || total.Wait != 2*rewrapSettle {
		t.Errorf("%+v", total)
	}
	if left := s.sealed(); len(left) != 1 || left["webhooks/other"] == "" {
		t.Errorf("left: %v", left)
	}
	s.uses(m, shingle.MasterKeyUse{ID: current, Current: true, DataKeys: 1})
	c, err := m.Info(t.Context(), testHost)
	if err != nil || c.State != shingle.CertificateWaiting || !c.NotAfter.IsZero() {
		t.Errorf("%+v, %v", c, err)
	}
	// Who has the old one in memory serves it, and hears of the new one.
	old := must(t, running, testHost).Leaf.SerialNumber
	running.heard(t.Context(), testHost)
	must(t, running, testHost)
	for running.loads.has(testHost) {
		time.Sleep(time.Millisecond)
	}
	if must(t, running, testHost).Leaf.SerialNumber.Cmp(old) != 0 {
		t.Error("another certificate")
	}
	running.heard(t.Context(), newsAccounts)
	s.ca.edge.Store(m)
	fresh := must(t, m, testHost)
	landed(m, testHost)
	running.heard(t.Context(), testHost)
	must(t, running, testHost)
	for running.loads.has(testHost) {
		time.Sleep(time.Millisecond)
	}
	if must(t, running, testHost).Leaf.SerialNumber.Cmp(fresh.Leaf.SerialNumber) != 0 {
		t.Error("not the new certificate")
	}
	wantOrders(t, s.ca, 2)
}

// TestKeyWatch_SaysThatAMasterKeyIsMissing removes a key file while it is needed, and
// puts it back.
func TestKeyWatch_SaysThatAMasterKeyIsMissing(t *testing.T) {
	s, m := newSafe(t)
	lost := s.rotate(m)
	s.check(os.Rename(s.old, s.old+".away"))
	key := openKeys(t, s.keyFile)
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{
			Blobs: s.blobs, MasterKey: key, CAs: []CA{{Directory: "https://ca.example/directory"}}, TermsAgreed: true,
			Permission: shingle.PermissionFunc(func(context.Context, string) error { return nil }),
		}
		m, err := New(cfg)
		s.check(err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); m.watchKeys(ctx) }()
		synctest.Wait()
		if why := m.Degraded(); !strings.Contains(why, lost) || !strings.Contains(why, "1 data keys") {
			t.Errorf("degraded: %q", why)
		}
		s.check(os.Rename(s.old+".away", s.old))
		time.Sleep(keyWatchAgain + time.Second)
		synctest.Wait()
		if why := m.Degraded(); why != "" {
			t.Errorf("degraded: %q", why)
		}
		cancel()
		<-done
		s.check(m.Close())
	})
}

func TestRewrap_LostDataKey(t *testing.T) {
	s, m := newSafe(t)
	id := s.sealed()[certKey(testHost)]
	s.check(m.store.erase(t.Context(), dataKeyRecord(id)))
	if _, err := m.Rewrap(t.Context(), shingle.Rewrap{Lost: id}); shingle.CodeOf(err) != shingle.CodeInvalid {
		t.Errorf("while it is in memory: %v", err)
	}
	if total := s.rewrap(s.start(), shingle.Rewrap{Lost: id}); total.Changed["certificates"] != 1 || len(s.sealed()) != 0 {
		t.Errorf("%+v", total)
	}
}

func TestDiscard_ServesUntilThereIsTheNewOne(t *testing.T) {
	s, m := newSafe(t)
	old := must(t, m, testHost)
	s.check(m.Discard(t.Context(), testHost))
	s.check(m.Discard(t.Context(), testHost)) // again, as after a lost reply
	if must(t, m, testHost).Leaf.SerialNumber.Cmp(old.Leaf.SerialNumber) != 0 {
		t.Error("not served from memory")
	}
	p, _, err := m.store.plan(t.Context(), testHost)
	s.check(err)
	if !p.due(s.now()) || p.class(s.now()) != classRenewal {
		t.Errorf("%+v", p)
	}
	s.check(m.renewDue(t.Context(), testHost))
	landed(m, testHost)
	if must(t, m, testHost).Leaf.SerialNumber.Cmp(old.Leaf.SerialNumber) == 0 {
		t.Error("not replaced")
	}
	if p, _, err = m.store.plan(t.Context(), testHost); err != nil || p.Gone {
		t.Errorf("%+v, %v", p, err)
	}
	if err := m.Discard(t.Context(), "nobody.example"); shingle.CodeOf(err) != shingle.CodeNotFound {
		t.Errorf("unknown: %v", err)
	}
}
