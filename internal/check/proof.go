package check

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/shingle-proxy/shingle"
)

// Look is how a [Keeper] wants a domain looked at.
type Look struct {
	Thorough bool // as in [Request]
	Prove    bool // look for proofs of control besides the CNAME record
}

// foreign returns the name below the targets that a view leads to when it is another
// tenant's, or "".
func (p *dnsProbe) foreign(v *view) string {
	for _, name := range v.targets() {
		label, rest, _ := strings.Cut(name, ".")
		if !p.req.AnyTenant && label != p.req.Label && shingle.IsTenantLabel(label) && slices.Contains(p.edges.names, rest) {
			return name
		}
	}
	return ""
}

// judge is the view's judgement, but that a name that another tenant was given is
// not here: who set the record means that tenant.
func (p *dnsProbe) judge(v *view) shingle.Reason {
	reason := v.judge(p.edges)
	if (reason.Outcome() == shingle.OutcomeGood || reason.Outcome() == shingle.OutcomePartly) && p.foreign(v) != "" {
		return shingle.ReasonOtherTenant
	}
	return reason
}

// prove looks for what shows that the host is the tenant's: the alias, a TXT record
// that can be set before the cut-over or, likewise, a file on the server that the
// host has until now.
func (p *dnsProbe) prove(ctx context.Context) {
	p.Proven = p.req.Label != "" && slices.ContainsFunc(p.seen.targets(), func(name string) bool {
		label, rest, _ := strings.Cut(name, ".")
		return label == p.req.Label && slices.Contains(p.edges.names, rest)
	})
	if p.req.Proof == "" || !p.req.Prove || p.Proven {
		return
	}
	p.Proven = p.provenByTXT(ctx) || p.provenByHTTP(ctx)
	if p.Zone == "" {
		p.findZone(ctx)
	}
	at := providerOf(p.Nameservers)
	name := shingle.ProofName(p.req.Host)
	p.Proof = &shingle.DNSRecord{Type: "TXT", Name: at.field(name, p.Zone), FQDN: name, Value: p.req.Proof}
}

// provenByTXT asks the zone's own servers, where no cache keeps what was there
// before the customer set the record, and the resolvers when those are not to be had.
func (p *dnsProbe) provenByTXT(ctx context.Context) bool {
	name := shingle.ProofName(p.req.Host) + "."
	a, _ := p.walker.lookup(ctx, name, dns.TypeTXT)
	if a.fault != "" {
		a = p.stub.lookup(ctx, name, dns.TypeTXT)
	}
	return slices.ContainsFunc(a.records, func(rr dns.RR) bool {
		txt, ok := rr.(*dns.TXT)
		return ok && strings.TrimSpace(strings.Join(txt.Txt, "")) == p.req.Proof
	})
}

// Bounds of the proof by HTTP.
const (
	maxProof      = 512 // bytes of the body that are read
	maxProofHosts = 2   // addresses that are asked
)

// provenByHTTP asks the host's present server. Our own edges are not asked, and would
// not answer: what is on them is not for the owner of the name alone to say.
func (p *dnsProbe) provenByHTTP(ctx context.Context) bool {
	if shingle.IsWildcard(p.req.Host) || p.Reason.Outcome() != shingle.OutcomeBad || p.Reason == shingle.ReasonOtherTenant {
		return false
	}
	for _, addr := range p.Addresses[:min(len(p.Addresses), maxProofHosts)] {
		if !p.edges.addrs[addr] && p.cfg.mayConnect(addr) && (&httpsProbe{Checker: p.Checker, host: p.req.Host}).shows(ctx, addr, p.req.Proof) {
			return true
		}
	}
	return false
}

// shows reports whether the server at addr shows text at [shingle.ProofPath],
// perhaps after redirects on the same host. Its certificate does not matter: it may
// be the lack of one for which the customer comes.
func (p *httpsProbe) shows(ctx context.Context, addr netip.Addr, text string) bool {
	at := &url.URL{Scheme: "http", Host: p.authority("http"), Path: shingle.ProofPath}
	for range maxRedirect {
		to, body, err := p.fetch(ctx, addr, at)
		if err != nil {
			return false
		}
		if to == nil {
			return strings.TrimSpace(body) == text
		}
		at = to
	}
	return false
}

// fetch gets a page of the host: where it redirects to on the same host, or else the
// beginning of its text. The answer must be 200 for there to be one.
func (p *httpsProbe) fetch(ctx context.Context, addr netip.Addr, at *url.URL) (to *url.URL, body string, err error) {
	var conn net.Conn
	if at.Scheme == "https" {
		conn, err = p.handshake(ctx, addr)
	} else {
		conn, err = p.connect(ctx, addr, p.cfg.HTTPPort)
	}
	if err != nil {
		return nil, "", err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	req := &http.Request{Method: http.MethodGet, URL: at, Host: p.authority(at.Scheme), Header: http.Header{"User-Agent": {userAgent}}, Close: true}
	if err := req.Write(conn); err != nil {
		return nil, "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, maxHead)), req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 3 {
		to, err := resp.Location()
		if err != nil || to.Scheme != "http" && to.Scheme != "https" || to.Host != p.authority(to.Scheme) {
			return nil, "", http.ErrNoLocation
		}
		return to, "", nil
	}
	if resp.StatusCode != http.StatusOK {
		return nil, "", nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxProof))
	return nil, string(text), err
}

// Instructions returns what a tenant's customer may set for a domain. label and proof
// are as in [Request].
func (c *Checker) Instructions(host, label, proof string) shingle.Instructions {
	i := shingle.Instructions{Addresses: slices.Clone(c.cfg.Addresses)}
	if len(c.cfg.Targets) > 0 {
		i.Target = c.cfg.Targets[0]
		if label != "" {
			i.Target = label + "." + i.Target
		}
	}
	if proof == "" {
		return i
	}
	i.ProofName, i.ProofText = shingle.ProofName(host), proof
	if !shingle.IsWildcard(host) {
		i.ProofURL = "http://" + host + shingle.ProofPath
	}
	return i
}

// AtProvider returns a record, of which all but Name is known, as it is typed in at the
// DNS provider of the zone that r is about.
func (c *Checker) AtProvider(record shingle.DNSRecord, r *shingle.DNSResult) shingle.DNSRecord {
	record.Name = record.FQDN
	if r.Zone == "" {
		return record
	}
	at := providerOf(r.Nameservers)
	record.Name = at.field(record.FQDN, r.Zone)
	if record.Type == "CNAME" {
		record.Value = at.value(record.Value)
	}
	return record
}
