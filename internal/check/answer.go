package check

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/shingle-proxy/shingle"
)

// maxChain is how many aliases in a row are followed; common resolvers give up
// between 8 and 17.
const maxChain = 12

// answer is what is known of the records of one type that a name has.
type answer struct {
	chain   []shingle.Alias
	records []dns.RR      // of the type, at the end of the chain
	missing bool          // the name at the end of the chain does not exist
	zone    string        // that says that there is nothing; the owner of its SOA record
	ttl     time.Duration // the least of what the answer is made of
	// fault is why nothing is known: one of the DNS reasons; empty: all is known.
	fault  shingle.Reason
	detail string // of the fault, from the server: an extended error (RFC 8914)
}

// end is the name that the chain leads to.
func (a *answer) end(name string) string {
	if n := len(a.chain); n > 0 {
		return dns.Fqdn(a.chain[n-1].Target)
	}
	return name
}

// take adds what a message says about the end of the chain. It reports whether
// that is all there is to know, or the new end has to be asked about.
func (a *answer) take(m *dns.Msg, name string, kind uint16) (complete bool) {
	aliases := map[string]*dns.CNAME{}
	for _, rr := range m.Answer {
		if alias, ok := rr.(*dns.CNAME); ok && rr.Header().Class == dns.ClassINET {
			aliases[canonical(alias.Hdr.Name)] = alias
		}
	}
	at := a.end(name)
	followed := false
	for kind != dns.TypeCNAME {
		alias := aliases[at]
		if alias == nil {
			break
		}
		next := canonical(alias.Target)
		if next == name || slices.ContainsFunc(a.chain, func(x shingle.Alias) bool { return dns.Fqdn(x.Name) == next || x.Name == trim(at) }) || next == at {
			a.link(at, next, alias.Hdr.Ttl)
			a.fault = shingle.ReasonCNAMELoop
			return true
		}
		a.link(at, next, alias.Hdr.Ttl)
		if len(a.chain) > maxChain {
			a.fault = shingle.ReasonCNAMETooLong
			return true
		}
		at, followed = next, true
	}
	for _, rr := range m.Answer {
		if h := rr.Header(); h.Rrtype == kind && canonical(h.Name) == at && h.Class == dns.ClassINET {
			a.records = append(a.records, rr)
			a.lower(h.Ttl)
		}
	}
	soa := soaOf(m)
	if len(a.records) == 0 && soa != nil {
		a.zone = canonical(soa.Hdr.Name)
		a.lower(min(soa.Hdr.Ttl, soa.Minttl)) // RFC 2308 section 5
	}
	a.missing = m.Rcode == dns.RcodeNameError
	return len(a.records) > 0 || a.missing || soa != nil || !followed
}

func (a *answer) link(name, target string, ttl uint32) {
	a.lower(ttl)
	a.chain = append(a.chain, shingle.Alias{Name: trim(name), Target: trim(target), TTL: time.Duration(ttl) * time.Second})
}

func (a *answer) lower(ttl uint32) {
	if d := time.Duration(ttl) * time.Second; a.ttl == 0 || d < a.ttl {
		a.ttl = d
	}
}

// addresses returns those that the records hold.
func (a *answer) addresses() (list []netip.Addr) {
	for _, rr := range a.records {
		var addr netip.Addr
		switch rr := rr.(type) {
		case *dns.A:
			addr, _ = netip.AddrFromSlice(rr.A.To4())
		case *dns.AAAA:
			addr, _ = netip.AddrFromSlice(rr.AAAA.To16())
		}
		if addr.IsValid() && len(list) < maxAddresses {
			list = append(list, addr)
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

// maxAddresses bounds what is kept of one name's addresses.
const maxAddresses = 32

func soaOf(m *dns.Msg) *dns.SOA {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa
		}
	}
	return nil
}

// extended returns the extended error of an answer, and whether it is about
// signatures.
func extended(m *dns.Msg) (text string, bogus, unreachable bool) {
	o := m.IsEdns0()
	if o == nil {
		return "", false, false
	}
	for _, option := range o.Option {
		e, ok := option.(*dns.EDNS0_EDE)
		if !ok {
			continue
		}
		switch e.InfoCode {
		case dns.ExtendedErrorCodeUnsupportedDNSKEYAlgorithm, dns.ExtendedErrorCodeUnsupportedDSDigestType,
			dns.ExtendedErrorCodeDNSSECIndeterminate, dns.ExtendedErrorCodeDNSBogus, dns.ExtendedErrorCodeSignatureExpired,
			dns.ExtendedErrorCodeSignatureNotYetValid, dns.ExtendedErrorCodeDNSKEYMissing, dns.ExtendedErrorCodeRRSIGsMissing,
			dns.ExtendedErrorCodeNoZoneKeyBitSet, dns.ExtendedErrorCodeNSECMissing, dns.ExtendedErrorCodeSignatureExpiredBeforeValid,
			dns.ExtendedErrorCodeUnsupportedNSEC3IterValue:
			bogus = true
		case dns.ExtendedErrorCodeNoReachableAuthority, dns.ExtendedErrorCodeNetworkError:
			unreachable = true
		}
		text = dns.ExtendedErrorCodeToString[e.InfoCode]
		if extra := printable(e.ExtraText); extra != "" {
			text += ": " + extra
		}
	}
	return text, bogus, unreachable
}

// canonical is a name in lower case with the final dot.
func canonical(name string) string { return dns.CanonicalName(name) }

// trim is a name as people write it.
func trim(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }

const maxDetail = 120 // bytes

// printable makes one line of what somebody else's server says.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return strings.TrimSpace(s[:min(len(s), maxDetail)])
}
