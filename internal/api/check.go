package api

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shingle-proxy/shingle"
)

// Checker looks at domains from outside.
type Checker interface {
	// CheckDomain looks at the DNS and HTTPS of a host, which need not be set up
	// here, within a bounded time. It returns [shingle.ErrLimited] when too many
	// are being checked.
	CheckDomain(ctx context.Context, host string) (shingle.CheckResult, error)

	// CheckFor is CheckDomain for a tenant who may have the host or not.
	CheckFor(ctx context.Context, host, tenant string) (shingle.CheckResult, error)

	// CheckSoon has the status of a domain brought up to date, by whoever looks after
	// statuses, in a few seconds.
	CheckSoon(ctx context.Context, host string) error

	// Instructions returns what the customer of a tenant may set for a domain.
	Instructions(host, tenant string) shingle.Instructions
}

// Check is what a check of a domain found.
type Check struct {
	Host    string    `json:"host" example:"blog.customer.com"`
	At      time.Time `json:"at"`
	Known   bool      `json:"known" doc:"The domain is set up here"`
	Ready   bool      `json:"ready" doc:"DNS and CAA are such that a certificate can be obtained"`
	Verdict Finding   `json:"verdict" doc:"What matters most: what is wrong, or that all is well"`

	DNS   CheckDNS   `json:"dns"`
	CAA   *Finding   `json:"caa,omitempty" doc:"Whether the customer's CAA records allow our certificate authority"`
	HTTPS CheckHTTPS `json:"https"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// Finding is one verdict of a check.
type Finding struct {
	Reason  string `json:"reason" example:"points_elsewhere" doc:"For programs; docs/domains.md lists them"`
	Good    bool   `json:"good" doc:"Nothing has to be done about it"`
	Who     string `json:"who" enum:"customer,operator,ca,nobody" doc:"Who must act"`
	Message string `json:"message" doc:"For people, the customer too"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// CheckDNS is what DNS says of a domain.
type CheckDNS struct {
	Finding
	Chain       []Alias      `json:"chain,omitempty" nullable:"false" doc:"The CNAME records, from the host on"`
	Addresses   []netip.Addr `json:"addresses,omitempty" nullable:"false"`
	TTL         int          `json:"ttl,omitempty" doc:"Seconds for which resolvers may keep the answer"`
	Zone        string       `json:"zone,omitempty" doc:"That the host is in, where that was looked for"`
	Nameservers []string     `json:"nameservers,omitempty" nullable:"false" doc:"Of the zone"`
	Provider    string       `json:"provider,omitempty" doc:"Who runs the name servers"`
	Service     string       `json:"service,omitempty" doc:"The CDN or web host that the domain points to"`
	Proven      bool         `json:"proven" doc:"The tenant's own record, or text, was seen"`
	Set         []Record     `json:"set,omitempty" nullable:"false" doc:"Records to set"`
	Remove      []Record     `json:"remove,omitempty" nullable:"false" doc:"Records that are in the way"`
	Proof       *Record      `json:"proof,omitempty" doc:"What proves control without that"`
	Notes       []Finding    `json:"notes,omitempty" nullable:"false" doc:"What does not keep the domain from working"`
}

// Alias is a CNAME record.
type Alias struct {
	Name   string `json:"name"`
	Target string `json:"target"`
	TTL    int    `json:"ttl" doc:"Seconds"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// Record is a DNS record as it is typed in at the customer's provider.
type Record struct {
	Type  string `json:"type" example:"CNAME"`
	Name  string `json:"name" example:"blog" doc:"For the name field there; may be empty"`
	FQDN  string `json:"fqdn" example:"blog.customer.com"`
	Value string `json:"value" example:"edge.example.com"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// CheckHTTPS is what answers at the addresses of a domain.
type CheckHTTPS struct {
	Finding
	Reached   bool           `json:"reached" doc:"All addresses are our edge, or lead to it"`
	Attempts  []CheckAttempt `json:"attempts,omitempty" nullable:"false"`
	Issuer    string         `json:"issuer,omitempty" doc:"Of the certificate that is shown"`
	NotAfter  time.Time      `json:"not_after,omitzero"`
	Status    int            `json:"status,omitempty" doc:"HTTP status of the first page"`
	Redirects bool           `json:"redirects" doc:"Plain HTTP leads to HTTPS"`
	Notes     []Finding      `json:"notes,omitempty" nullable:"false" doc:"What does not keep the domain from working"`
}

// CheckAttempt is what answers at one address.
type CheckAttempt struct {
	Address netip.Addr `json:"address"`
	Finding
}

// tenantChecks are how many checks of domains the tokens of one tenant may wait for at a time.
const tenantChecks = 4

type checkAnswer struct{ Body Check }

func (s *server) checkRoutes(a huma.API) {
	op := operation("check-domain", http.MethodPost, "/v1/domains/{host}/check", "Check a domain's DNS and HTTPS now", http.StatusNotFound, http.StatusTooManyRequests)
	op.Description = "Takes some seconds at most. The domain need not be set up here: what to set can be learned before; a tenant's token sees its own only."
	register(s, a, op, s.check)
}

type checkInput struct {
	HostInput
	Tenant string `query:"tenant" doc:"Who is to have the domain: the records to set are this tenant's. Default: who has it"`
}

func (s *server) check(ctx context.Context, in *checkInput) (*checkAnswer, error) {
	host, err := hostInPath(in.Host)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.ownHost(ctx, host), s.ownTenant(ctx, in.Tenant)); err != nil {
		return nil, err
	}
	release, err := s.tenantChecks.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	look := s.Checker.CheckDomain
	if in.Tenant != "" {
		look = func(ctx context.Context, host string) (shingle.CheckResult, error) {
			return s.Checker.CheckFor(ctx, host, in.Tenant)
		}
	}
	r, err := look(ctx, host)
	if err != nil {
		return nil, err
	}
	out := showCheck(r)
	if out.Known, err = s.known(ctx, host); err != nil {
		return nil, err
	}
	if err := s.judgeProof(ctx, in.Tenant, &r, &out); err != nil {
		return nil, err
	}
	if !out.Known && out.Ready {
		out.Verdict = showFinding(shingle.Finding{Reason: shingle.ReasonNotAdded, Message: "DNS is in order, but the domain has not been added here, so that our edge refuses it."})
	}
	return &checkAnswer{out}, nil
}

// judgeProof corrects the verdict on a domain of which nothing shows that it is its
// tenant's.
func (s *server) judgeProof(ctx context.Context, tenant string, r *shingle.CheckResult, out *Check) error {
	status, err := s.status(ctx, r.Host)
	if err != nil || status == nil || !status.ProofNeeded || r.DNS.Proven || tenant != "" || !out.Ready {
		return err
	}
	out.Ready, out.Verdict = false, showFinding(r.DNS.ProofNeeded(r.Host))
	return nil
}

// known reports whether a host, or a wildcard that covers it, is set up here.
func (s *server) known(ctx context.Context, host string) (bool, error) {
	for _, name := range []string{host, shingle.Covering(host)} {
		if name == "" {
			continue
		}
		if _, err := s.Store.Domain(ctx, name); err == nil || !errors.Is(err, shingle.ErrNotFound) {
			return err == nil, err
		}
	}
	return false, nil
}

// checkSoon has a domain checked because something was done for it. That it cannot be
// told is no fault of that: the domain is checked when its time comes.
func (s *server) checkSoon(ctx context.Context, host string) {
	if s.Checker == nil {
		return
	}
	if err := s.Checker.CheckSoon(ctx, host); err != nil {
		s.Logger.Warn("domain not checked at once", "host", host, "error", err)
	}
}

func showCheck(r shingle.CheckResult) Check {
	verdict, who := r.Verdict()
	out := Check{
		Host: r.Host, At: r.At, Ready: shingle.Preflight(r) == nil, Verdict: showFinding(verdict),
		DNS: CheckDNS{
			Finding: showFinding(r.DNS.Finding), Addresses: r.DNS.Addresses, TTL: seconds(r.DNS.TTL), Zone: r.DNS.Zone,
			Nameservers: r.DNS.Nameservers, Provider: r.DNS.Provider, Service: r.DNS.Service,
			Proven: r.DNS.Proven, Set: showRecords(r.DNS.Set), Remove: showRecords(r.DNS.Remove), Notes: showFindings(r.DNS.Notes),
		},
		HTTPS: CheckHTTPS{
			Finding: showFinding(r.HTTPS.Finding), Reached: r.HTTPS.Reached, Issuer: r.HTTPS.Issuer, NotAfter: r.HTTPS.NotAfter,
			Status: r.HTTPS.Status, Redirects: r.HTTPS.Redirects, Notes: showFindings(r.HTTPS.Notes),
		},
	}
	out.Verdict.Who = who
	if r.DNS.Proof != nil {
		out.DNS.Proof = &showRecords([]shingle.DNSRecord{*r.DNS.Proof})[0]
	}
	if r.DNS.CAA.Reason != "" {
		caa := showFinding(r.DNS.CAA)
		out.CAA = &caa
	}
	for _, alias := range r.DNS.Chain {
		out.DNS.Chain = append(out.DNS.Chain, Alias{Name: alias.Name, Target: alias.Target, TTL: seconds(alias.TTL)})
	}
	for _, a := range r.HTTPS.Attempts {
		out.HTTPS.Attempts = append(out.HTTPS.Attempts, CheckAttempt{Address: a.Address, Finding: showFinding(a.Finding)})
	}
	return out
}

func showFinding(f shingle.Finding) Finding {
	return Finding{Reason: string(f.Reason), Good: f.Reason.Outcome() == shingle.OutcomeGood, Who: f.Reason.Who(), Message: f.Message}
}

func showFindings(list []shingle.Finding) (out []Finding) {
	for _, f := range list {
		out = append(out, showFinding(f))
	}
	return out
}

func showRecords(list []shingle.DNSRecord) (out []Record) {
	for _, r := range list {
		out = append(out, Record{Type: r.Type, Name: r.Name, FQDN: r.FQDN, Value: r.Value})
	}
	return out
}

func seconds(d time.Duration) int { return int(d / time.Second) }
