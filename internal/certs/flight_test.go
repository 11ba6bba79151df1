package certs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

func TestCertificate_FiftyFirstHandshakesAreOneOrder(t *testing.T) {
	f := newFixture(t)
	var logged syncBuffer
	f.cfg.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	m := f.start()
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if _, err := m.Certificate(t.Context(), testHost); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	wantOrders(t, f.ca, 1)
	cert := must(t, m, testHost)
	f.ca.issued(cert, testHost)
	if n := f.asked.Load(); n != 1 {
		t.Errorf("permission asked %d times", n)
	}
	for _, line := range []string{"certificate issuance started", "certificate issued", "order=https://"} {
		if !strings.Contains(logged.String(), line) {
			t.Errorf("the log lacks %q", line)
		}
	}
}

func TestCertificate_WaitIsBoundedAndIssuanceGoesOn(t *testing.T) {
	f := newFixture(t)
	f.cfg.HandshakeWait = 50 * time.Millisecond
	arrived, release := f.ca.hold()
	m := f.start()
	_, err := m.Certificate(t.Context(), testHost)
	wantCode(t, err, shingle.CodeUnavailable)
	if !strings.Contains(shingle.MessageOf(err), "being obtained") {
		t.Errorf("message %q", shingle.MessageOf(err))
	}
	<-arrived
	release()
	landed(m, testHost)
	must(t, m, testHost)
	wantOrders(t, f.ca, 1)
}

func TestCertificate_FailureIsNotRepeatedAtOnce(t *testing.T) {
	f := newFixture(t)
	f.ca.httpDown.Store(true)
	f.ca.tlsDown.Store(true)
	var logged syncBuffer
	f.cfg.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	m := f.start()
	_, err := m.Certificate(t.Context(), testHost)
	wantCode(t, err, shingle.CodeUnavailable)
	if !strings.Contains(shingle.MessageOf(err), "could not validate the domain: Failed to connect") {
		t.Errorf("message %q", shingle.MessageOf(err))
	}
	wantOrders(t, f.ca, 2) // one for each challenge
	before := f.ca.requests.Load()
	for range 20 {
		_, err = m.Certificate(t.Context(), testHost)
		wantCode(t, err, shingle.CodeUnavailable)
	}
	if !strings.Contains(shingle.MessageOf(err), "next attempt is after") || f.ca.requests.Load() != before {
		t.Errorf("%v after %d requests", err, f.ca.requests.Load()-before)
	}
	f.advance(2 * time.Minute)
	if _, err = m.Certificate(t.Context(), testHost); err == nil {
		t.Fatal("no error")
	}
	wantOrders(t, f.ca, 3)
	f.advance(2 * time.Minute) // the second wait is ten minutes
	if _, err = m.Certificate(t.Context(), testHost); err == nil {
		t.Fatal("no error")
	}
	wantOrders(t, f.ca, 3)
	f.ca.httpDown.Store(false)
	f.ca.tlsDown.Store(false)
	f.advance(10 * time.Minute)
	must(t, m, testHost)
	if failures(t, m) != 0 {
		t.Error("the failures are still counted")
	}
	// Pebble says the token in "http://.../.well-known/acme-challenge/TOKEN".
	if s := logged.String(); !strings.Contains(s, "acme-challenge/[token]") {
		t.Errorf("log: %s", s)
	}
}

func TestCertificate_FloodOfAllowedNamesIsBounded(t *testing.T) {
	f := newFixture(t)
	f.cfg = Config{MaxWaiting: 5, MaxIssuing: 2, HandshakeWait: 300 * time.Millisecond} // a busy machine takes its time to read the store
	arrived, release := f.ca.hold()
	m := f.start()
	var limited int
	for i := range 100 {
		_, err := m.Certificate(t.Context(), fmt.Sprintf("n%d.customer.example", i))
		if errors.Is(err, shingle.ErrLimited) {
			limited++
		}
	}
	<-arrived
	<-arrived
	if limited != 95 || len(m.issues.running) != 5 || len(m.turns) != 2 || len(arrived) != 0 {
		t.Errorf("%d limited, %d waiting, %d issuing, %d more at the CA", limited, len(m.issues.running), len(m.turns), len(arrived))
	}
	release()
	for i := range 5 {
		landed(m, fmt.Sprintf("n%d.customer.example", i))
	}
	wantOrders(t, f.ca, 5)
}

func TestForget_StopsTheIssuance(t *testing.T) {
	f := newFixture(t)
	arrived, _ := f.ca.hold()
	m := f.start()
	result := make(chan error)
	go func() {
		_, err := m.Certificate(t.Context(), testHost)
		result <- err
	}()
	<-arrived
	m.Forget(testHost)
	if err := <-result; shingle.MessageOf(err) != "the issuance was cancelled" {
		t.Errorf("got %v", err)
	}
	if failures(t, m) != 0 {
		t.Error("counted as a failure")
	}
}

// failures is the number of failed attempts in a row, as stored.
func failures(t *testing.T, m *Manager) int {
	t.Helper()
	p, _, err := m.store.plan(t.Context(), testHost)
	if err != nil && !errors.Is(err, shingle.ErrNotFound) {
		t.Fatal(err)
	}
	return p.Failures
}

func TestCertificate_EndedContext(t *testing.T) {
	f := newFixture(t)
	f.ca.hold()
	m := f.start()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := m.Certificate(ctx, testHost)
	wantCode(t, err, shingle.CodeUnavailable)
}
