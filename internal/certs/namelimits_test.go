package certs

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/shingle-proxy/shingle"
)

const hourly = 12 * time.Minute // five an hour

// TestNameLimits_FailedValidations has a host fail as often as the CA allows, and
// an operator who renews by hand, deletes and adds again.
func TestNameLimits_FailedValidations(t *testing.T) {
	f := newFixture(t)
	f.ca.httpDown.Store(true)
	f.ca.tlsDown.Store(true)
	m := f.start()
	wanted(t, m)
	again := func() error {
		t.Helper()
		if err := m.Renew(t.Context(), testHost); err != nil {
			t.Fatal(err)
		}
		_, err := m.Certificate(t.Context(), testHost)
		if err == nil {
			t.Fatal("issued")
		}
		landed(m, testHost)
		return err
	}
	for range 10 {
		_ = again()
	}
	wantOrders(t, f.ca, 5)
	c := show(t, m)
	if c.Failed == nil || c.Failed.Who != shingle.WhoCustomer || !strings.Contains(c.Failed.Message, "could not validate") {
		t.Errorf("what must be mended is not told: %+v", c.Failed)
	}
	if l := c.Limits[0]; l.Failures.Left >= 1 || l.Failures.Count != 5 || l.Certificates.Left != 5 || !l.NotBefore.After(f.now()) || c.Next.Before(l.NotBefore) {
		t.Errorf("limits %+v, next %s", l, c.Next)
	}

	if err := m.Drop(t.Context(), testHost); err != nil {
		t.Fatal(err)
	}
	m = f.start()
	wanted(t, m)
	if err := again(); shingle.CodeOf(err) != shingle.CodeLimited {
		t.Errorf("added again: %v", err)
	}
	wantOrders(t, f.ca, 5)
	f.advance(hourly)
	_ = again()
	wantOrders(t, f.ca, 6)

	f.ca.httpDown.Store(false)
	f.ca.tlsDown.Store(false)
	f.advance(hourly)
	if err := m.Renew(t.Context(), testHost); err != nil {
		t.Fatal(err)
	}
	must(t, m, testHost)
}

// TestNameLimits_CountedThoughTheProcessDied leaves a spoilt order behind.
func TestNameLimits_CountedThoughTheProcessDied(t *testing.T) {
	f := newFixture(t)
	f.ca.httpDown.Store(true)
	f.ca.tlsDown.Store(true)
	died := f.start()
	var left shingle.Blob // of the last order, at the moment of death
	f.blobs.put(func(key string, write func() (string, error)) (string, error) {
		if !strings.Contains(key, "/names/") {
			return write()
		}
		var err error
		if left, err = f.blobs.Blobs.Get(t.Context(), "orders/"+testHost); err != nil {
			t.Error(err)
		}
		return "", errStore
	})
	if _, err := died.Certificate(t.Context(), testHost); err == nil {
		t.Fatal("issued")
	}
	landed(died, testHost)
	f.blobs.onPut.Store(nil)
	if _, err := f.blobs.Put(t.Context(), left.Key, left.Value, shingle.NoVersion); err != nil {
		t.Fatal(err)
	}
	f.ca.httpDown.Store(false)
	f.ca.tlsDown.Store(false)
	f.advance(2 * time.Minute)
	m := f.start()
	must(t, m, testHost)
	landed(m, testHost)
	if left := show(t, m).Limits[0].Failures.Left; left > 4.2 {
		t.Errorf("%f validations may fail", left)
	}
}

// TestNameLimits_SameName orders for one name as often as a CA allows in a week.
func TestNameLimits_SameName(t *testing.T) {
	f := newFixture(t)
	var m *Manager
	for range 5 {
		m = f.start()
		wanted(t, m)
		must(t, m, testHost)
		landed(m, testHost)
		if err := m.Drop(t.Context(), testHost); err != nil {
			t.Fatal(err)
		}
	}
	wanted(t, m)
	_, err := m.Certificate(t.Context(), testHost)
	wantCode(t, err, shingle.CodeLimited)
	landed(m, testHost)
	wantOrders(t, f.ca, 5)
	f.advance(7 * 24 * time.Hour / 5)
	must(t, m, testHost)
}

