package certs

import (
	"bytes"
	"crypto/x509"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/shingle-proxy/shingle"
)

func TestCertificate_KeysAreSealedInTheStore(t *testing.T) {
	f := newFixture(t)
	m := f.start()
	cert := must(t, m, testHost)
	secret, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	r := storedRecord(t, m)
	if r.Key.KeyID == "" || bytes.Contains(r.Key.Data, secret) {
		t.Errorf("sealed key %+v", r.Key)
	}
	keys, err := f.blobs.List(t.Context(), "", "", 100)
	if err != nil || len(keys) < 3 {
		t.Fatalf("keys %q, %v", keys, err)
	}
	for _, key := range keys {
		b, err := f.blobs.Blobs.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(key, "challenges/") || bytes.Contains(b.Value, []byte("PRIVATE KEY")) {
			t.Errorf("%s holds %s", key, b.Value)
		}
	}
}

func storedRecord(t *testing.T, m *Manager) (r record) {
	t.Helper()
	if _, err := m.store.get(t.Context(), certKey(testHost), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCertificate_RestartNeedsNeitherOrderNorPermission(t *testing.T) {
	f := newFixture(t)
	first := must(t, f.start(), testHost)
	f.ca.down()
	f.allowed = func(string) error { return shingle.ErrForbidden }
	before := f.asked.Load()
	again := must(t, f.start(), testHost)
	if !again.Leaf.Equal(first.Leaf) || f.asked.Load() != before {
		t.Errorf("another certificate, or permission asked")
	}
	wantOrders(t, f.ca, 1)
}

func TestCertificate_ReplyLostOnStore(t *testing.T) {
	f := newFixture(t)
	var lost atomic.Int64
	f.blobs.put(func(_ string, write func() (string, error)) (string, error) {
		if _, err := write(); err != nil {
			return "", err
		}
		lost.Add(1)
		return "", errStore
	})
	m := f.start()
	cert := must(t, m, testHost)
	landed(m, testHost)
	if lost.Load() < 3 {
		t.Fatalf("%d replies lost, of account key, account and certificate", lost.Load())
	}
	if !must(t, f.start(), testHost).Leaf.Equal(cert.Leaf) {
		t.Error("another certificate")
	}
	wantOrders(t, f.ca, 1)
}

func TestCertificate_StoreDownWhenLoadingIsNotAbsence(t *testing.T) {
	f := newFixture(t)
	m := f.start()
	must(t, m, testHost)
	before := f.ca.requests.Load()
	down := func(string) error { return errStore }
	f.blobs.onGet.Store(&down)
	must(t, m, testHost) // from memory
	_, err := m.Certificate(t.Context(), "other.customer.example")
	wantCode(t, err, shingle.CodeUnavailable)
	_, err = f.start().Certificate(t.Context(), testHost)
	wantCode(t, err, shingle.CodeUnavailable)
	if n := f.ca.requests.Load(); n != before {
		t.Errorf("%d requests reached the CA", n-before)
	}
}

func TestCertificate_UnreadableRecordIsNotAbsence(t *testing.T) {
	f := newFixture(t)
	if _, err := f.blobs.Blobs.Put(t.Context(), certKey(testHost), []byte(`{"chain":""}`), shingle.NoVersion); err != nil {
		t.Fatal(err)
	}
	m := f.start()
	_, err := m.Certificate(t.Context(), testHost)
	wantCode(t, err, shingle.CodeUnavailable)
	if n := f.ca.requests.Load(); n != 0 {
		t.Errorf("%d requests reached the CA", n)
	}
	if err := m.Drop(t.Context(), testHost); err != nil {
		t.Fatal(err)
	}
	must(t, m, testHost)
}

func TestCertificate_StoreDownWhenIssuingIsNotAbsence(t *testing.T) {
	f := newFixture(t)
	var reads atomic.Int64
	second := func(key string) error {
		if key == certKey(testHost) && reads.Add(1) > 1 { // the one before the order
			return errStore
		}
		return nil
	}
	f.blobs.onGet.Store(&second)
	_, err := f.start().Certificate(t.Context(), testHost)
	wantCode(t, err, shingle.CodeUnavailable)
	if reads.Load() != 2 || f.ca.requests.Load() != 0 {
		t.Errorf("%d reads, %d requests to the CA", reads.Load(), f.ca.requests.Load())
	}
}

func TestCertificate_ServedBeforeTheStoreTakesIt(t *testing.T) {
	f := newFixture(t)
	var up atomic.Bool
	down := func(string) error {
		if !up.Load() {
			return errStore
		}
		return nil
	}
	f.blobs.put(func(key string, write func() (string, error)) (string, error) {
		if key == certKey(testHost) && !up.Load() {
			f.blobs.onGet.Store(&down)
			return "", errStore
		}
		return write()
	})
	m := f.start()
	cert := must(t, m, testHost)
	up.Store(true)
	landed(m, testHost)
	if !must(t, f.start(), testHost).Leaf.Equal(cert.Leaf) {
		t.Error("another certificate was stored")
	}
	wantOrders(t, f.ca, 1)
}

func TestCertificate_InMemoryOnlyIsNotIssuedAgain(t *testing.T) {
	f := newFixture(t)
	m := f.start()
	only := newChainMaker(t).entry(t, testHost)
	only.unsaved.Store(true)
	m.cache.put(testHost, only)
	e, err := m.obtain(t.Context(), testHost, nil) // as a handshake that came just before
	if err != nil || e != only || f.ca.requests.Load() != 0 {
		t.Errorf("got %v, %v after %d requests to the CA", e, err, f.ca.requests.Load())
	}
}

func TestCertificate_CloseStoresWhatWasIssued(t *testing.T) {
	f := newFixture(t)
	issued, stored := make(chan struct{}), make(chan struct{})
	f.blobs.put(func(key string, write func() (string, error)) (string, error) {
		if key == certKey(testHost) {
			close(issued)
			<-stored
		}
		return write()
	})
	m := f.start()
	go func() { _, _ = m.Certificate(t.Context(), testHost) }()
	<-issued
	closed := make(chan error)
	go func() { closed <- m.Close() }()
	<-m.issues.ctx.Done()
	close(stored)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	f.blobs.onPut.Store(nil)
	must(t, f.start(), testHost)
	wantOrders(t, f.ca, 1)
}

func TestCertificate_OtherWritersCertificateWins(t *testing.T) {
	f := newFixture(t)
	theirs := must(t, f.start(), testHost)
	saved, err := f.blobs.Blobs.Get(t.Context(), certKey(testHost))
	if err != nil {
		t.Fatal(err)
	}
	m := f.start()
	if err := m.Drop(t.Context(), testHost); err != nil {
		t.Fatal(err)
	}
	f.blobs.put(func(key string, write func() (string, error)) (string, error) {
		if key == certKey(testHost) { // the other was quicker
			_, _ = f.blobs.Blobs.Put(t.Context(), key, saved.Value, shingle.NoVersion)
		}
		return write()
	})
	if !must(t, m, testHost).Leaf.Equal(theirs.Leaf) {
		t.Error("our certificate, not theirs")
	}
	wantOrders(t, f.ca, 2)
}

func TestDrop_RemovesWhatIsStored(t *testing.T) {
	f := newFixture(t)
	m := f.start()
	must(t, m, testHost)
	for range 2 {
		if err := m.Drop(t.Context(), testHost); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.blobs.Get(t.Context(), certKey(testHost)); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if m.cache.get(testHost) != nil {
		t.Error("still in memory")
	}
}
