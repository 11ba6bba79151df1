package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

const testHost = "blog.customer.example"

var errStore = errors.New("connection refused")

func must(t *testing.T, m *Manager, host string) *tls.Certificate {
	t.Helper()
	cert, err := m.Certificate(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	return withLeaf(t, cert)
}

// withLeaf returns a copy that has the Leaf, which what we serve has not.
func withLeaf(t *testing.T, cert *tls.Certificate) *tls.Certificate {
	t.Helper()
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	with := *cert
	with.Leaf = leaf
	return &with
}

func wantCode(t *testing.T, err error, code shingle.Code) {
	t.Helper()
	if shingle.CodeOf(err) != code {
		t.Fatalf("got %v, want %s", err, code)
	}
}

func wantOrders(t *testing.T, c *testCA, n int64) {
	t.Helper()
	if got := c.orders.Load(); got != n {
		t.Fatalf("%d orders, want %d", got, n)
	}
}

// landed waits until no issuance is under way for host.
func landed(m *Manager, host string) {
	m.issues.mu.Lock()
	f := m.issues.running[host]
	m.issues.mu.Unlock()
	if f != nil {
		<-f.ended
	}
}

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
	m := f.start()
	f.ca.refuse(400, "rejectedIdentifier", "policy forbids \x1b[31mthis name", "")
	before := f.ca.requests.Load()
	_, err := m.Certificate(t.Context(), testHost)
	wantCode(t, err, shingle.CodeUnavailable)
	if want := "the certificate authority refused: policy forbids  [31mthis name"; shingle.MessageOf(err) != want {
		t.Errorf("message %q", shingle.MessageOf(err))
	}
	if n := f.ca.requests.Load() - before; n != 4 { // directory, nonce, account, order
		t.Errorf("%d requests", n)
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

func TestAccount_RestoredWithTheSameKey(t *testing.T) {
	f := newFixture(t)
	m := f.start()
	must(t, m, testHost)
	before, err := m.KeyAuthorization(t.Context(), "token")
	if err != nil {
		t.Fatal(err)
	}
	f.ca.reset()
	f.ca.issued(must(t, m, "after.customer.example"), "after.customer.example")
	f.ca.reset()
	m = f.start() // the stored registration is stale as well
	must(t, m, "again.customer.example")
	after, err := m.KeyAuthorization(t.Context(), "token")
	if err != nil || after != before {
		t.Errorf("%q became %q, %v", before, after, err)
	}
	if f.ca.orders.Load() != 3 {
		t.Errorf("%d orders", f.ca.orders.Load())
	}
}

func TestAccount_TwoEdgesShareOneKey(t *testing.T) {
	f := newFixture(t)
	one, two := f.start(), f.start()
	var group sync.WaitGroup
	for i, m := range []*Manager{one, two} {
		group.Go(func() { must(t, m, fmt.Sprintf("n%d.customer.example", i)) })
	}
	group.Wait()
	a, _ := one.KeyAuthorization(t.Context(), "token")
	b, _ := two.KeyAuthorization(t.Context(), "token")
	if a != b || !strings.HasPrefix(a, "token.") {
		t.Errorf("%q and %q", a, b)
	}
}

func TestKeyAuthorization_NeedsAccountAndToken(t *testing.T) {
	f := newFixture(t)
	m, idle := f.start(), f.start()
	_, err := idle.KeyAuthorization(t.Context(), "token")
	wantCode(t, err, shingle.CodeNotFound)
	must(t, m, testHost)
	if _, err := idle.KeyAuthorization(t.Context(), "to-ken_1"); err != nil {
		t.Error(err) // an edge that never issued answers
	}
	down := func(string) error { return errStore }
	f.blobs.onGet.Store(&down)
	if _, err := idle.KeyAuthorization(t.Context(), "token"); err != nil {
		t.Errorf("with the store down: %v", err)
	}
	for _, token := range []string{"", "a.b", "a/b", "ä", "a=", strings.Repeat("a", 129)} {
		_, err := m.KeyAuthorization(t.Context(), token)
		wantCode(t, err, shingle.CodeNotFound)
	}
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

func TestClose_EndsIssuances(t *testing.T) {
	f := newFixture(t)
	arrived, release := f.ca.hold()
	m := f.start()
	result := make(chan error)
	go func() {
		_, err := m.Certificate(t.Context(), testHost)
		result <- err
	}()
	<-arrived
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, <-result, shingle.CodeUnavailable)
	if stacks := goroutines(); strings.Contains(stacks, "certs.(*flights)") || strings.Contains(stacks, "certs.(*Manager)") {
		t.Errorf("goroutines left:\n%s", stacks)
	}
	_, err := m.Certificate(t.Context(), testHost)
	wantCode(t, err, shingle.CodeUnavailable)
	release()
	must(t, f.start(), testHost) // nothing is stuck
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

func goroutines() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
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

func TestNew_RefusesBadConfig(t *testing.T) {
	f := newFixture(t)
	good := f.start().cfg
	for name, spoil := range map[string]func(*Config){
		"blobs":      func(c *Config) { c.Blobs = nil },
		"master key": func(c *Config) { c.MasterKey = nil },
		"directory":  func(c *Config) { c.CAs = []CA{{Directory: "http://ca.example/dir"}} },
		"terms":      func(c *Config) { c.TermsAgreed = false },
		"times":      func(c *Config) { c.RetryDelay = -1 },
		"sizes":      func(c *Config) { c.CacheBytes = 1 },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := New(cfg); !errors.Is(err, shingle.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
