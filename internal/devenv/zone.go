package devenv

import (
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

const (
	maxCNAMEs = 8
	answerTTL = 1 // seconds: what is played may change at once
)

const localhost = "localhost."

// rrsets are records by owner name, in lower case and with the final dot.
type rrsets map[string][]dns.RR

// zone is all that is played at one moment. It does not change.
type zone struct {
	records rrsets
	names   map[string]bool // the owners and all names above them
	exact   map[string]bool // names without an address of localhost's own

	alias func(name string) string // of challenge names below localhost; may be nil
}

// newZone puts what was set at run time over what the file has. No records for
// a name there means that it has none, nil that it is not a name.
func newZone(file, set rrsets) *zone {
	z := &zone{records: maps.Clone(file), names: map[string]bool{".": true, localhost: true}, exact: map[string]bool{}}
	if z.records == nil {
		z.records = rrsets{}
	}
	for name, records := range set {
		z.exact[name] = true
		if z.records[name] = records; records == nil {
			delete(z.records, name)
		}
	}
	for name := range z.records {
		for ; !z.names[name]; name = parent(name) {
			z.names[name] = true
		}
	}
	return z
}

// parseZone reads records in master file format.
func parseZone(r io.Reader, origin, file string) (rrsets, error) {
	records := rrsets{}
	parser := dns.NewZoneParser(r, origin, file)
	parser.SetDefaultTTL(answerTTL)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		name, kind := canonical(rr.Header().Name), dns.TypeToString[rr.Header().Rrtype]
		if strings.HasSuffix(strings.TrimSpace(rr.String()), "\t"+kind) { // the parser lets it pass
			return nil, fmt.Errorf("parse zone: %s record of %s has no data", kind, name)
		}
		records[name] = append(records[name], rr)
	}
	if err := parser.Err(); err != nil {
		return nil, fmt.Errorf("parse zone: %w", err)
	}
	return records, nil
}

// resolve answers a question, following CNAMEs within what is played.
func (z *zone) resolve(m *dns.Msg, owner string, qtype uint16) {
	for range maxCNAMEs {
		records, exists := z.lookup(canonical(owner))
		found, next := false, ""
		for _, rr := range records {
			kind := rr.Header().Rrtype
			alias, isAlias := rr.(*dns.CNAME)
			if kind != qtype && qtype != dns.TypeANY && !isAlias {
				continue
			}
			answer := dns.Copy(rr)
			answer.Header().Name = owner // of a wildcard, or in the case of the question
			m.Answer, found = append(m.Answer, answer), true
			if isAlias && qtype != dns.TypeCNAME && qtype != dns.TypeANY {
				next = alias.Target
			}
		}
		if next == "" {
			z.finish(m, owner, exists, found)
			return
		}
		owner = next
	}
	m.Rcode = dns.RcodeServerFailure
}

// finish says what became of the last name (RFC 2308, RFC 6604).
func (z *zone) finish(m *dns.Msg, owner string, exists, found bool) {
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	if !found {
		m.Ns = append(m.Ns, z.soa(canonical(owner)))
	}
}

// lookup returns the records of a name, which may come from a wildcard (RFC
// 4592) or from localhost, and whether it exists.
func (z *zone) lookup(name string) (records []dns.RR, exists bool) {
	records, exists = z.records[name], z.names[name]
	if !exists {
		encloser := parent(name)
		for !z.names[encloser] {
			encloser = parent(encloser)
		}
		records, exists = z.records["*."+strings.TrimPrefix(encloser, ".")]
	}
	if target := z.challengeAlias(name, records); target != "" {
		return []dns.RR{&dns.CNAME{
			Hdr:    dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: answerTTL},
			Target: dns.Fqdn(target),
		}}, true
	}
	if !z.exact[name] && dns.IsSubDomain(localhost, name) && !hasAddress(records) {
		exists = true
		records = append(slices.Clip(records), &dns.A{
			Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: answerTTL},
			A:   net.IPv4(127, 0, 0, 1),
		})
	}
	return records, exists
}

// challengeAlias returns what the customer's record for DNS-01 leads to, when the
// played customer has set it as told, and otherwise "".
func (z *zone) challengeAlias(name string, records []dns.RR) string {
	if z.alias == nil || len(records) > 0 || z.exact[name] || !dns.IsSubDomain(localhost, name) || !strings.HasPrefix(name, "_acme-challenge.") {
		return ""
	}
	return z.alias(strings.TrimSuffix(name, "."))
}

// soa returns the record of the zone that name is in: the one in the file, if
// it has one at or above the name; or else of localhost, or of the two last
// labels if anything is known there, or of the root.
func (z *zone) soa(name string) dns.RR {
	for at := name; at != "."; at = parent(at) {
		for _, rr := range z.records[at] {
			if rr.Header().Rrtype == dns.TypeSOA {
				return rr
			}
		}
	}
	apex := "."
	labels := dns.SplitDomainName(name)
	if dns.IsSubDomain(localhost, name) {
		apex = localhost
	} else if n := len(labels); n >= 2 {
		if domain := labels[n-2] + "." + labels[n-1] + "."; z.names[domain] {
			apex = domain
		}
	}
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: apex, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: answerTTL},
		Ns:  "ns." + localhost, Mbox: "hostmaster." + localhost, Serial: 1, Refresh: 1, Retry: 1, Expire: 1, Minttl: answerTTL,
	}
}

// hasAddress reports whether records say where a name is.
func hasAddress(records []dns.RR) bool {
	return slices.ContainsFunc(records, func(rr dns.RR) bool {
		t := rr.Header().Rrtype
		return t == dns.TypeA || t == dns.TypeAAAA || t == dns.TypeCNAME
	})
}

func canonical(name string) string { return dns.CanonicalName(name) }

// parent returns the name above, and the root for the root.
func parent(name string) string {
	next, end := dns.NextLabel(name, 0)
	if end {
		return "."
	}
	return name[next:]
}
