package certs

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
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
)

// vault is a master key that counts its calls, as a key service would for its
// bill, and may be out of order.
type vault struct {
	shingle.MasterKey
	wraps, unwraps atomic.Int64
	down           atomic.Bool
	hold           chan struct{} // when not nil, Unwrap waits until it is closed
}

func (v *vault) Current(ctx context.Context) (string, error) {
	if v.down.Load() {
		return "", shingle.ErrUnavailable
	}
	return v.MasterKey.Current(ctx)
}

func (v *vault) Wrap(ctx context.Context, secret []byte, purpose string) (shingle.WrappedKey, error) {
	v.wraps.Add(1)
	if v.down.Load() {
		return shingle.WrappedKey{}, shingle.ErrUnavailable
	}
	return v.MasterKey.Wrap(ctx, secret, purpose)
}

func (v *vault) Unwrap(ctx context.Context, w shingle.WrappedKey, purpose string) ([]byte, error) {
	v.unwraps.Add(1)
	if v.hold != nil {
		<-v.hold
	}
	if v.down.Load() {
		return nil, shingle.ErrUnavailable
	}
	return v.MasterKey.Unwrap(ctx, w, purpose)
}

// ringFixture makes keyrings over one store and one key file, as the processes
// of a fleet have them.
type ringFixture struct {
	t     *testing.T
	blobs *faultyBlobs
	path  string
	log   syncBuffer
}

func newRingFixture(t *testing.T) *ringFixture {
	return &ringFixture{t: t, blobs: &faultyBlobs{Blobs: &memory.Store{}}, path: filepath.Join(t.TempDir(), "seal.key")}
}

func (f *ringFixture) start() (*keyring, *vault) {
	f.t.Helper()
	v := &vault{MasterKey: openKeys(f.t, f.path)}
	s := newStore(f.t.Context(), &Config{
		Blobs: f.blobs, MasterKey: v, Now: time.Now, Logger: slog.New(slog.NewTextHandler(&f.log, nil)),
	})
	return s.keys, v
}

func (f *ringFixture) dataKeys() []string {
	f.t.Helper()
	keys, err := f.blobs.List(f.t.Context(), dataKeyRecord(dataKeyPrefix), "", 1000)
	if err != nil {
		f.t.Fatal(err)
	}
	return keys
}

func seal(t *testing.T, k *keyring, record string) Sealed {
	t.Helper()
	s, err := k.seal(t.Context(), []byte("secret of "+record), record)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantOpen(t *testing.T, k *keyring, s Sealed, record string) {
	t.Helper()
	if plain, err := k.open(t.Context(), s, record); err != nil || string(plain) != "secret of "+record {
		t.Fatalf("open %s: %q, %v", record, plain, err)
	}
}

func TestKeyring_TenThousandOpensAreAFewUnwraps(t *testing.T) {
	f := newRingFixture(t)
	maker, v := f.start()
	const records = 10_000
	sealed := make([]Sealed, records)
	for i := range sealed {
		sealed[i] = seal(t, maker, fmt.Sprintf("certs/%d.example", i))
	}
	if n := v.wraps.Load(); n != 1 {
		t.Errorf("%d wraps", n)
	}
	k, v := f.start() // after a restart
	var group sync.WaitGroup
	for at := range 8 {
		group.Go(func() {
			for i := at; i < records; i += 8 {
				record := fmt.Sprintf("certs/%d.example", i)
				if plain, err := k.open(t.Context(), sealed[i], record); err != nil || string(plain) != "secret of "+record {
					t.Errorf("%s: %q, %v", record, plain, err)
					return
				}
			}
		})
	}
	group.Wait()
	if n := v.unwraps.Load(); n != 1 {
		t.Errorf("%d unwraps", n)
	}
	if v.wraps.Load() != 0 {
		t.Error("opening wrapped something")
	}
}

func TestKeyring_ValuesBelongToOneRecord(t *testing.T) {
	f := newRingFixture(t)
	k, _ := f.start()
	s := seal(t, k, "certs/a.example")
	if bytes.Contains(s.Data, []byte("secret")) || !strings.HasPrefix(s.KeyID, dataKeyPrefix) {
		t.Fatalf("sealed %+v", s)
	}
	if _, err := k.open(t.Context(), s, "certs/b.example"); err == nil {
		t.Error("opens for another record")
	}
	// A data key under another's name does not unwrap.
	var w wrappedDataKey
	if _, err := k.store.get(t.Context(), dataKeyRecord(s.KeyID), &w); err != nil {
		t.Fatal(err)
	}
	if _, err := k.store.put(t.Context(), dataKeyRecord("data-other"), w, shingle.NoVersion); err != nil {
		t.Fatal(err)
	}
	if _, err := k.open(t.Context(), Sealed{KeyID: "data-other", Data: s.Data}, "certs/a.example"); err == nil {
		t.Error("unwraps under another name")
	}
}

func TestKeyring_SealsNothingThatARewrapWouldNotFind(t *testing.T) {
	f := newRingFixture(t)
	k, _ := f.start()
	for _, record := range []string{"novelties/a.example", "certs/", "tickets/a", "accounts/other"} {
		if s, err := k.seal(t.Context(), nil, record); err == nil || !strings.Contains(err.Error(), "sealed places") {
			t.Errorf("%s: %+v, %v", record, s, err)
		}
	}
}

func TestKeyring_AFleetSharesADataKey(t *testing.T) {
	f := newRingFixture(t)
	var group sync.WaitGroup
	ids := make([]string, 10)
	for i := range ids {
		k, _ := f.start()
		group.Go(func() { ids[i] = seal(t, k, "certs/a.example").KeyID })
	}
	group.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("data keys %q", ids)
		}
	}
	if keys := f.dataKeys(); len(keys) != 1 {
		t.Errorf("stored: %q", keys)
	}
}

