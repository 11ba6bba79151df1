package certs

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/shingle-proxy/shingle"
)

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
