package api

import (
	"net/netip"

	"github.com/shingle-proxy/shingle"
)

// Instructions is what the customer may set for a domain.
type Instructions struct {
	CNAME     string       `json:"cname,omitempty" doc:"The value of a CNAME record. Where the domain has a tenant it is that tenant's own name, and proves control" example:"5c1ef0a3b2d4968710ab.edge.example.com"`
	Addresses []netip.Addr `json:"addresses,omitempty" nullable:"false" doc:"The values of A and AAAA records, for a name that cannot have a CNAME record. They prove nothing: set the TXT record too"`
	Proof     *Proof       `json:"proof,omitempty" doc:"What proves control before those are set, or besides"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// Proof is what shows that a domain is its tenant's; one of the two will do.
type Proof struct {
	TXT  string `json:"txt" doc:"The name of a TXT record" example:"_shingle-challenge.blog.customer.com"`
	URL  string `json:"url,omitempty" doc:"A URL on the server that the domain has until now; redirects on the same host are followed" example:"http://blog.customer.com/.well-known/shingle-challenge"`
	Text string `json:"text" doc:"The value of the TXT record, or all that is at the URL" example:"9f86d081884c7d659a2feaa0c55ad015"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// instructions returns what to set for a domain, nil where that is not known.
func (s *server) instructions(d shingle.Domain) *Instructions {
	if s.Checker == nil {
		return nil
	}
	is := s.Checker.Instructions(d.Host, d.Tenant)
	if is.Target == "" && len(is.Addresses) == 0 {
		return nil
	}
	out := &Instructions{CNAME: is.Target, Addresses: is.Addresses}
	if is.ProofText != "" {
		out.Proof = &Proof{TXT: is.ProofName, URL: is.ProofURL, Text: is.ProofText}
	}
	return out
}