func TestKeyring_ADataKeyEndsByAgeAndByUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newRingFixture(t)
		k, _ := f.start()
		first := seal(t, k, "certs/a.example")
		time.Sleep(dataKeyLife - time.Minute)
		if seal(t, k, "certs/a.example").KeyID != first.KeyID {
			t.Error("replaced too early")
		}
		time.Sleep(2 * time.Minute)
		second := seal(t, k, "certs/a.example")
		if second.KeyID == first.KeyID {
			t.Error("not replaced by age")
		}
		for range maxShares * sealShare { // one was sealed already
			k.left--
			if k.left <= 0 {
				_ = seal(t, k, "certs/a.example")
			}
			if k.active.id != second.KeyID {
				break
			}
		}
		third := seal(t, k, "certs/a.example")
		if third.KeyID == second.KeyID {
			t.Error("not replaced by use")
		}
		for _, s := range []Sealed{first, second, third} {
			wantOpen(t, k, s, "certs/a.example")
		}
	})
}

func TestKeyring_AnotherDataKeyIsHeardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newRingFixture(t)
		a, _ := f.start()
		b, _ := f.start()
		old := seal(t, a, "certs/a.example").KeyID
		if seal(t, b, "certs/a.example").KeyID != old {
			t.Fatal("two data keys")
		}
		time.Sleep(time.Second)
		d, err := a.sealer(t.Context(), time.Now()) // a fresh one is wanted
		if err != nil || d.id == old {
			t.Fatalf("%v, %v", d, err)
		}
		time.Sleep(keyCheck)
		if got := seal(t, b, "certs/a.example").KeyID; got != d.id {
			t.Errorf("the other process seals with %s, want %s", got, d.id)
		}
	})
}

func TestKeyring_GoesOnWithoutTheMasterKeyForAWeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newRingFixture(t)
		k, v := f.start()
		s := seal(t, k, "certs/a.example")
		v.down.Store(true)
		time.Sleep(dataKeyLife - time.Minute)
		if seal(t, k, "certs/b.example").KeyID != s.KeyID {
			t.Error("another data key")
		}
		wantOpen(t, k, s, "certs/a.example")
		time.Sleep(time.Hour)
		if _, err := k.seal(t.Context(), nil, "certs/a.example"); shingle.CodeOf(err) != shingle.CodeUnavailable {
			t.Errorf("sealed with an old data key: %v", err)
		}
		wantOpen(t, k, s, "certs/a.example")
		v.down.Store(false)
		if seal(t, k, "certs/a.example").KeyID == s.KeyID {
			t.Error("sealed with an old data key")
		}
	})
}

