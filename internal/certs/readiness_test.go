package certs

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// TestReadiness_FollowsTheHost asks what a visitor may know from the first
// moment of a host to the last.
func TestReadiness_FollowsTheHost(t *testing.T) {
	f := newFixture(t)
	m := f.start()
	want := func(when string, state shingle.CertificateState, issuing bool) shingle.Readiness {
		t.Helper()
		f.advance(unreadyTime)
		r := m.Readiness(t.Context(), testHost)
		if r.State != state || r.Issuing != issuing {
			t.Errorf("%s: %+v", when, r)
		}
		return r
	}
	want("unknown", shingle.CertificateValid, false)
	if err := m.Want(t.Context(), testHost, ""); err != nil {
		t.Fatal(err)
	}
	want("wanted", shingle.CertificateWaiting, false)

	arrived, release := f.ca.hold()
	issued := make(chan error)
	go func() { _, err := m.Certificate(t.Context(), testHost); issued <- err }()
	<-arrived
	want("at the CA", shingle.CertificateWaiting, true)
	f.ca.httpDown.Store(true)
	f.ca.tlsDown.Store(true)
	release()
	if err := <-issued; err == nil {
		t.Fatal("issued")
	}
	landed(m, testHost)
	if r := want("failed", shingle.CertificateFailing, false); r.Who != shingle.WhoCustomer || r.Problem != "unauthorized" || !r.Next.After(f.now()) {
		t.Errorf("failed: %+v", r)
	}
	f.ca.httpDown.Store(false)
	f.ca.tlsDown.Store(false)
	f.advance(time.Hour)
	must(t, m, testHost)
	landed(m, testHost)
	want("issued", shingle.CertificateValid, false)
	m = f.start()
	want("issued by another", shingle.CertificateValid, false)
}

// TestReadiness_CostsAreBounded asks about more hosts than may be read about.
func TestReadiness_CostsAreBounded(t *testing.T) {
	f := newFixture(t)
	m := f.start()
	m.readiness.budget.SetLimit(0) // it earns nothing meanwhile
	var reads atomic.Int64
	count := func(string) error { reads.Add(1); return nil }
	f.blobs.onGet.Store(&count)
	for range 100 {
		m.Readiness(t.Context(), testHost)
	}
	if n := reads.Load(); n != 1 {
		t.Errorf("%d reads for one host", n)
	}
	for i := range maxReadiness + 100 {
		m.Readiness(t.Context(), fmt.Sprintf("n%d.customer.example", i))
	}
	if n := reads.Load(); n != readinessBurst {
		t.Errorf("%d reads, want %d", n, readinessBurst)
	}
	for i := range maxReadiness + 100 {
		m.readiness.put(fmt.Sprintf("n%d.customer.example", i), known{ready, f.now().Add(time.Hour)})
	}
	if n := len(m.readiness.list); n != maxReadiness {
		t.Errorf("%d hosts remembered", n)
	}
}

// TestReadiness_NotToKnowIsReady meets a store that is out of reach and a client
// that has left.
func TestReadiness_NotToKnowIsReady(t *testing.T) {
	f := newFixture(t)
	m := f.start()
	if err := m.Want(t.Context(), testHost, ""); err != nil {
		t.Fatal(err)
	}
	down := func(string) error { return errStore }
	f.blobs.onGet.Store(&down)
	if r := m.Readiness(t.Context(), testHost); r != ready {
		t.Errorf("store down: %+v", r)
	}
	f.blobs.onGet.Store(nil)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	m.Readiness(gone, testHost)
	if r := m.Readiness(t.Context(), testHost); r.State != shingle.CertificateWaiting {
		t.Errorf("store up: %+v", r)
	}
}

// TestCertificate_AnswersBeforeTheHandshakeIsCutOff has less time than its wait.
func TestCertificate_AnswersBeforeTheHandshakeIsCutOff(t *testing.T) {
	f := newFixture(t)
	f.ca.hold()
	m := f.start()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := m.Certificate(ctx, testHost)
	wantCode(t, err, shingle.CodeUnavailable)
	if ctx.Err() != nil {
		t.Error("nothing is left of the handshake's time")
	}
}
