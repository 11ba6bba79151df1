package certs

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// revocations is what the store remembers that is to be revoked.
func (f *fixture) revocations() []string {
	f.t.Helper()
	keys, err := f.blobs.List(f.t.Context(), revocationPrefix, "", 10)
	if err != nil {
		f.t.Fatal(err)
	}
	return keys
}

// revokedFor returns the reason by which the CA has revoked, 0 when it has not.
func (c *testCA) revokedFor(der []byte) uint {
	if r := c.db.GetRevokedCertificateByDER(der); r != nil {
		return *r.Reason
	}
	return 0
}

// TestRevoke_WhenTheDomainIsGone: not before, whatever the CA does meanwhile, and
// with nothing left of the key.
func TestRevoke_WhenTheDomainIsGone(t *testing.T) {
	f := newFixture(t)
	domains := &memory.Store{}
	told := &eventLog{}
	f.cfg.Domains, f.cfg.Events = domains, told
	d, err := domains.CreateDomain(t.Context(), shingle.Domain{Host: testHost, Tenant: "acme"}, f.now())
	if err != nil {
		t.Fatal(err)
	}
	m := f.start()
	if err := m.Want(t.Context(), testHost, "acme"); err != nil {
		t.Fatal(err)
	}
	cert := must(t, m, testHost)
	landed(m, testHost)
	step := func(what string, want int) {
		t.Helper()
		if err := m.revoke(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(f.revocations()); n != want {
			t.Fatalf("%s: %d are remembered", what, n)
		}
	}
	if err := m.Revoke(t.Context(), testHost); err != nil {
		t.Fatal(err)
	}
	step("the domain is there", 1)
	f.advance(revocationWait)
	step("it was not deleted after all", 0)
	if f.ca.revokedFor(cert.Certificate[0]) != 0 {
		t.Fatal("revoked while it is served")
	}

	for range 2 { // who asks may ask again
		if err := m.Revoke(t.Context(), testHost); err != nil {
			t.Fatal(err)
		}
	}
	if err := domains.DeleteDomain(t.Context(), testHost, d.Version, "", f.now()); err != nil {
		t.Fatal(err)
	}
	if err := m.Drop(t.Context(), testHost); err != nil {
		t.Fatal(err)
	}
	f.ca.down()
	step("the CA is away", 1)
	f.ca.up()
	step("it is not asked at once again", 1)
	if f.ca.revokedFor(cert.Certificate[0]) != 0 {
		t.Fatal("asked at once again")
	}
	f.advance(2 * time.Minute)
	step("the CA is back", 0)
	if reason := f.ca.revokedFor(cert.Certificate[0]); reason != 5 { // cessationOfOperation, RFC 5280 section 5.3.1
		t.Errorf("revoked for the reason %d", reason)
	}
	if e := told.list[len(told.list)-1]; e.Type != shingle.EventCertificateRevoked || e.Host != testHost || e.Tenant != "acme" {
		t.Errorf("told %+v", e)
	}
	f.nothingIsLeft()
}

// nothingIsLeft looks for the key of testHost.
func (f *fixture) nothingIsLeft() {
	f.t.Helper()
	keys, err := f.blobs.List(f.t.Context(), "", "", 1000)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, key := range keys {
		if strings.Contains(key, testHost) && !slices.ContainsFunc([]string{"news/", "dropped/", "budgets/", "leases/"}, func(p string) bool { return strings.HasPrefix(key, p) }) {
			f.t.Errorf("%s is left", key)
		}
	}
}

// TestRevoke_ByTheStoredAccount: a process that has obtained nothing itself.
func TestRevoke_ByTheStoredAccount(t *testing.T) {
	f := newFixture(t)
	cert := must(t, f.start(), testHost)
	m := f.start()
	for range 2 { // the second time it has been done
		if err := m.Revoke(t.Context(), testHost); err != nil {
			t.Fatal(err)
		}
		if err := m.revoke(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(f.revocations()); n != 0 || f.ca.revokedFor(cert.Certificate[0]) != 5 {
			t.Errorf("%d are remembered, revoked for %d", n, f.ca.revokedFor(cert.Certificate[0]))
		}
	}
}

// TestRevoke_NothingToDo has no certificate, one that has expired, and one that is
// from elsewhere.
func TestRevoke_NothingToDo(t *testing.T) {
	f := newFixture(t)
	m := f.start()
	if err := m.Revoke(t.Context(), testHost); err != nil {
		t.Errorf("no certificate: %v", err)
	}
	must(t, m, testHost)
	var r record
	version, err := m.store.get(t.Context(), certKey(testHost), &r)
	if err != nil {
		t.Fatal(err)
	}
	r.Issuer = "https://elsewhere.example/directory"
	if _, err := m.store.put(t.Context(), certKey(testHost), r, version); err != nil {
		t.Fatal(err)
	}
	if err := m.Revoke(t.Context(), testHost); !errors.Is(err, shingle.ErrInvalid) {
		t.Errorf("a certificate from elsewhere: %v", err)
	}
	f.advance(91 * 24 * time.Hour)
	if err := m.Revoke(t.Context(), testHost); err != nil {
		t.Errorf("one that has expired: %v", err)
	}
	if n := len(f.revocations()); n != 0 {
		t.Errorf("%d are remembered", n)
	}
}
