package check

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// advise puts the verdict into words, with what to set and what to remove.
func (p *dnsProbe) advise() {
	fix := ""
	if needsRecord[p.Reason] {
		p.setRecords()
		fix = p.instruction()
	}
	p.Message = strings.TrimSpace(p.diagnosis() + " " + fix)
}

// needsRecord are the verdicts that the customer mends by a record.
var needsRecord = map[shingle.Reason]bool{
	shingle.ReasonNoRecord: true, shingle.ReasonPointsElsewhere: true, shingle.ReasonPartlyElsewhere: true,
	shingle.ReasonIPv6Elsewhere: true, shingle.ReasonCDNInFront: true, shingle.ReasonPrivateAddress: true,
	shingle.ReasonOtherTenant: true, shingle.ReasonCNAMELoop: true, shingle.ReasonCNAMETooLong: true, shingle.ReasonCNAMEBroken: true,
}

// diagnosis says what is wrong.
func (p *dnsProbe) diagnosis() string {
	host := p.req.Host
	_, detail := p.seen.fault()
	if detail != "" {
		detail = " (" + detail + ")"
	}
	switch p.Reason {
	case shingle.ReasonPointsHere:
		return fmt.Sprintf("%s points here%s.", host, p.manner())
	case shingle.ReasonNotRegistered:
		return fmt.Sprintf("The domain %s is not registered, or its registration has expired. Register or renew it, or correct the spelling.", registrable(trim(p.name)))
	case shingle.ReasonNoRecord:
		return fmt.Sprintf("%s has no address in DNS yet.", host)
	case shingle.ReasonPointsElsewhere:
		return fmt.Sprintf("%s points to %s, not here.", host, p.whither())
	case shingle.ReasonOtherTenant:
		return fmt.Sprintf("%s leads to %s, which is the name of another customer here, not yours.", host, p.foreign(&p.seen))
	case shingle.ReasonPartlyElsewhere:
		return fmt.Sprintf("%s points here, but also to %s: some visitors, and some certificate authorities, end up there.", host, p.strangers())
	case shingle.ReasonIPv6Elsewhere:
		return fmt.Sprintf("Over IPv4 %s points here, but its IPv6 address (AAAA) is %s, of another server. Certificate authorities and many visitors use IPv6 first.", host, p.strangers())
	case shingle.ReasonCDNInFront:
		return fmt.Sprintf("%s answers for %s, and does not pass requests on to us.", p.Service, host)
	case shingle.ReasonParked:
		return fmt.Sprintf("%s shows a placeholder (%s): the domain has expired, is for sale, or has no site yet. Renew it at its registrar, and set its DNS records again.", host, p.whither())
	case shingle.ReasonPrivateAddress:
		return fmt.Sprintf("%s has an address that the Internet cannot reach: %s.", host, p.strangers())
	case shingle.ReasonCNAMELoop:
		return fmt.Sprintf("The CNAME records of %s go round in a circle: %s.", host, p.path())
	case shingle.ReasonCNAMETooLong:
		return fmt.Sprintf("The CNAME records of %s form a chain of more than %d; resolvers give up.", host, maxChain)
	case shingle.ReasonCNAMEBroken:
		return fmt.Sprintf("%s is an alias of %s, which has no address.", host, p.Chain[len(p.Chain)-1].Target)
	case shingle.ReasonDNSSECBogus:
		return fmt.Sprintf("The DNSSEC signatures of %s do not verify%s, so that most resolvers and all certificate authorities see nothing. Usually the DS record at the registrar is that of an earlier DNS provider: remove or replace it.", registrable(trim(p.name)), detail)
	case shingle.ReasonLameDelegation:
		return fmt.Sprintf("The registry names name servers for %s that do not know it%s. Set up the zone there, or correct the name servers at the registrar.", registrable(trim(p.name)), p.servers())
	case shingle.ReasonPropagating:
		return p.Message + " Wait some minutes; if it stays so, ask the DNS provider."
	case shingle.ReasonDNSTimeout:
		return fmt.Sprintf("The name servers of %s do not answer%s%s. Ask the DNS provider; it is tried again.", registrable(trim(p.name)), p.servers(), detail)
	case shingle.ReasonDNSFailure:
		return fmt.Sprintf("The name servers of %s answer with a failure%s%s. Ask the DNS provider; it is tried again.", registrable(trim(p.name)), p.servers(), detail)
	case shingle.ReasonResolverFailure:
		if len(p.Addresses) > 0 {
			return fmt.Sprintf("Where %s points cannot be judged: our own name, %s, cannot be resolved at the moment.", host, p.target())
		}
		return "DNS could not be checked: our own resolvers do not answer."
	case shingle.ReasonTargetBroken:
		return fmt.Sprintf("%s is an alias of %s as it should be, but that name has no address: the operator must set one.", host, p.target())
	case shingle.ReasonUnconfigured:
		return fmt.Sprintf("%s points to %s. Whether that is right cannot be said: the operator has set neither --cname-target nor --edge-address.", host, p.whither())
	}
	return ""
}

// manner is how the host points here.
func (p *dnsProbe) manner() string {
	switch {
	case len(p.Chain) > 0:
		return " by CNAME"
	case len(p.Addresses) == 0:
		return ""
	case !p.hasOwnAddress() && len(p.cfg.Targets) > 0:
		return ", by the addresses of " + p.target() + " (ALIAS or CNAME flattening)"
	}
	return " by address"
}

// hasOwnAddress reports whether all addresses are configured, not learned from
// the target.
func (p *dnsProbe) hasOwnAddress() bool {
	return !slices.ContainsFunc(p.Addresses, func(a netip.Addr) bool { return !slices.Contains(p.cfg.Addresses, a) })
}