func TestKeyring_AMasterKeyThatIsDownIsAskedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newRingFixture(t)
		maker, _ := f.start()
		s := seal(t, maker, "certs/a.example")
		k, v := f.start()
		v.down.Store(true)
		for range 1000 {
			if _, err := k.open(t.Context(), s, "certs/a.example"); shingle.CodeOf(err) != shingle.CodeUnavailable {
				t.Fatal(err)
			}
		}
		if n := v.unwraps.Load(); n != 1 {
			t.Errorf("%d unwraps at once", n)
		}
		v.down.Store(false)
		time.Sleep(unwrapPause)
		wantOpen(t, k, s, "certs/a.example")
	})
}

func TestKeyring_OneUnwrapForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newRingFixture(t)
		maker, _ := f.start()
		s := seal(t, maker, "certs/a.example")
		k, v := f.start()
		v.hold = make(chan struct{})
		first, leave := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := k.open(first, s, "certs/a.example"); shingle.CodeOf(err) != shingle.CodeUnavailable {
				t.Errorf("who left got %v", err)
			}
		})
		synctest.Wait()
		for range 100 {
			group.Go(func() {
				if _, err := k.open(t.Context(), s, "certs/a.example"); err != nil {
					t.Error(err)
				}
			})
		}
		leave() // the others are not harmed
		synctest.Wait()
		close(v.hold)
		group.Wait()
		if n := v.unwraps.Load(); n != 1 {
			t.Errorf("%d unwraps", n)
		}
	})
}

func TestKeyring_ALostDataKeyIsNotAbsence(t *testing.T) {
	f := newRingFixture(t)
	maker, _ := f.start()
	s := seal(t, maker, "certs/a.example")
	if err := maker.store.erase(t.Context(), dataKeyRecord(s.KeyID)); err != nil {
		t.Fatal(err)
	}
	k, _ := f.start()
	_, err := k.open(t.Context(), s, "certs/a.example")
	if shingle.CodeOf(err) != shingle.CodeUnavailable || !strings.Contains(err.Error(), s.KeyID) {
		t.Errorf("got %v", err)
	}
	// What is sealed from now on can be opened.
	wantOpen(t, k, seal(t, k, "certs/b.example"), "certs/b.example")
}

func TestKeyring_ALostReplyCostsNothing(t *testing.T) {
	f := newRingFixture(t)
	k, _ := f.start()
	lost := map[string]bool{}
	f.blobs.put(func(key string, write func() (string, error)) (string, error) {
		version, err := write()
		if !lost[key] {
			lost[key] = true
			return "", errStore
		}
		return version, err
	})
	s := seal(t, k, "certs/a.example")
	again, _ := f.start()
	wantOpen(t, again, s, "certs/a.example")
	if keys := f.dataKeys(); len(keys) != 1 {
		t.Errorf("stored: %q", keys)
	}
}

func TestKeyring_KeepsABoundedNumber(t *testing.T) {
	f := newRingFixture(t)
	k, _ := f.start()
	for i := range 2 * maxOpenKeys {
		k.keep(&dataKey{id: fmt.Sprint(i)})
	}
	if len(k.ready) > maxOpenKeys {
		t.Errorf("%d in memory", len(k.ready))
	}
}

func TestKeyring_LogsNoSecret(t *testing.T) {
	f := newRingFixture(t)
	k, v := f.start()
	_ = seal(t, k, "certs/a.example")
	key, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	var w wrappedDataKey
	if _, err := k.store.get(t.Context(), dataKeyRecord(k.active.id), &w); err != nil {
		t.Fatal(err)
	}
	secret, err := v.MasterKey.Unwrap(t.Context(), w.Key, dataKeyRecord(k.active.id))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range [][]byte{key, secret} {
		for _, text := range []string{string(x), fmt.Sprintf("%x", x), fmt.Sprintf("%d", x)} {
			if strings.Contains(f.log.String(), text) {
				t.Error("the log has a key")
			}
		}
	}
	if !strings.Contains(f.log.String(), k.active.id) {
		t.Error("the log does not name the data key")
	}
}

func openKeys(t *testing.T, path string) *keyfile.Key {
	t.Helper()
	k, err := keyfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
