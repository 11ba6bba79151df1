package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shingle-proxy/shingle"
)

// Claim is the body of a claim.
type Claim struct {
	Tenant string `json:"tenant" minLength:"1" doc:"Who is to have the domain" example:"acme"`
}

type claimInput struct {
	HostInput
	Body Claim
}

func (s *server) claimRoutes(a huma.API) {
	op := operation("claim-domain", http.MethodPost, "/v1/domains/{host}/claim", "Give a domain to the tenant who controls it",
		http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusForbidden, http.StatusPreconditionFailed, http.StatusTooManyRequests)
	op.Description = "DNS is looked at now. Who proves control gets the domain, whoever has it, with settings of none; " +
		"a certificate that is there is kept, so that visitors notice nothing. Otherwise the answer is 403 and says what to set."
	register(s, a, op, s.claim)
}

// claim moves a domain, or adds it, when its DNS says that it is the tenant's.
func (s *server) claim(ctx context.Context, in *claimInput) (*domainAnswer, error) {
	host, err := hostInPath(in.Host)
	if err != nil {
		return nil, err
	}
	d := shingle.Domain{Host: host, Tenant: in.Body.Tenant, UpdatedBy: caller(ctx)}
	if err := d.Validate(); err != nil {
		return nil, err
	}
	if err := s.ownTenant(ctx, d.Tenant); err != nil {
		return nil, err
	}
	release, err := s.tenantChecks.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	old, err := s.Store.Domain(ctx, host)
	if err == nil && old.Tenant == d.Tenant {
		return s.answerWith(ctx, old), nil
	}
	if err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return nil, err
	}
	if err := s.mustProve(ctx, d); err != nil {
		return nil, err
	}
	if old.Host == "" {
		if err = s.mustNotBeCovered(ctx, d, true); err == nil {
			d, err = s.makeRow(ctx, d)
		}
	} else if err = s.mustBeGivenUp(ctx, old); err == nil {
		d.Version = old.Version
		d.Paused = old.Paused && tenantOf(ctx) != "" // a pause is not a customer's to end
		d, err = s.replaceRow(ctx, old, d)
	}
	if err != nil {
		return nil, named(host, err)
	}
	return s.answerWith(ctx, d), nil
}

// mustProve returns nil when DNS, or the present server, says now that a domain is
// its tenant's.
func (s *server) mustProve(ctx context.Context, d shingle.Domain) error {
	r, err := s.Checker.CheckFor(ctx, d.Host, d.Tenant)
	switch {
	case err != nil:
		return err
	case r.DNS.Proven:
		return nil
	}
	is := s.Checker.Instructions(d.Host, d.Tenant)
	how := fmt.Sprintf("set the TXT record %s to %s", is.ProofName, is.ProofText)
	if is.Target != "" {
		how += ", or a CNAME record that leads to " + is.Target
	}
	if is.ProofURL != "" {
		how += ", or show that text at " + is.ProofURL
	}
	return shingle.Errorf(shingle.CodeForbidden, "nothing shows that %s is %s's: %s, and claim it again", d.Host, d.Tenant, how)
}

// mustBeGivenUp refuses to take a domain from a tenant whom its DNS still names: a
// TXT record that an earlier tenant left behind must not bring the domain back.
func (s *server) mustBeGivenUp(ctx context.Context, d shingle.Domain) error {
	r, err := s.Checker.CheckFor(ctx, d.Host, d.Tenant)
	if err != nil || !r.DNS.Proven || r.DNS.Reason == shingle.ReasonOtherTenant {
		return err
	}
	return shingle.Errorf(shingle.CodeForbidden, "the DNS of %s still names the tenant who has it: remove that record first, and claim it again", d.Host)
}

// mustNotBeCovered refuses a host below a wildcard of another tenant: to claim it
// takes a proof of control, as its requests would no longer be that tenant's. Below one
// that the operator has paused a tenant adds none in any case: it would be served.
func (s *server) mustNotBeCovered(ctx context.Context, d shingle.Domain, proven bool) error {
	wildcard := shingle.Covering(d.Host)
	if wildcard == "" || d.Tenant == "" || shingle.IsWildcard(d.Host) {
		return nil
	}
	over, err := s.Store.Domain(ctx, wildcard)
	switch {
	case errors.Is(err, shingle.ErrNotFound):
		return nil
	case err != nil:
		return err
	case !proven && over.Tenant != "" && over.Tenant != d.Tenant:
		return shingle.Errorf(shingle.CodeExists, "%s is covered by %s, which another tenant has: claim it, with a proof of control", d.Host, wildcard)
	case over.Paused && tenantOf(ctx) != "":
		return shingle.Errorf(shingle.CodeForbidden, "%s is covered by %s, which the operator has paused", d.Host, wildcard)
	}
	return nil
}
