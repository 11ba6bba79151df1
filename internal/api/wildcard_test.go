package api_test

import (
	"testing"

	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

func TestDomains_Wildcard(t *testing.T) {
	s := open(t, &memory.Store{}, func(*api.Config) {})
	c := s.client()
	d, err := c.CreateDomain(t.Context(), api.NewDomain{Host: "*.Bücher.example.com"})
	check(t, err)
	if d.Host != "*.xn--bcher-kva.example.com" || d.Unicode != "*.bücher.example.com" {
		t.Errorf("made %+v", d)
	}
	for _, path := range []string{"*.xn--bcher-kva.example.com", "%2A.xn--bcher-kva.example.com", "*.b%C3%BCcher.example.com"} {
		if got := s.domain(s.want(200, s.do("GET", "/v1/domains/"+path, ""))); got.Host != d.Host {
			t.Errorf("%s: %+v", path, got)
		}
	}
	for _, bad := range []string{`{"host":"*.co.uk"}`, `{"host":"a.*.example.com"}`, `{"host":"a.example.com","redirect":"*.example.com"}`} {
		s.want(422, s.do("POST", "/v1/domains", bad))
	}
	check(t, c.DeleteDomain(t.Context(), "*.bücher.example.com"))
	s.want(404, s.do("GET", "/v1/domains/"+d.Host, ""))
}

// TestAsk_Wildcard asks, as a Caddy does, about hosts that a wildcard covers.
func TestAsk_Wildcard(t *testing.T) {
	s := open(t, &memory.Store{}, func(*api.Config) {})
	for _, body := range []string{`{"host":"*.example.com"}`, `{"host":"paused.example.com","paused":true}`} {
		s.want(201, s.do("POST", "/v1/domains", body))
	}
	for host, status := range map[string]int{
		"a.example.com": 200, "paused.example.com": 404, "example.com": 404, "a.b.example.com": 404, "*.example.com": 400,
	} {
		s.want(status, s.do("GET", "/ask?domain="+host, "", "Authorization", ""))
	}
}

func TestDomains_ShowTheRecordForDNS01(t *testing.T) {
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Certificates = &shelf{} })
	d := s.domain(s.want(201, s.do("POST", "/v1/domains", `{"host":"*.example.com","tenant":"acme"}`)))
	want := api.Delegation{Name: "_acme-challenge.example.com", Type: "CNAME", Value: "acme.acme.example.com", Required: true}
	if d.Delegation == nil || *d.Delegation != want {
		t.Errorf("made %+v", d.Delegation)
	}
	d = s.domain(s.want(201, s.do("POST", "/v1/domains", `{"host":"a.example.com","tenant":"acme"}`)))
	if d.Delegation == nil || d.Delegation.Required {
		t.Errorf("made %+v", d.Delegation)
	}
	if d = s.domain(s.want(200, s.do("PATCH", "/v1/domains/a.example.com", `{"tenant":null}`))); d.Delegation != nil {
		t.Errorf("without DNS-01: %+v", d.Delegation)
	}
}
