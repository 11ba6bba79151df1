package check

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/shingle-proxy/shingle"
)

// dnsProbe is one look at a host's DNS.
type dnsProbe struct {
	*Checker
	req   Request
	name  string // that is asked about, with the final dot
	edges *edges
	seen  view // that the verdict is about
	zone  *zone
	shingle.DNSResult
}

// probeDNS asks the resolvers and, when it matters, the zone's own servers: when
// the resolvers do not say that all is well, or the request is thorough.
func (c *Checker) probeDNS(ctx context.Context, req Request, name string) shingle.DNSResult {
	ctx = withBudget(ctx)
	p := &dnsProbe{Checker: c, req: req, name: name + ".", edges: c.edges(ctx)}
	p.seen = c.look(name, func(kind uint16) answer { return c.stub.lookup(ctx, p.name, kind) })
	p.Reason = p.judge(&p.seen)
	if p.Reason != shingle.ReasonPointsHere || req.Thorough {
		p.askOwners(ctx)
		if p.Reason == shingle.ReasonDNSFailure {
			p.trace(ctx)
		}
		p.findZone(ctx)
		p.findParking()
		if req.Thorough {
			p.askAllResolvers(ctx)
			p.findWildcard(ctx)
		}
	}
	p.Chain, p.Addresses, p.TTL = p.seen.chain(), p.seen.addresses(), p.seen.ttl()
	if fault, _ := p.seen.fault(); fault == "" && p.Reason != shingle.ReasonNotRegistered {
		p.CAA = c.caa(ctx, req.Host)
	}
	p.prove(ctx)
	p.advise()
	return p.DNSResult
}

// look asks for both kinds of addresses at once.
func (c *Checker) look(host string, lookup func(kind uint16) answer) view {
	v := view{host: host}
	var both sync.WaitGroup
	both.Go(func() { v.aaaa = lookup(dns.TypeAAAA) })
	v.a = lookup(dns.TypeA)
	both.Wait()
	return v
}

// askOwners asks the zone's own servers, and takes their word where they give it.
func (p *dnsProbe) askOwners(ctx context.Context) {
	var zones [2]*zone
	own := p.look(trim(p.name), func(kind uint16) (a answer) {
		i := 0
		if kind == dns.TypeAAAA {
			i = 1
		}
		a, zones[i] = p.walker.lookup(ctx, p.name, kind)
		return a
	})
	if p.zone = zones[0]; p.zone == nil {
		p.zone = zones[1]
	}
	verdict := p.judge(&own)
	fault, _ := own.fault()
	switch {
	case p.Reason == shingle.ReasonDNSSECBogus: // that is for resolvers to find
	case fault == shingle.ReasonCNAMELoop || fault == shingle.ReasonCNAMETooLong || fault == "":
		if p.Reason.Outcome() == shingle.OutcomeBad && verdict == shingle.ReasonPointsHere {
			p.note(shingle.ReasonStaleCache, "The DNS record is right, but resolvers may still have the old answer, for %s at most.", roughly(p.seen.ttl()))
		}
		p.seen, p.Reason = own, verdict
		p.compare(ctx)
	case fault == shingle.ReasonLameDelegation || fault == shingle.ReasonDNSFailure:
		if p.Reason.Outcome() == shingle.OutcomeUnclear {
			p.seen, p.Reason = own, fault
		}
	}
}

// trace follows the aliases one by one: resolvers answer a circle, or a chain that
// is too long for them, with a failure and no reason.
func (p *dnsProbe) trace(ctx context.Context) {
	var a answer
	for a.fault == "" {
		step := p.stub.lookup(ctx, a.end(p.name), dns.TypeCNAME)
		if step.fault != "" || len(step.records) == 0 {
			return
		}
		a.take(&dns.Msg{Answer: step.records}, p.name, dns.TypeA)
	}
	p.Reason, p.seen = a.fault, view{host: p.seen.host, a: a}
}

// compare asks all servers of the zone: a change may have reached some of them
// only, and a CA may ask any.
func (p *dnsProbe) compare(ctx context.Context) {
	if p.zone == nil || len(p.zone.servers) < 2 {
		return
	}
	var right, wrong []string
	said := p.walker.survey(ctx, p.zone, p.name, dns.TypeA, dns.TypeAAAA)
	for server, msgs := range said {
		if p.saysHere(msgs) {
			right = append(right, server)
		} else {
			wrong = append(wrong, server)
		}
	}
	if len(right) > 0 && len(wrong) > 0 && p.Reason.Outcome() != shingle.OutcomePartly {
		slices.Sort(wrong)
		p.Reason = shingle.ReasonPropagating
		p.Message = fmt.Sprintf("The name servers of %s give different answers: %s does not have the new record yet.", trim(p.zone.name), strings.Join(wrong, ", "))
	}
}

// saysHere reports whether one server's own records lead here, or on to the same
// alias as the answer that did.
func (p *dnsProbe) saysHere(msgs []*dns.Msg) bool {
	v := view{host: trim(p.name)}
	v.a.take(msgs[0], p.name, dns.TypeA)
	v.aaaa.take(msgs[1], p.name, dns.TypeAAAA)
	if verdict := p.judge(&v); verdict == shingle.ReasonPointsHere || verdict == shingle.ReasonTargetBroken {
		return true
	}
	known, here := p.seen.targets(), v.targets()
	return p.Reason == shingle.ReasonPointsHere && len(known) > 0 && len(here) > 0 && known[0] == here[0]
}

