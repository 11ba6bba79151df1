package api_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// lens is an [api.Checker] that always finds the same.
type lens struct {
	result shingle.CheckResult
	err    error
	owners map[string]shingle.Reason // the tenants whom DNS names
	soon   []string                  // who was to be checked soon
}

func (l *lens) CheckSoon(_ context.Context, host string) error {
	l.soon = append(l.soon, host)
	return l.err
}

func (l *lens) CheckDomain(_ context.Context, host string) (shingle.CheckResult, error) {
	r := l.result
	r.Host = host
	return r, l.err
}

func (l *lens) CheckFor(ctx context.Context, host, tenant string) (shingle.CheckResult, error) {
	r, err := l.CheckDomain(ctx, host)
	if reason, ok := l.owners[tenant]; ok {
		r.DNS.Proven, r.DNS.Reason = true, reason
	}
	return r, err
}

func (l *lens) Instructions(host, tenant string) shingle.Instructions {
	return shingle.Instructions{Target: tenant + ".edge.example.com", ProofName: "_shingle-challenge." + host, ProofText: "proof-of-" + tenant}
}

func finding(r shingle.Reason) shingle.Finding {
	return shingle.Finding{Reason: r, Message: "Found " + string(r) + "."}
}

// TestCheck shows all that a check found.
func TestCheck(t *testing.T) {
	l := &lens{result: shingle.CheckResult{
		At: clock,
		DNS: shingle.DNSResult{
			Finding: finding(shingle.ReasonPointsElsewhere), CAA: finding(shingle.ReasonCAAAllows), Notes: []shingle.Finding{finding(shingle.ReasonWildcard)},
			Chain:     []shingle.Alias{{Name: "blog.customer.com", Target: "www.customer.com", TTL: 5 * time.Minute}},
			Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.7")}, TTL: time.Minute,
			Zone: "customer.com", Nameservers: []string{"ns1.example.net"}, Provider: "GoDaddy", Service: "Wix",
			Set:    []shingle.DNSRecord{{Type: "CNAME", Name: "blog", FQDN: "blog.customer.com", Value: "edge.example.com"}},
			Remove: []shingle.DNSRecord{{Type: "A", Name: "blog", FQDN: "blog.customer.com", Value: "192.0.2.7"}},
		},
		HTTPS: shingle.HTTPSResult{
			Finding:  finding(shingle.ReasonOtherServer),
			Attempts: []shingle.HTTPSAttempt{{Finding: finding(shingle.ReasonOtherServer), Address: netip.MustParseAddr("192.0.2.7")}},
			Issuer:   "Test CA", NotAfter: clock, Status: 200,
		},
	}}
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Checker = l })
	got, err := s.client().CheckDomain(t.Context(), "Blog.Customer.com.", "")
	check(t, err)
	if got.Host != "blog.customer.com" || got.Known || got.Ready || got.Verdict.Reason != "points_elsewhere" || got.Verdict.Good || got.Verdict.Who != "customer" {
		t.Errorf("%+v", got)
	}
	d := got.DNS
	if d.Chain[0].TTL != 300 || d.TTL != 60 || d.Addresses[0].String() != "192.0.2.7" || d.Set[0].Value != "edge.example.com" || d.Remove[0].Type != "A" ||
		d.Zone != "customer.com" || d.Provider != "GoDaddy" || d.Service != "Wix" || d.Notes[0].Reason != "wildcard" || d.Nameservers[0] != "ns1.example.net" {
		t.Errorf("%+v", d)
	}
	if h := got.HTTPS; h.Attempts[0].Address.String() != "192.0.2.7" || h.Attempts[0].Reason != "other_server" || h.Issuer != "Test CA" || !h.NotAfter.Equal(clock) || h.Status != 200 {
		t.Errorf("%+v", h)
	}
	if got.CAA == nil || !got.CAA.Good {
		t.Errorf("CAA %+v", got.CAA)
	}
}

// TestCheck_Verdict: what keeps the domain from working comes first.
func TestCheck_Verdict(t *testing.T) {
	here, works := finding(shingle.ReasonPointsHere), finding(shingle.ReasonHTTPSWorks)
	failed := &shingle.CertificateFailure{Message: "no", Who: shingle.WhoCA}
	for _, x := range []struct {
		name   string
		added  string
		of     shingle.CheckResult
		reason string
		who    string
	}{
		{"all well", "blog.customer.com", shingle.CheckResult{DNS: shingle.DNSResult{Finding: here}, HTTPS: shingle.HTTPSResult{Finding: works}}, "served", "nobody"},
		{"covered by a wildcard", "*.customer.com", shingle.CheckResult{DNS: shingle.DNSResult{Finding: here}, HTTPS: shingle.HTTPSResult{Finding: works}}, "served", "nobody"},
		{"not added", "other.customer.com", shingle.CheckResult{DNS: shingle.DNSResult{Finding: here}}, "not_added", "operator"},
		{"CAA", "blog.customer.com", shingle.CheckResult{DNS: shingle.DNSResult{Finding: here, CAA: finding(shingle.ReasonCAAForbids)}}, "caa_forbids", "customer"},
		{"on its way", "blog.customer.com", shingle.CheckResult{DNS: shingle.DNSResult{Finding: here}, HTTPS: shingle.HTTPSResult{Finding: finding(shingle.ReasonHandshakeFailed), Reached: true}}, "certificate_ordered", "nobody"},
		{"failed", "blog.customer.com", shingle.CheckResult{Failed: failed, DNS: shingle.DNSResult{Finding: here}, HTTPS: shingle.HTTPSResult{Finding: finding(shingle.ReasonHandshakeFailed), Reached: true}}, "certificate_failed", "ca"},
		{"edge away", "blog.customer.com", shingle.CheckResult{DNS: shingle.DNSResult{Finding: here}, HTTPS: shingle.HTTPSResult{Finding: finding(shingle.ReasonUnreachable)}}, "unreachable", "operator"},
	} {
		s := open(t, &memory.Store{}, func(c *api.Config) { c.Checker = &lens{result: x.of} })
		_, err := s.client().CreateDomain(t.Context(), api.NewDomain{Host: x.added})
		check(t, err)
		got, err := s.client().CheckDomain(t.Context(), "blog.customer.com", "")
		check(t, err)
		if got.Verdict.Reason != x.reason || got.Verdict.Who != x.who || got.Verdict.Message == "" {
			t.Errorf("%s: %+v", x.name, got.Verdict)
		}
	}
}

func TestCheck_Errors(t *testing.T) {
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Checker = &lens{err: shingle.ErrLimited} })
	if _, err := s.client().CheckDomain(t.Context(), "blog.customer.com", ""); !errors.Is(err, shingle.ErrLimited) {
		t.Errorf("too many: %v", err)
	}
	if _, err := s.client().CheckDomain(t.Context(), "192.0.2.1", ""); !errors.Is(err, shingle.ErrInvalid) {
		t.Errorf("an address: %v", err)
	}
	s.want(401, s.do("POST", "/v1/domains/blog.customer.com/check", "", "Authorization", ""))
	without := open(t, &memory.Store{})
	without.want(404, without.do("POST", "/v1/domains/blog.customer.com/check", ""))
}
