package certs

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle/internal/keyfile"
)

// rotation is a fleet of which b may lack the master key of a.
type rotation struct {
	*ringFixture
	a, b   *keyring
	pathB  string
	lacks  []string
	failed error
	asked  int
}

func newRotation(t *testing.T) *rotation {
	w := &rotation{ringFixture: newRingFixture(t)}
	w.a, _ = w.start()
	_ = seal(t, w.a, "certs/first.example")
	path := w.path
	w.pathB = path + ".b" // the same first key, and not the next
	key, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(w.pathB, key, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.path = w.pathB
	w.b, _ = w.start()
	w.path = path
	return w
}

// rotate makes the next master key, of which a alone knows after its next start.
func (w *rotation) rotate() {
	w.t.Helper()
	if _, _, err := keyfile.Next(w.path); err != nil {
		w.t.Fatal(err)
	}
	w.restartA()
}

func (w *rotation) restartA() {
	w.a, _ = w.start()
	w.a.lacking = func(context.Context, string) ([]string, error) { w.asked++; return w.lacks, w.failed }
}

func (w *rotation) actives() int {
	w.t.Helper()
	keys, err := w.blobs.List(w.t.Context(), activePrefix, "", 100)
	if err != nil {
		w.t.Fatal(err)
	}
	return len(keys)
}

// TestKeyring_ANewMasterKeyWaitsForTheFleet: what is sealed meanwhile is read by those who
// lack it, longer than a data key lasts too.
func TestKeyring_ANewMasterKeyWaitsForTheFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newRotation(t)
		w.lacks = []string{"y", "b"}
		w.rotate()
		for range 10 {
			for _, record := range []string{"certs/a.example", "certs/b.example"} {
				wantOpen(t, w.b, seal(t, w.a, record), record)
			}
			time.Sleep(dataKeyLife / 4)
		}
		if n := w.actives(); n != 1 {
			t.Errorf("%d data keys seal", n)
		}
		if n := strings.Count(w.log.String(), "new data keys wait for processes"); n != 1 || !strings.Contains(w.log.String(), `processes="b y"`) {
			t.Errorf("said %d times: %s", n, w.log.String())
		}
		w.lacks = nil
		time.Sleep(keyCheck)
		if _ = seal(t, w.a, "certs/a.example"); w.actives() != 2 {
			t.Error("the new master key still waits")
		}
		asked := w.asked
		w.lacks = []string{"late"} // a machine that comes back: it does not turn the clock back
		time.Sleep(2 * dataKeyLife)
		if _ = seal(t, w.a, "certs/a.example"); w.asked != asked || w.actives() != 2 {
			t.Errorf("asked %d times more", w.asked-asked)
		}
	})
}

// TestKeyring_WaitsForNobodyInVain: when there is nothing to seal with meanwhile, or a
// fresh data key is wanted, the new master key is used.
func TestKeyring_WaitsForNobodyInVain(t *testing.T) {
	t.Run("rewrapped", func(t *testing.T) {
		w := newRotation(t)
		w.rotate()
		w.lacks = []string{"b"}
		keys := w.dataKeys()
		step := rewrapStep{Manager: &Manager{store: w.a.store, cfg: Config{MasterKey: w.a.master}}, missing: map[string]bool{}}
		if changed, err := step.dataKeys().do(t.Context(), keys[0]); err != nil || !changed {
			t.Fatalf("%v, %v", changed, err)
		}
		if _ = seal(t, w.a, "certs/a.example"); w.actives() != 2 || w.asked != 0 {
			t.Errorf("%d active, asked %d times", w.actives(), w.asked)
		}
	})
	t.Run("a fresh one is wanted", func(t *testing.T) {
		w := newRotation(t)
		w.rotate()
		w.lacks = []string{"b"}
		if _, err := w.a.sealAfter(t.Context(), nil, "certs/a.example", time.Now()); err != nil || w.actives() != 2 {
			t.Errorf("%v, %d active", err, w.actives())
		}
	})
	t.Run("the first of a fleet", func(t *testing.T) {
		f := newRingFixture(t)
		k, _ := f.start()
		k.lacking = func(context.Context, string) ([]string, error) { t.Error("asked"); return []string{"b"}, nil }
		_ = seal(t, k, "certs/a.example")
	})
}

// TestKeyring_ShareOfWhatSealsOnIsCounted: two processes that wait seal under one data
// key, and what they take of it is on record.
func TestKeyring_ShareOfWhatSealsOnIsCounted(t *testing.T) {
	w := newRotation(t)
	w.rotate()
	w.lacks = []string{"b"}
	first := w.a
	w.restartA()
	if a, b := seal(t, first, "certs/a.example"), seal(t, w.a, "certs/b.example"); a.KeyID != b.KeyID || w.a.left != sealShare-1 {
		t.Errorf("%s and %s, %d left", a.KeyID, b.KeyID, w.a.left)
	}
	records, _ := w.blobs.List(t.Context(), activePrefix, "", 100)
	var active activeDataKey
	if _, err := w.a.store.get(t.Context(), records[0], &active); err != nil || active.Shares != 3 || len(records) != 1 {
		t.Errorf("%d shares were taken of %d, %v", active.Shares, len(records), err)
	}
	if got := slices.Contains(w.dataKeys(), dataKeyRecord(active.DataKey)); !got {
		t.Error("the data key in use is not in the store")
	}
}
