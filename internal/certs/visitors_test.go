package certs

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// from is the context of a visitor's handshake.
func from(t *testing.T, client string) context.Context {
	return shingle.WithClient(t.Context(), netip.AddrPortFrom(netip.MustParseAddr(client), 40000))
}

// TestVisitors_BeginFewIssuances comes for 500 allowed hosts without a
// certificate, from one network and then from everywhere to one domain.
func TestVisitors_BeginFewIssuances(t *testing.T) {
	for name, x := range map[string]struct {
		visit func(i int) (client, host string)
		most  int64
	}{
		"one network": {func(i int) (string, string) {
			return fmt.Sprintf("203.0.113.%d", i%250), fmt.Sprintf("www.customer%d.example", i)
		}, networkBeginBurst},
		"one domain": {func(i int) (string, string) {
			return fmt.Sprintf("198.51.%d.1", i%250), fmt.Sprintf("n%d.customer.example", i)
		}, domainBeginBurst},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			m := f.start()
			m.visitors.networks = shingle.NewLimiter[netip.Prefix](networkBeginBurst, time.Hour)
			m.visitors.domains = shingle.NewLimiter[string](domainBeginBurst, time.Hour)
			var refused int64
			for i := range 500 {
				client, host := x.visit(i)
				switch _, err := m.Certificate(from(t, client), host); shingle.CodeOf(err) {
				case "":
					landed(m, host)
				case shingle.CodeLimited:
					refused++
				default:
					t.Fatal(err)
				}
			}
			wantOrders(t, f.ca, x.most)
			if counted := m.visitors.loadsRefused.Load() + m.visitors.networksRefused.Load() + m.visitors.domainsRefused.Load(); refused != 500-x.most || int64(counted) != refused {
				t.Errorf("%d refused, %d counted", refused, counted)
			}
			client, host := x.visit(0)
			if _, err := m.Certificate(from(t, client), host); err != nil {
				t.Errorf("a certificate that is there: %v", err)
			}
		})
	}
}

// TestVisitors_FailedHostsCostFewReads comes again and again for a host whose DNS
// is broken, and for more broken hosts than are remembered.
func TestVisitors_FailedHostsCostFewReads(t *testing.T) {
	f := newFixture(t)
	f.ca.httpDown.Store(true)
	f.ca.tlsDown.Store(true)
	m := f.start()
	m.visitors.loads = shingle.NewLimiter[netip.Prefix](loadBurst, time.Hour)
	visitor := from(t, "203.0.113.1")
	if _, err := m.Certificate(visitor, testHost); err == nil {
		t.Fatal("issued")
	}
	landed(m, testHost)
	var reads atomic.Int64
	count := func(string) error { reads.Add(1); return nil }
	f.blobs.onGet.Store(&count)
	for range 200 {
		_, err := m.Certificate(visitor, testHost)
		wantCode(t, err, shingle.CodeUnavailable)
	}
	if n := reads.Load(); n != 1 {
		t.Errorf("%d reads of the store for one host", n)
	}
	f.advance(refusalLookEvery) // another process may have it by now
	_, _ = m.Certificate(visitor, testHost)
	if n := reads.Load(); n != 2 {
		t.Errorf("%d reads of the store", n)
	}
	reads.Store(0)
	for i := range 1000 {
		host := fmt.Sprintf("www.customer%d.example", i)
		m.refusals.put(host, f.now().Add(time.Hour), &shingle.CertificateFailure{Code: shingle.CodeUnavailable, Message: "no"})
		_, _ = m.Certificate(visitor, host)
	}
	if n := reads.Load(); n > loadBurst {
		t.Errorf("%d reads of the store for one network", n)
	}
}

// TestVisitors_ValidationsThatAreNoneCostFewReads has strangers come as a CA does that
// validates, for a host that nobody validates.
func TestVisitors_ValidationsThatAreNoneCostFewReads(t *testing.T) {
	for name, ask := range map[string]func(*Manager, context.Context) error{
		"TLS-ALPN-01": func(m *Manager, ctx context.Context) error {
			_, err := m.ChallengeCertificate(ctx, testHost)
			return err
		},
		"HTTP-01": func(m *Manager, ctx context.Context) error { // without an account
			_, err := m.KeyAuthorization(ctx, "token")
			return err
		},
	} {
		f := newFixture(t)
		m := f.start()
		m.visitors.loads = shingle.NewLimiter[netip.Prefix](loadBurst, time.Hour)
		var reads atomic.Int64
		count := func(string) error { reads.Add(1); return nil }
		f.blobs.onGet.Store(&count)
		for range 2 * loadBurst {
			if err := ask(m, from(t, "203.0.113.1")); err == nil {
				t.Fatalf("%s: answered", name)
			}
		}
		if n := reads.Load(); n != loadBurst {
			t.Errorf("%s: %d reads of the store", name, n)
		}
		if err := ask(m, from(t, "198.51.100.1")); shingle.CodeOf(err) != shingle.CodeNotFound {
			t.Errorf("%s: from elsewhere: %v", name, err)
		}
	}
}
