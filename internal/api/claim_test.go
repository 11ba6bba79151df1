package api_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// TestClaim: a domain goes to whom its DNS names, and to nobody else.
func TestClaim(t *testing.T) {
	const host = "blog.customer.com"
	l := &lens{owners: map[string]shingle.Reason{}}
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Checker = l })
	c := s.client()
	_, err := c.CreateDomain(t.Context(), api.NewDomain{Host: host, Tenant: "acme", Origin: "https://acme.example.com", Paused: true})
	check(t, err)
	if _, err := c.CreateDomain(t.Context(), api.NewDomain{Host: "BLOG.customer.com.", Tenant: "mallory"}); !errors.Is(err, shingle.ErrExists) {
		t.Errorf("added twice: %v", err)
	}
	_, err = c.ClaimDomain(t.Context(), host, "newco")
	if !errors.Is(err, shingle.ErrForbidden) || !strings.Contains(err.Error(), "proof-of-newco") || !strings.Contains(err.Error(), "newco.edge.example.com") {
		t.Errorf("without a proof: %v", err)
	}
	l.owners["newco"], l.owners["acme"] = shingle.ReasonPointsHere, shingle.ReasonPointsHere
	if _, err = c.ClaimDomain(t.Context(), host, "newco"); !errors.Is(err, shingle.ErrForbidden) || !strings.Contains(err.Error(), "still names") {
		t.Errorf("while its DNS names both: %v", err)
	}
	l.owners["acme"] = shingle.ReasonOtherTenant // a TXT record of acme's is left, but the host leads to newco
	d, err := c.ClaimDomain(t.Context(), host, "newco")
	if err != nil || d.Tenant != "newco" || d.Origin != "" || d.Paused || d.Version != 2 {
		t.Errorf("%+v, %v", d, err)
	}
	delete(l.owners, "newco")
	if d, err = c.ClaimDomain(t.Context(), host, "newco"); err != nil || d.Version != 2 {
		t.Errorf("claimed again by who has it: %+v, %v", d, err)
	}
	l.owners["acme"] = shingle.ReasonPointsHere
	if d, err = c.ClaimDomain(t.Context(), "new.customer.com", "acme"); err != nil || d.Version != 1 || d.Tenant != "acme" {
		t.Errorf("claimed though not there: %+v, %v", d, err)
	}
	if _, err = c.ClaimDomain(t.Context(), host, ""); !errors.Is(err, shingle.ErrInvalid) {
		t.Errorf("for nobody: %v", err)
	}
}

// TestCreate_BelowAnotherTenantsWildcard: who adds a host below it would take its
// requests, and be served with its certificate.
func TestCreate_BelowAnotherTenantsWildcard(t *testing.T) {
	l := &lens{owners: map[string]shingle.Reason{}}
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Checker = l })
	c := s.client()
	_, err := c.CreateDomain(t.Context(), api.NewDomain{Host: "*.customer.com", Tenant: "acme"})
	check(t, err)
	_, err = c.CreateDomain(t.Context(), api.NewDomain{Host: "login.customer.com", Tenant: "mallory"})
	if !errors.Is(err, shingle.ErrExists) || !strings.Contains(err.Error(), "*.customer.com") {
		t.Errorf("mallory: %v", err)
	}
	for host, tenant := range map[string]string{"a.customer.com": "acme", "b.customer.com": "", "customer.com": "other", "a.b.customer.com": "other", "*.b.customer.com": "other"} {
		_, err := c.CreateDomain(t.Context(), api.NewDomain{Host: host, Tenant: tenant})
		check(t, err)
	}
	l.owners["newco"] = shingle.ReasonPointsHere
	_, err = c.ClaimDomain(t.Context(), "login.customer.com", "newco")
	check(t, err)
}

// TestDomain_SaysWhatToSet has the records of a tenant's own.
func TestDomain_SaysWhatToSet(t *testing.T) {
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Checker = &lens{} })
	d, err := s.client().CreateDomain(t.Context(), api.NewDomain{Host: "blog.customer.com", Tenant: "acme"})
	if err != nil || d.DNS == nil || d.DNS.CNAME != "acme.edge.example.com" || d.DNS.Proof.TXT != "_shingle-challenge.blog.customer.com" || d.DNS.Proof.Text != "proof-of-acme" {
		t.Errorf("%+v, %v", d.DNS, err)
	}
	found, err := s.client().CheckDomain(t.Context(), "blog.customer.com", "newco")
	if err != nil || found.DNS.Proven {
		t.Errorf("%+v, %v", found, err)
	}
}

// TestDelete_DestroysTheKey before it answers; a store that fails then leaves that to
// the worker, but a revocation that cannot be had keeps the domain.
func TestDelete_DestroysTheKey(t *testing.T) {
	l := &shelf{}
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Certificates = l })
	c := s.client()
	add := func() {
		t.Helper()
		_, err := c.CreateDomain(t.Context(), api.NewDomain{Host: "blog.customer.com"})
		check(t, err)
	}
	add()
	check(t, c.DeleteAndRevoke(t.Context(), "blog.customer.com"))
	add()
	l.fail = errors.New("the store is away")
	check(t, c.DeleteDomain(t.Context(), "blog.customer.com"))
	add()
	l.fail = shingle.Errorf(shingle.CodeInvalid, "it is from elsewhere")
	if err := c.DeleteAndRevoke(t.Context(), "blog.customer.com"); !errors.Is(err, shingle.ErrInvalid) {
		t.Errorf("one from elsewhere: %v", err)
	}
	_, err := c.Domain(t.Context(), "blog.customer.com")
	check(t, err)
	if got := strings.Join(l.retired, ", "); got != "revoke blog.customer.com, drop blog.customer.com, drop blog.customer.com, revoke blog.customer.com" {
		t.Error(got)
	}
}

// TestAsk_HeedsThePermission: another server must not obtain what we would not.
func TestAsk_HeedsThePermission(t *testing.T) {
	refusal := map[string]error{"unproven.customer.com": shingle.ErrForbidden, "new.customer.com": shingle.ErrUnavailable}
	s := open(t, &memory.Store{}, func(c *api.Config) {
		c.Permission = shingle.PermissionFunc(func(_ context.Context, host string) error { return refusal[host] })
	})
	for host, want := range map[string]int{"unproven.customer.com": 404, "new.customer.com": 503, "well.customer.com": 200} {
		_, err := s.client().CreateDomain(t.Context(), api.NewDomain{Host: host, Tenant: "acme"})
		check(t, err)
		s.want(want, s.do("GET", "/ask?domain="+host, ""))
	}
	s.want(404, s.do("GET", "/ask?domain=never.customer.com", ""))
}
