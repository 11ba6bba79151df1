package check

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/shingle-proxy/shingle"
)

// Aliases returns the CNAME records from a name on, as the zones' own servers have
// them now, or else the resolvers. An error says why the chain may be longer:
// [shingle.ErrUnavailable] when our own resolvers fail, and otherwise what is wrong
// with somebody's DNS.
func (c *Checker) Aliases(ctx context.Context, name string) ([]shingle.Alias, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	a, _ := c.walker.lookup(ctx, canonical(name), dns.TypeTXT)
	if a.fault != "" {
		if b := c.stub.lookup(ctx, canonical(name), dns.TypeTXT); b.fault == "" || len(b.chain) > len(a.chain) || b.fault == shingle.ReasonResolverFailure {
			a = b
		}
	}
	return a.chain, faultError(trim(a.end(name)), a.fault)
}

// Texts returns the TXT values of a name, which is no alias, as each server of its
// zone has them; those that do not answer are left out. It returns
// [shingle.ErrUnavailable] when none does.
func (c *Checker) Texts(ctx context.Context, name string) (byServer map[string][]string, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	name = canonical(name)
	a, zone := c.walker.lookup(ctx, name, dns.TypeTXT)
	if zone == nil || a.fault != "" {
		return nil, shingle.Errorf(shingle.CodeUnavailable, "no name server answers for %s", trim(name))
	}
	byServer = map[string][]string{}
	for server, msgs := range c.walker.survey(ctx, zone, name, dns.TypeTXT) {
		byServer[server] = texts(msgs[0], name)
	}
	if len(byServer) == 0 {
		return nil, shingle.Errorf(shingle.CodeUnavailable, "no name server answers for %s", trim(name))
	}
	return byServer, nil
}

// NameServers returns the addresses (A) that each server of the zone of a name has for
// it, nil for a server that does not answer. It returns [shingle.ErrUnavailable] when not
// even the root's servers can be asked from here, and otherwise what is wrong with the
// zone.
func (c *Checker) NameServers(ctx context.Context, name string) (map[string][]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	name = canonical(name)
	a, at := c.walker.lookup(ctx, name, dns.TypeA)
	switch {
	case at == nil || at == c.walker.root && a.fault != "":
		return nil, shingle.Errorf(shingle.CodeUnavailable, "the name servers of the Internet cannot be asked from here")
	case a.fault != "" && len(a.chain) == 0:
		return nil, faultError(trim(name), a.fault)
	}
	said := map[string][]netip.Addr{}
	for _, server := range at.servers {
		said[trim(server.name)] = nil
	}
	for server, msgs := range c.walker.survey(ctx, at, name, dns.TypeA) {
		var one answer
		one.take(msgs[0], name, dns.TypeA)
		said[server] = append([]netip.Addr{}, one.addresses()...)
		if len(one.records) == 0 && len(one.chain) > 0 { // what it is an alias of is in another zone
			said[server] = append(said[server], a.addresses()...)
		}
	}
	return said, nil
}

// TextsBehind returns the TXT values of a name, or of what it is an alias of, as the
// resolvers have them; none where there are none.
func (c *Checker) TextsBehind(ctx context.Context, name string) (list []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	a := c.stub.lookup(ctx, canonical(name), dns.TypeTXT)
	for _, rr := range a.records {
		if t, ok := rr.(*dns.TXT); ok {
			list = append(list, strings.Join(t.Txt, ""))
		}
	}
	return list, faultError(name, a.fault)
}

// texts returns the TXT values of name in a message.
func texts(m *dns.Msg, name string) (list []string) {
	for _, rr := range m.Answer {
		if t, ok := rr.(*dns.TXT); ok && canonical(t.Hdr.Name) == name {
			list = append(list, strings.Join(t.Txt, ""))
		}
	}
	return list
}

// faultError puts a fault into words, and returns nil for none.
func faultError(name string, fault shingle.Reason) error {
	switch {
	case fault == "":
		return nil
	case fault == shingle.ReasonResolverFailure:
		return shingle.Errorf(shingle.CodeUnavailable, "DNS could not be asked: our own resolvers do not answer")
	case slices.Contains([]shingle.Reason{shingle.ReasonCNAMELoop, shingle.ReasonCNAMETooLong}, fault):
		return shingle.Errorf(shingle.CodeInvalid, "the CNAME records of %s lead in a circle, or too far", name)
	case fault == shingle.ReasonDNSSECBogus:
		return shingle.Errorf(shingle.CodeInvalid, "the DNSSEC signatures of %s do not verify", name)
	}
	return shingle.Errorf(shingle.CodeInvalid, "the name servers of %s do not answer properly", name)
}