// whither is where the host points, in a few words.
func (p *dnsProbe) whither() string {
	where := joinAddresses(p.Addresses)
	if n := len(p.Chain); n > 0 {
		where = p.Chain[n-1].Target
	}
	if where == "" && len(p.Nameservers) > 0 {
		where = p.Nameservers[0]
	}
	if p.Service != "" {
		where = p.Service + ", " + where
	}
	return where
}

// strangers are the addresses that are not ours.
func (p *dnsProbe) strangers() string {
	return joinAddresses(slices.DeleteFunc(slices.Clone(p.Addresses), func(a netip.Addr) bool { return p.edges.addrs[a] }))
}

// path is the chain of aliases.
func (p *dnsProbe) path() string {
	names := []string{p.req.Host}
	for _, alias := range p.Chain[:min(len(p.Chain), 4)] {
		names = append(names, alias.Target)
	}
	return strings.Join(names, " → ")
}

func (p *dnsProbe) servers() string {
	if len(p.Nameservers) == 0 {
		return ""
	}
	return " (" + strings.Join(p.Nameservers, ", ") + ")"
}

const maxShown = 4

func joinAddresses(list []netip.Addr) string {
	var out []string
	for _, a := range list[:min(len(list), maxShown)] {
		out = append(out, a.String())
	}
	if len(list) > maxShown {
		out = append(out, "...")
	}
	return strings.Join(out, ", ")
}

// target is what the customer's record is to lead to.
func (p *dnsProbe) target() string {
	switch {
	case len(p.cfg.Targets) == 0:
		return ""
	case p.req.Label != "":
		return p.req.Label + "." + p.cfg.Targets[0]
	}
	return p.cfg.Targets[0]
}

// setRecords finds out what to set, and what is in the way of it.
func (p *dnsProbe) setRecords() {
	at := providerOf(p.Nameservers)
	record := func(kind, value string) {
		p.Set = append(p.Set, shingle.DNSRecord{Type: kind, Name: at.field(p.req.Host, p.Zone), FQDN: p.req.Host, Value: value})
	}
	apex := p.req.Host == p.Zone
	switch target := p.target(); {
	case target != "" && !apex:
		record("CNAME", at.value(target))
	case target != "" && at.apex != "":
		record(at.apex, at.value(target))
	default:
		for _, a := range p.fixedAddresses() {
			record(addressType(a), a.String())
		}
	}
	p.findObstacles(at)
}

// fixedAddresses are those that a customer may write down: the configured ones,
// or else what the target resolves to.
func (p *dnsProbe) fixedAddresses() []netip.Addr {
	if len(p.cfg.Addresses) > 0 {
		return p.cfg.Addresses
	}
	return slices.SortedFunc(maps.Keys(p.edges.addrs), netip.Addr.Compare)
}

// findObstacles lists the records of the host that must go: all that are not to
// be set, since a CNAME record stands alone (RFC 2181 section 10.1).
func (p *dnsProbe) findObstacles(at *provider) {
	remove := func(kind, value string) {
		r := shingle.DNSRecord{Type: kind, Name: at.field(p.req.Host, p.Zone), FQDN: p.req.Host, Value: value}
		if !slices.ContainsFunc(p.Set, func(set shingle.DNSRecord) bool {
			return set.Type == kind && strings.TrimSuffix(set.Value, ".") == value
		}) {
			p.Remove = append(p.Remove, r)
		}
	}
	if len(p.Chain) > 0 {
		remove("CNAME", p.Chain[0].Target)
		return
	}
	aliased := slices.ContainsFunc(p.Set, func(set shingle.DNSRecord) bool { return set.Type != "A" && set.Type != "AAAA" })
	for _, a := range p.Addresses {
		if aliased && p.Reason != shingle.ReasonIPv6Elsewhere || !p.edges.addrs[a] {
			remove(addressType(a), a.String())
		}
	}
	if p.Reason == shingle.ReasonIPv6Elsewhere {
		p.Set = nil // it is enough to remove
	}
}

func addressType(a netip.Addr) string {
	if a.Is4() {
		return "A"
	}
	return "AAAA"
}

// instruction says what to do at the DNS provider.
func (p *dnsProbe) instruction() string {
	at := providerOf(p.Nameservers)
	where := "At your DNS provider"
	if at.name != "" {
		where = "At " + at.name
	}
	var steps []string
	for _, r := range p.Remove[:min(len(p.Remove), maxShown)] {
		steps = append(steps, fmt.Sprintf("remove the %s record %s", r.Type, r.Value))
	}
	for _, r := range p.Set {
		steps = append(steps, fmt.Sprintf("set a record of type %s with %s and the value %q", r.Type, nameText(r.Name), r.Value))
	}
	switch {
	case len(p.Set) == 0 && p.Reason != shingle.ReasonIPv6Elsewhere:
		return "The operator must name an address (--edge-address) or a name (--cname-target) for you to set."
	case p.Service == "Cloudflare" && p.Reason == shingle.ReasonCDNInFront && at.name == "Cloudflare":
		return fmt.Sprintf("At Cloudflare, %s and %s.", steps[len(steps)-1], at.hint)
	case at.hint != "" && len(p.Set) > 0:
		steps = append(steps, at.hint)
	}
	return where + ", " + sentence(steps) + "."
}

func nameText(name string) string {
	if name == "" {
		return "an empty name"
	}
	return fmt.Sprintf("the name %q", name)
}

// sentence joins steps as people do.
func sentence(steps []string) string {
	if len(steps) < 2 {
		return strings.Join(steps, "")
	}
	return strings.Join(steps[:len(steps)-1], ", ") + " and " + steps[len(steps)-1]
}
