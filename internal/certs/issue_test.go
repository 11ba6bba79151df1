package certs

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

func TestCertificate_OnlyHTTPReachable(t *testing.T) {
	f := newFixture(t)
	f.ca.tlsDown.Store(true)
	f.ca.issued(must(t, f.start(), testHost), testHost)
	wantOrders(t, f.ca, 1)
}

func TestCertificate_OnlyTLSReachable(t *testing.T) {
	f := newFixture(t)
	f.ca.httpDown.Store(true)
	m := f.start()
	f.ca.issued(must(t, m, testHost), testHost)
	wantOrders(t, f.ca, 2)
	must(t, m, "two.customer.example")
	wantOrders(t, f.ca, 3) // it began with what worked last
	landed(m, testHost)
	if _, err := m.ChallengeCertificate(t.Context(), testHost); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("the challenge is still there: %v", err)
	}
}

func TestCertificate_LeftoverOfKilledProcessIsReplaced(t *testing.T) {
	f := newFixture(t)
	f.ca.httpDown.Store(true)
	if _, err := f.blobs.Blobs.Put(t.Context(), challengeRecord(testHost), []byte("half"), shingle.NoVersion); err != nil {
		t.Fatal(err)
	}
	must(t, f.start(), testHost)
}

func TestCertificate_CADownThenUp(t *testing.T) {
	f := newFixture(t)
	f.ca.down()
	m := f.start()
	for range 3 { // an outage does not lengthen the wait
		_, err := m.Certificate(t.Context(), testHost)
		wantCode(t, err, shingle.CodeUnavailable)
		if !strings.Contains(shingle.MessageOf(err), "certificate authority") {
			t.Errorf("message %q", shingle.MessageOf(err))
		}
		f.advance(2 * time.Minute)
	}
	f.ca.up()
	must(t, m, testHost)
	wantOrders(t, f.ca, 1)
}

func TestCertificate_RefusedNameCostsTheCANothing(t *testing.T) {
	f := newFixture(t)
	f.allowed = func(string) error { return shingle.Errorf(shingle.CodeForbidden, "unknown") }
	m := f.start()
	for i := range 200 {
		_, err := m.Certificate(t.Context(), fmt.Sprintf("n%d.attacker.example", i))
		wantCode(t, err, shingle.CodeForbidden)
	}
	if n := f.ca.requests.Load(); n != 0 {
		t.Errorf("%d requests reached the CA", n)
	}
	if len(m.issues.running)+len(m.loads.running)+len(m.refusals.list) != 0 {
		t.Error("refused names are remembered")
	}
	f.allowed = func(string) error { return nil }
	must(t, m, "n1.attacker.example") // the refusal was not cached
}

func TestCertificate_BadNonces(t *testing.T) {
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "40")
	f := newFixture(t)
	must(t, f.start(), testHost)
	wantOrders(t, f.ca, 1)
}

func TestCertificate_RateLimitIsObeyed(t *testing.T) {
	f := newFixture(t)
	m := f.start()
	f.ca.refuse(429, "rateLimited", "too many new orders", "7200")
	_, err := m.Certificate(t.Context(), testHost)
	wantCode(t, err, shingle.CodeLimited)
	if !strings.Contains(shingle.MessageOf(err), "too many new orders") {
		t.Errorf("message %q", shingle.MessageOf(err))
	}
	f.ca.answer.Store(nil)
	f.advance(119 * time.Minute)
	_, err = m.Certificate(t.Context(), testHost)
	wantCode(t, err, shingle.CodeLimited)
	f.advance(2 * time.Minute)
	must(t, m, testHost)
}

func TestCertificate_RejectedNameIsNotTriedByTheOtherChallenge(t *testing.T) {
	f := newFixture(t)
	f.ca.refuse(400, "rejectedIdentifier", "policy forbids \x1b[31mthis name", "")
	before := f.ca.requests.Load() // a manager asks for the directory when it is made
	m := f.start()
	_, err := m.Certificate(t.Context(), testHost)
	wantCode(t, err, shingle.CodeUnavailable)
	if want := "the certificate authority refused: policy forbids  [31mthis name"; shingle.MessageOf(err) != want {
		t.Errorf("message %q", shingle.MessageOf(err))
	}
	if n := f.ca.requests.Load() - before; n != 4 { // directory, nonce, account, order
		t.Errorf("%d requests", n)
	}
}

func TestCertificate_RenewedInTheBackground(t *testing.T) {
	f := newFixture(t)
	m := f.start()
	old := must(t, m, testHost)
	landed(m, testHost)
	f.advance(59 * 24 * time.Hour)
	must(t, m, testHost)
	wantOrders(t, f.ca, 1)

	f.advance(2 * 24 * time.Hour) // under a third of 90 days is left
	arrived, release := f.ca.hold()
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if cert := must(t, m, testHost); !cert.Leaf.Equal(old.Leaf) {
				t.Error("not the old certificate")
			}
		})
	}
	group.Wait()
	<-arrived
	release()
	landed(m, testHost)
	renewed := must(t, m, testHost)
	if renewed.Leaf.Equal(old.Leaf) {
		t.Error("not renewed")
	}
	wantOrders(t, f.ca, 2)
	if !must(t, f.start(), testHost).Leaf.Equal(renewed.Leaf) {
		t.Error("the renewed certificate is not the stored one")
	}
}

func TestCertificate_RenewalByAnotherIsTakenOver(t *testing.T) {
	f := newFixture(t)
	m := f.start()
	must(t, m, testHost)
	landed(m, testHost)
	// As if the store had been written since this edge read it.
	aged, _, err := m.load(t.Context(), testHost)
	if err != nil {
		t.Fatal(err)
	}
	aged.renewAt = f.now().Add(-time.Hour)
	m.cache.put(testHost, aged)
	must(t, m, testHost)
	landed(m, testHost)
	if m.cache.get(testHost) == aged {
		t.Error("still the old one")
	}
	wantOrders(t, f.ca, 1)
}

func TestCertificate_FailedRenewalKeepsServing(t *testing.T) {
	f := newFixture(t)
	m := f.start()
	old := must(t, m, testHost)
	landed(m, testHost)
	f.ca.down()
	f.advance(80 * 24 * time.Hour)
	must(t, m, testHost)
	landed(m, testHost)
	if !must(t, m, testHost).Leaf.Equal(old.Leaf) {
		t.Error("another certificate")
	}
	f.advance(11 * 24 * time.Hour) // expired
	_, err := m.Certificate(t.Context(), testHost)
	wantCode(t, err, shingle.CodeUnavailable)
}