// TestNameLimits_CleanedWhenTheyAreFull drops a domain and lets time pass.
func TestNameLimits_CleanedWhenTheyAreFull(t *testing.T) {
	f := newFixture(t)
	m := f.start()
	must(t, m, testHost)
	landed(m, testHost)
	if err := m.Drop(t.Context(), testHost); err != nil {
		t.Fatal(err)
	}
	records := func() (n int) {
		keys, err := f.blobs.List(t.Context(), "", "", 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			if strings.Contains(key, "/names/") || strings.HasPrefix(key, droppedPrefix) {
				n++
			}
		}
		return n
	}
	for _, x := range []struct {
		after time.Duration
		want  int
	}{{0, 2}, {7 * 24 * time.Hour, 2}, {2 * 24 * time.Hour, 0}} {
		f.advance(x.after)
		if err := m.budgets.clean(t.Context(), m.cas, f.now()); err != nil {
			t.Fatal(err)
		}
		if n := records(); n != x.want {
			t.Errorf("after %s: %d records, want %d", x.after, n, x.want)
		}
	}
}

// TestNameLimits_OneNamesLimitStopsNoOther has the CA limit one host.
func TestNameLimits_OneNamesLimitStopsNoOther(t *testing.T) {
	for detail, who := range map[string]string{
		`too many failed authorizations (5) for "blog.customer.example" in the last 1h0m0s, retry after 2026-01-01 00:00:00 UTC`:                                                   shingle.WhoCustomer,
		`too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, retry after 2026-01-01 00:00:00 UTC`:                                     shingle.WhoNobody,
		`too many certificates (50) already issued for "customer.example" in the last 168h0m0s`:                                                                                    shingle.WhoNobody,
		`Your account is temporarily prevented from requesting certificates for blog.customer.example and possibly others. Please visit: https://portal.example/unpause?jwt=a.b.c`: shingle.WhoOperator,
	} {
		f := newFixture(t)
		m := f.start()
		wanted(t, m)
		f.ca.refuse(429, "rateLimited", detail, "7200")
		_, err := m.Certificate(t.Context(), testHost)
		wantCode(t, err, shingle.CodeLimited)
		landed(m, testHost)
		if c := show(t, m); c.Failed.Who != who || c.Next.Before(f.now().Add(time.Hour)) {
			t.Errorf("%s: %+v, next %s", detail, c.Failed, c.Next)
		}
		f.ca.answer.Store(nil)
		must(t, m, "shop.other.example")
	}
}

func TestLimitScope(t *testing.T) {
	for detail, want := range map[string]scope{
		`too many new orders (300) from this account in the last 3h0m0s, retry after 1970`: scopeAccount,
		`Service busy; retry later.`:                                                 scopeAccount,
		`too many certificates already issued for "customer.example"`:                scopeDomain,
		`too many failed authorizations recently: see https://letsencrypt.org/docs/`: scopeFailures,
		`limit reached for "blog.customer.example"`:                                  scopeName,
	} {
		if got := limitScope(acme.Problem{Detail: detail}, testHost); got != want {
			t.Errorf("%s: %d, want %d", detail, got, want)
		}
	}
	if got := limitScope(acme.Problem{Detail: `limit for "customer.example"`}, "customer.example"); got != scopeDomain {
		t.Errorf("a registered domain: %d", got)
	}
}

func wanted(t *testing.T, m *Manager) {
	t.Helper()
	if err := m.Want(t.Context(), testHost, ""); err != nil {
		t.Fatal(err)
	}
}

func show(t *testing.T, m *Manager) shingle.Certificate {
	t.Helper()
	c, err := m.Info(t.Context(), testHost)
	if err != nil || len(c.Limits) != 1 {
		t.Fatal(fmt.Errorf("%d limits: %w", len(c.Limits), err))
	}
	return c
}
