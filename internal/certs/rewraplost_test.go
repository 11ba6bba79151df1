package certs

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

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
