package check

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Checker looks at domains from outside, as visitors and CAs do. Its methods are
// safe for concurrent use; it has no goroutine of its own between checks.
type Checker struct {
	cfg      Config
	stub     *stub
	walker   *walker
	suffixes suffixes
	own      ownEdges
}

// Request is what to check.
type Request struct {
	Host string // as [shingle.NormalizeDomain] returns it; a wildcard is checked by a name that it alone covers
	// Label is the tenant's own below the targets ([shingle.ProbeKey.Label]). Empty:
	// it has none, and control is not proven by it.
	Label string
	// Proof is the tenant's text ([shingle.ProbeKey.Proof]). Empty: it has none.
	Proof string
	// Prove asks for Proof where the records of the host itself do not prove control.
	Prove bool
	// AnyTenant says that it is not known whose the host is to be: then a name that
	// a tenant was given is here as well.
	AnyTenant bool
	// Thorough asks every source and compares, also when the first says that all
	// is well: for people who wait for the answer, and before an order.
	Thorough bool
}

// name is what is asked about.
func (r *Request) name() string {
	if base, ok := strings.CutPrefix(r.Host, "*."); ok {
		return randomLabel() + "." + base
	}
	return r.Host
}

func randomLabel() string { return "shingle-" + strings.ToLower(rand.Text()[:12]) }

// New checks cfg and returns a Checker.
func New(cfg Config) (*Checker, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := &Checker{cfg: cfg, own: ownEdges{turn: make(chan struct{}, 1)}}
	resolvers, err := parseServers(cfg.Resolvers)
	if err != nil {
		return nil, err
	}
	roots := cfg.RootServers
	if len(roots) == 0 {
		roots = rootServers
	}
	servers, err := parseServers(roots)
	if err != nil {
		return nil, err
	}
	client := newClient(&c.cfg)
	c.stub = newStub(client, resolvers)
	c.walker = newWalker(client, c.stub, servers)
	return c, nil
}

// Check looks at a host's DNS and, where that gives addresses, at what answers
// there. What could not be learned within the time-out is a finding too; an error
// is only that ctx ended.
func (c *Checker) Check(ctx context.Context, req Request) (shingle.CheckResult, error) {
	within, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	r := shingle.CheckResult{Host: req.Host}
	dnsWithin, stop := context.WithTimeout(within, c.cfg.Timeout*2/3)
	defer stop()
	name := req.name()
	r.DNS = c.probeDNS(dnsWithin, req, name)
	r.HTTPS = c.probeHTTPS(within, name, r.DNS.Addresses)
	if r.HTTPS.Reached {
		reached(&r)
	}
	if r.HTTPS.Reason.Outcome() == shingle.OutcomeGood {
		r.CertifiedUntil = r.HTTPS.NotAfter
	}
	r.At = time.Now().UTC().Truncate(time.Microsecond)
	return r, ctx.Err()
}

// CheckDNS looks at a host's DNS alone.
func (c *Checker) CheckDNS(ctx context.Context, req Request) (shingle.DNSResult, error) {
	within, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	return c.probeDNS(within, req, req.name()), ctx.Err()
}

// reached corrects what DNS seemed to say: our edge has answered at all addresses,
// so whoever has them passes requests on to us.
func reached(r *shingle.CheckResult) {
	d := &r.DNS
	switch {
	case d.Reason == shingle.ReasonUnconfigured:
		d.Finding = found(shingle.ReasonPointsHere, "%s points here: our edge answers.", r.Host)
	case d.Reason.Outcome() == shingle.OutcomeGood, d.Reason.Outcome() == shingle.OutcomeUnclear, d.Reason == shingle.ReasonDNSSECBogus,
		d.Reason == shingle.ReasonPropagating, d.Reason == shingle.ReasonOtherTenant:
		return
	default:
		by := "Another server"
		if d.Service != "" {
			by = d.Service
		}
		d.Finding = found(shingle.ReasonProxied, "%s answers for %s and passes requests on to us.", by, r.Host)
	}
	d.Set, d.Remove = nil, nil
}