// askAllResolvers notes the resolvers that say something else than the verdict:
// their users are led there until the old answer runs out.
func (p *dnsProbe) askAllResolvers(ctx context.Context) {
	if p.Reason.Outcome() == shingle.OutcomeUnclear {
		return
	}
	for _, r := range p.stub.resolvers[1:] {
		if r.ails(time.Now()) {
			continue
		}
		one := &stub{client: p.stub.client, resolvers: []*resolver{r}}
		v := p.look(trim(p.name), func(kind uint16) answer { return one.lookup(ctx, p.name, kind) })
		if fault, _ := v.fault(); fault == "" && p.judge(&v) != p.Reason {
			p.note(shingle.ReasonStaleCache, "The resolver %s has another answer, for %s at most.", r.addr.Addr(), roughly(v.ttl()))
		}
	}
}

// findZone names the zone of the host and who runs its servers.
func (p *dnsProbe) findZone(ctx context.Context) {
	p.Zone = registrable(trim(p.name))
	if p.zone != nil && !isSuffixOf(p.zone.name, trim(p.name)) {
		p.Zone = trim(p.zone.name)
		for _, server := range p.zone.servers {
			p.Nameservers = append(p.Nameservers, trim(server.name))
		}
	}
	if len(p.Nameservers) == 0 && p.Reason != shingle.ReasonNotRegistered && p.Reason != shingle.ReasonResolverFailure {
		for _, rr := range p.stub.lookup(ctx, p.Zone+".", dns.TypeNS).records {
			if ns, ok := rr.(*dns.NS); ok && len(p.Nameservers) < maxServers {
				p.Nameservers = append(p.Nameservers, trim(ns.Ns))
			}
		}
	}
	slices.Sort(p.Nameservers)
	p.Provider = providerOf(p.Nameservers).name
}

// findParking recognises a domain that has expired by where it is kept.
func (p *dnsProbe) findParking() {
	if p.Reason.Outcome() == shingle.OutcomeBad && isParkingServer(p.Nameservers) {
		p.Reason = shingle.ReasonParked
	}
	if s := serviceOf(p.seen.targets(), p.seen.addresses()); s != nil {
		p.Service = s.name
	}
}

// findWildcard asks for a sibling that nobody has set.
func (p *dnsProbe) findWildcard(ctx context.Context) {
	if shingle.IsWildcard(p.req.Host) || p.req.Host == p.Zone || p.Reason != shingle.ReasonPointsHere {
		return
	}
	_, parent, _ := strings.Cut(p.req.Host, ".")
	sibling := p.stub.lookup(ctx, randomLabel()+"."+parent+".", dns.TypeA)
	if sibling.fault != "" || len(sibling.records) == 0 {
		return
	}
	other := view{host: p.req.Host, a: sibling}
	if slices.Equal(other.targets(), p.seen.targets()) && slices.Equal(other.a.addresses(), p.seen.a.addresses()) {
		p.note(shingle.ReasonWildcard, "The answer is that of a wildcard record, *.%s: every name below %s leads here, whoever claims it.", parent, parent)
	}
}

func (p *dnsProbe) note(r shingle.Reason, format string, args ...any) {
	p.Notes = append(p.Notes, shingle.Finding{Reason: r, Message: fmt.Sprintf(format, args...)})
}

// targetLife is for how long the addresses of the targets are believed.
const targetLife = time.Minute

// ownEdges remembers what the targets resolve to.
type ownEdges struct {
	turn  chan struct{} // holds one while somebody looks or changes
	edges *edges
	until time.Time
}

// edges returns what customers are to point at, now. When the targets cannot be
// resolved, the old addresses stay; and when there are none, it is asked again each time.
func (c *Checker) edges(ctx context.Context) *edges {
	none := &edges{names: c.cfg.Targets, routed: c.cfg.mayConnect, unsure: true}
	select {
	case c.own.turn <- struct{}{}:
		defer func() { <-c.own.turn }()
	case <-ctx.Done():
		return none
	}
	if c.own.edges != nil && time.Now().Before(c.own.until) {
		return c.own.edges
	}
	e := &edges{names: c.cfg.Targets, addrs: map[netip.Addr]bool{}, routed: c.cfg.mayConnect}
	for _, a := range c.cfg.Addresses {
		e.addrs[a] = true
	}
	for _, target := range c.cfg.Targets {
		v := c.look(target, func(kind uint16) answer { return c.stub.lookup(ctx, target+".", kind) })
		if fault, _ := v.fault(); fault != "" && c.own.edges != nil {
			e = c.own.edges
			break
		} else if fault != "" {
			e.unsure = true
		}
		for _, a := range v.addresses() {
			e.addrs[a] = true
		}
	}
	if ctx.Err() == nil && !e.unsure {
		c.own.edges, c.own.until = e, time.Now().Add(targetLife)
	}
	return e
}

// roughly is a duration in words.
func roughly(d time.Duration) string {
	switch {
	case d <= 90*time.Second:
		return fmt.Sprintf("%d seconds", int(d/time.Second))
	case d <= 90*time.Minute:
		return fmt.Sprintf("%d minutes", int(d.Round(time.Minute)/time.Minute))
	}
	return fmt.Sprintf("%d hours", int(d.Round(time.Hour)/time.Hour))
}
