package check

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/shingle-proxy/shingle"
)

// dnsCase is a customer's DNS and what is to be said about it.
type dnsCase struct {
	name string
	host string // default blog.customer.com
	// records are in the zone customer.com, with owners relative to it.
	records string
	world   func(w *world)
	config  func(c *Config)
	req     func(r *Request)

	want   shingle.Reason
	caa    shingle.Reason   // default caa_allows where DNS is known
	notes  []shingle.Reason // all of them
	says   []string         // parts of the message, or of the CAA message
	set    string           // TYPE name value, ...
	remove string
}

func (c *dnsCase) run(t *testing.T) {
	w := newWorld(t, zoneRecords(c.records))
	if c.world != nil {
		c.world(w)
	}
	cfg := w.config()
	if c.config != nil {
		c.config(&cfg)
	}
	checker, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	req := Request{Host: "blog.customer.com", Thorough: true}
	if c.host != "" {
		req.Host = c.host
	}
	if c.req != nil {
		c.req(&req)
	}
	got, err := checker.CheckDNS(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	c.compare(t, got)
}

// zoneRecords makes owners of the zone customer.com absolute.
func zoneRecords(text string) (records string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			name, rest, _ := strings.Cut(line, " ")
			records += ownerOf(name) + " 300 " + rest + "\n"
		}
	}
	return records
}

func ownerOf(name string) string {
	if name == "@" {
		return "customer.com."
	}
	return name + ".customer.com."
}

func (c *dnsCase) compare(t *testing.T, got shingle.DNSResult) {
	t.Helper()
	if got.Reason != c.want {
		t.Errorf("%s, not %s: %s", got.Reason, c.want, got.Message)
	}
	caa := c.caa
	if caa == "" && got.CAA.Reason != "" {
		caa = shingle.ReasonCAAAllows
	}
	if got.CAA.Reason != caa {
		t.Errorf("CAA: %s, not %s: %s", got.CAA.Reason, caa, got.CAA.Message)
	}
	for _, part := range c.says {
		if !strings.Contains(got.Message+" "+got.CAA.Message, part) {
			t.Errorf("%q is not in %q %q", part, got.Message, got.CAA.Message)
		}
	}
	var notes []shingle.Reason
	for _, n := range got.Notes {
		notes = append(notes, n.Reason)
	}
	if fmt.Sprint(notes) != fmt.Sprint(c.notes) {
		t.Errorf("notes %v, not %v", notes, c.notes)
	}
	if set := text(got.Set); set != c.set {
		t.Errorf("set %q, not %q", set, c.set)
	}
	if remove := text(got.Remove); remove != c.remove {
		t.Errorf("remove %q, not %q", remove, c.remove)
	}
	if got.Message == "" || strings.Contains(got.Message, "%!") {
		t.Errorf("message %q", got.Message)
	}
}

func text(list []shingle.DNSRecord) string {
	var out []string
	for _, r := range list {
		out = append(out, strings.TrimSpace(r.Type+" "+r.Name)+" "+r.Value)
	}
	return strings.Join(out, ", ")
}

const (
	toEdge  = "blog CNAME edge.operator.net."
	setBlog = "CNAME blog edge.operator.net"
)

// nameServers moves customer.com to name servers with these names, at the
// addresses of the customers' servers.
func nameServers(names ...string) func(w *world) {
	return func(w *world) {
		s := w.at(addrCom)
		kept := s.zones["com."][:0]
		for _, rr := range s.zones["com."] {
			if rr.Header().Name != "customer.com." {
				kept = append(kept, rr)
			}
		}
		s.zones["com."] = kept
		for i, name := range names {
			w.add(addrCom, "com.", "customer.com. 3600 NS "+name+".\n"+name+". 3600 A "+[]string{"11.0.2.1", "11.0.2.2"}[i%2])
		}
	}
}

func dead(addrs ...netip.Addr) func(w *world) {
	return func(w *world) { w.silence(addrs...) }
}

func edgeAddresses(c *Config) { c.Addresses = []netip.Addr{edge4, edge6} }

func thoroughless(r *Request) { r.Thorough = false }

var dnsCases = []dnsCase{
	// Pointing here.
	{name: "CNAME", records: toEdge, want: shingle.ReasonPointsHere, says: []string{"blog.customer.com points here by CNAME."}},
	{name: "CNAME, quick", records: toEdge, req: thoroughless, want: shingle.ReasonPointsHere},
	{name: "CNAME to a tenant's own target", records: "blog CNAME tok3n.edge.operator.net.", want: shingle.ReasonPointsHere},
	{name: "chain of CNAMEs", records: "blog CNAME a\na CNAME b\nb CNAME edge.operator.net.", world: expandRelative, want: shingle.ReasonPointsHere},
	{name: "A and AAAA", records: "blog A 11.1.0.1\nblog AAAA 2a0a:1::1", config: edgeAddresses, want: shingle.ReasonPointsHere, says: []string{"by address"}},
	{name: "A alone", records: "blog A 11.1.0.1", config: edgeAddresses, want: shingle.ReasonPointsHere},
	{name: "AAAA alone", records: "blog AAAA 2a0a:1::1", config: edgeAddresses, want: shingle.ReasonPointsHere},
	{name: "apex by flattening", host: "customer.com", records: "@ A 11.1.0.1\n@ AAAA 2a0a:1::1", want: shingle.ReasonPointsHere, says: []string{"by the addresses of edge.operator.net (ALIAS or CNAME flattening)"}},
	{name: "apex by address", host: "customer.com", records: "@ A 11.1.0.1", config: edgeAddresses, want: shingle.ReasonPointsHere},
	{name: "wildcard", records: "* CNAME edge.operator.net.", want: shingle.ReasonPointsHere, notes: []shingle.Reason{shingle.ReasonWildcard}},
	{name: "explicit beside a wildcard elsewhere", records: "* A 11.7.7.7\n" + toEdge, want: shingle.ReasonPointsHere},
	{name: "upper case in the record", records: "blog CNAME EDGE.Operator.NET.", want: shingle.ReasonPointsHere},

	// Nothing there.
	{name: "no such name", want: shingle.ReasonNoRecord, set: setBlog, says: []string{"blog.customer.com has no address in DNS yet.", `set a record of type CNAME with the name "blog" and the value "edge.operator.net"`}},
	{name: "no such name, quick", req: thoroughless, want: shingle.ReasonNoRecord, set: setBlog},
	{name: "name with TXT alone", records: `blog TXT "hello"`, want: shingle.ReasonNoRecord, set: setBlog},
	{name: "empty non-terminal", records: "a.blog A 11.7.7.7", want: shingle.ReasonNoRecord, set: setBlog},
	{name: "not registered", host: "blog.nobody.com", want: shingle.ReasonNotRegistered, says: []string{"nobody.com is not registered"}},
	{name: "no such top-level domain", host: "blog.customer.cmo", want: shingle.ReasonNotRegistered},
	{name: "apex without addresses, provider without ALIAS", host: "customer.com", config: edgeAddresses, want: shingle.ReasonNoRecord, set: "A @ 11.1.0.1, AAAA @ 2a0a:1::1"},
	{name: "apex, addresses of the target", host: "customer.com", want: shingle.ReasonNoRecord, set: "A @ 11.1.0.1, AAAA @ 2a0a:1::1"},

	// Pointing elsewhere.
	{name: "A elsewhere", records: "blog A 11.7.7.7", want: shingle.ReasonPointsElsewhere, set: setBlog, remove: "A blog 11.7.7.7", says: []string{"points to 11.7.7.7, not here", "remove the A record 11.7.7.7"}},
	{name: "CNAME elsewhere", records: "blog CNAME www.operator.net.", world: func(w *world) { w.add(addrOperator, "operator.net.", "www.operator.net. 60 A 11.7.7.7") }, want: shingle.ReasonPointsElsewhere, set: setBlog, remove: "CNAME blog www.operator.net"},
	{name: "IPv6 elsewhere", records: "blog A 11.1.0.1\nblog AAAA 2a0b::7", config: edgeAddresses, want: shingle.ReasonIPv6Elsewhere, remove: "AAAA blog 2a0b::7", says: []string{"IPv6 address (AAAA) is 2a0b::7", "remove the AAAA record 2a0b::7"}},
	{name: "half of the addresses", records: "blog A 11.1.0.1\nblog A 11.7.7.7", config: edgeAddresses, want: shingle.ReasonPartlyElsewhere, set: setBlog, remove: "A blog 11.1.0.1, A blog 11.7.7.7", says: []string{"but also to 11.7.7.7"}},
	{name: "half of the addresses of an apex", host: "customer.com", records: "@ A 11.1.0.1\n@ A 11.7.7.7", config: edgeAddresses, want: shingle.ReasonPartlyElsewhere, set: "A @ 11.1.0.1, AAAA @ 2a0a:1::1", remove: "A @ 11.7.7.7"},
	{name: "private address", records: "blog A 10.0.0.5", want: shingle.ReasonPrivateAddress, set: setBlog, remove: "A blog 10.0.0.5", says: []string{"cannot reach: 10.0.0.5"}},
	{name: "loopback", records: "blog A 127.0.0.1", want: shingle.ReasonPrivateAddress, set: setBlog, remove: "A blog 127.0.0.1"},
	{name: "cloud metadata", records: "blog A 169.254.169.254", want: shingle.ReasonPrivateAddress, set: setBlog, remove: "A blog 169.254.169.254"},
	{name: "Cloudflare in front", records: "blog A 104.16.1.1\nblog AAAA 2606:4700::1", world: nameServers("a.ns.cloudflare.com"), want: shingle.ReasonCDNInFront, set: setBlog, remove: "A blog 104.16.1.1, AAAA blog 2606:4700::1", says: []string{"Cloudflare answers for blog.customer.com", `At Cloudflare, set`, `"DNS only" (grey cloud)`}},
	{name: "CloudFront in front", records: "blog CNAME d1.cloudfront.net.", world: func(w *world) {
		w.add(addrNet, "net.", "d1.cloudfront.net. 60 A 11.8.8.8")
	}, want: shingle.ReasonCDNInFront, set: setBlog, remove: "CNAME blog d1.cloudfront.net", says: []string{"Amazon CloudFront answers"}},
	{name: "still at the old web host", records: "blog A 76.76.21.21", want: shingle.ReasonPointsElsewhere, set: setBlog, remove: "A blog 76.76.21.21", says: []string{"points to Vercel, 76.76.21.21, not here"}},
	{name: "expired: placeholder's address", records: "blog A 34.102.136.180", want: shingle.ReasonParked, says: []string{"has expired, is for sale"}},
	{name: "expired: placeholder's name servers", host: "customer.com", records: "@ A 11.7.7.7", world: nameServers("ns1.sedoparking.com"), want: shingle.ReasonParked, says: []string{"Renew it"}},

	// Aliases that lead nowhere.
	{name: "loop of one", records: "blog CNAME blog.customer.com.", want: shingle.ReasonCNAMELoop, set: setBlog, remove: "CNAME blog blog.customer.com"},
	{name: "loop of two", records: "blog CNAME b.customer.com.\nb CNAME blog.customer.com.", want: shingle.ReasonCNAMELoop, set: setBlog, remove: "CNAME blog b.customer.com", says: []string{"blog.customer.com → b.customer.com → blog.customer.com"}},
	{name: "loop further down", records: "blog CNAME a.customer.com.\na CNAME b.customer.com.\nb CNAME a.customer.com.", want: shingle.ReasonCNAMELoop, set: setBlog, remove: "CNAME blog a.customer.com"},
	{name: "loop, no way to the name servers", records: "blog CNAME b.customer.com.\nb CNAME blog.customer.com.", config: func(c *Config) {
		c.RootServers = []string{"11.250.0.1"}
	}, world: func(w *world) {
		w.behave(func(m, q *dns.Msg, _ string) *dns.Msg {
			if q.Question[0].Qtype != dns.TypeCNAME && strings.HasSuffix(canonical(q.Question[0].Name), ".customer.com.") {
				return withCode(dns.RcodeServerFailure)(m, q, "")
			}
			return m
		}, addrResolver)
	}, want: shingle.ReasonCNAMELoop, set: setBlog, remove: "CNAME blog b.customer.com"},
	{name: "chain too long", records: longChain(20), want: shingle.ReasonCNAMETooLong, set: setBlog, remove: "CNAME blog c1.customer.com"},
	{name: "alias of a name that is gone", records: "blog CNAME gone.customer.com.", want: shingle.ReasonCNAMEBroken, set: setBlog, remove: "CNAME blog gone.customer.com", says: []string{"alias of gone.customer.com, which has no address"}},
	{name: "typo in the target", records: "blog CNAME edge.operatr.net.", want: shingle.ReasonCNAMEBroken, set: setBlog, remove: "CNAME blog edge.operatr.net"},
	{name: "forgotten dot", records: "blog CNAME edge.operator.net.customer.com.", want: shingle.ReasonCNAMEBroken, set: setBlog, remove: "CNAME blog edge.operator.net.customer.com"},
	{name: "operator's target has no address", records: toEdge, world: func(w *world) {
		w.serve(addrOperator, "operator.net.", "operator.net. 60 SOA a. b. 1 1 1 1 60")
	}, want: shingle.ReasonTargetBroken, says: []string{"the operator must set one"}},

	// CAA.
	{name: "CAA allows us", records: toEdge + "\n@ CAA 0 issue \"letsencrypt.org\"", want: shingle.ReasonPointsHere, says: []string{"allows our certificate authority"}},
	{name: "CAA allows others", records: toEdge + "\n@ CAA 0 issue \"digicert.com\"", want: shingle.ReasonPointsHere, caa: shingle.ReasonCAAForbids, says: []string{"they allow only digicert.com", `the name "@", flags 0, tag issue, value "letsencrypt.org"`}},
	{name: "CAA allows several", records: toEdge + "\n@ CAA 0 issue \"digicert.com\"\n@ CAA 0 issue \"LetsEncrypt.org\"", want: shingle.ReasonPointsHere},
	{name: "CAA allows nobody", records: toEdge + "\n@ CAA 0 issue \";\"", want: shingle.ReasonPointsHere, caa: shingle.ReasonCAAForbids, says: []string{"they allow nobody"}},
	{name: "CAA for wildcards alone", records: toEdge + "\n@ CAA 0 issuewild \"digicert.com\"", want: shingle.ReasonPointsHere},
	{name: "CAA with a contact alone", records: toEdge + "\n@ CAA 0 iodef \"mailto:a@b.example\"", want: shingle.ReasonPointsHere},
	{name: "CAA critical and unknown", records: toEdge + "\n@ CAA 128 tbs \"x\"", want: shingle.ReasonPointsHere, caa: shingle.ReasonCAAForbids, says: []string{"critical and unknown"}},
	{name: "CAA of the host before that of the parent", records: "blog A 11.1.0.1\nblog CAA 0 issue \"letsencrypt.org\"\n@ CAA 0 issue \"digicert.com\"", config: edgeAddresses, want: shingle.ReasonPointsHere},
	{name: "CAA of the target", records: toEdge, world: func(w *world) {
		w.add(addrOperator, "operator.net.", `edge.operator.net. 60 CAA 0 issue "digicert.com"`)
	}, want: shingle.ReasonPointsHere, caa: shingle.ReasonCAAForbids},
	{name: "CAA with our account", records: toEdge + "\n@ CAA 0 issue \"letsencrypt.org; accounturi=https://ca.test/acct/1\"", want: shingle.ReasonPointsHere},
	{name: "CAA with another account", records: toEdge + "\n@ CAA 0 issue \"letsencrypt.org; accounturi=https://ca.test/acct/2\"", want: shingle.ReasonPointsHere, caa: shingle.ReasonCAAForbids, says: []string{"accounturi names another account", `value "letsencrypt.org; accounturi=https://ca.test/acct/1"`}},
	{name: "CAA with our validation method", records: toEdge + "\n@ CAA 0 issue \"letsencrypt.org; validationmethods=dns-01,http-01\"", want: shingle.ReasonPointsHere},
	{name: "CAA with another validation method", records: toEdge + "\n@ CAA 0 issue \"letsencrypt.org; validationmethods=dns-01\"", want: shingle.ReasonPointsHere, caa: shingle.ReasonCAAForbids, says: []string{"validationmethods lacks http-01 and tls-alpn-01", `value "letsencrypt.org; validationmethods=http-01,tls-alpn-01"`}},
	{name: "CAA with DNS-01, which is delegated", records: toEdge + "\n@ CAA 0 issue \"letsencrypt.org; validationmethods=dns-01\"", config: func(c *Config) {
		c.Delegated = func(_ context.Context, host string) bool { return host == "blog.customer.com" }
	}, want: shingle.ReasonPointsHere},
	{name: "CAA of the top-level domain", records: toEdge, world: func(w *world) { w.add(addrCom, "com.", `com. 60 CAA 0 issue "digicert.com"`) }, want: shingle.ReasonPointsHere, caa: shingle.ReasonCAAForbids},
	{name: "CAA lookup fails", records: toEdge, world: func(w *world) {
		w.behave(failsFor(dns.TypeCAA, dns.RcodeServerFailure), addrNS1, addrNS2)
	}, want: shingle.ReasonPointsHere, caa: shingle.ReasonCAAUnreadable, says: []string{"certificate authorities must then refuse"}},
	{name: "CAA is said before DNS is right", records: "@ CAA 0 issue \"digicert.com\"", want: shingle.ReasonNoRecord, caa: shingle.ReasonCAAForbids, set: setBlog},

	// Wildcard domains.
	{name: "wildcard domain", host: "*.customer.com", records: "* CNAME edge.operator.net.", want: shingle.ReasonPointsHere},
	{name: "wildcard domain without a record", host: "*.customer.com", records: toEdge, want: shingle.ReasonNoRecord, set: "CNAME * edge.operator.net"},
	{name: "wildcard domain, CAA for wildcards", host: "*.customer.com", records: "* CNAME edge.operator.net.\n@ CAA 0 issue \"digicert.com\"\n@ CAA 0 issuewild \"letsencrypt.org\"", want: shingle.ReasonPointsHere},
	{name: "wildcard domain, CAA against wildcards", host: "*.customer.com", records: "* CNAME edge.operator.net.\n@ CAA 0 issue \"letsencrypt.org\"\n@ CAA 0 issuewild \";\"", want: shingle.ReasonPointsHere, caa: shingle.ReasonCAAForbids, says: []string{"tag issuewild"}},
	{name: "wildcard domain, CAA with its method", host: "*.customer.com", records: "* CNAME edge.operator.net.\n@ CAA 0 issue \"letsencrypt.org; validationmethods=dns-01\"", want: shingle.ReasonPointsHere},

	// DNSSEC.
	{name: "bogus, with an extended error", records: toEdge, world: func(w *world) { w.bogus["customer.com."] = dns.ExtendedErrorCodeSignatureExpired }, want: shingle.ReasonDNSSECBogus, says: []string{"DNSSEC signatures of customer.com do not verify (Signature Expired: signature expired)", "DS record at the registrar"}},
	{name: "bogus, found by asking without", records: toEdge, world: func(w *world) { w.bogus["customer.com."] = 0 }, want: shingle.ReasonDNSSECBogus},

	// Servers that fail.
	{name: "all name servers silent", records: toEdge, world: dead(addrNS1, addrNS2), want: shingle.ReasonDNSTimeout, says: []string{"do not answer"}},
	{name: "one name server silent", records: toEdge, world: dead(addrNS1), want: shingle.ReasonPointsHere},
	{name: "all name servers fail", records: toEdge, world: func(w *world) {
		w.behave(inZone("customer.com.", withCode(dns.RcodeServerFailure)), addrNS1, addrNS2)
	}, want: shingle.ReasonDNSFailure, says: []string{"answer with a failure (ns1.dns.net, ns2.dns.net)"}},
	{name: "resolver says failure alone", records: toEdge, world: func(w *world) {
		w.behave(withCode(dns.RcodeServerFailure), addrNS1, addrNS2)
		w.behave(func(m, q *dns.Msg, _ string) *dns.Msg {
			if o := m.IsEdns0(); o != nil {
				o.Option = nil
			}
			return m
		}, addrResolver)
	}, want: shingle.ReasonDNSFailure, says: []string{"answer with a failure"}},
	{name: "lame delegation", records: toEdge, world: func(w *world) {
		w.behave(inZone("customer.com.", withCode(dns.RcodeRefused)), addrNS1, addrNS2)
	}, want: shingle.ReasonLameDelegation, says: []string{"(ns1.dns.net, ns2.dns.net)", "correct the name servers at the registrar"}},
	{name: "delegated to names that do not exist", records: toEdge, world: func(w *world) {
		s := w.at(addrCom)
		s.zones["com."] = parseRecords(w.t, "com. 60 SOA a. b. 1 1 1 1 60\ncustomer.com. 60 NS ns.gone.net.")
	}, want: shingle.ReasonLameDelegation},
	{name: "delegated into a private network", records: toEdge, world: func(w *world) {
		s := w.at(addrCom)
		s.zones["com."] = parseRecords(w.t, "com. 60 SOA a. b. 1 1 1 1 60\ncustomer.com. 60 NS ns.customer.com.\nns.customer.com. 60 A 10.0.0.53")
		w.serve(netip.MustParseAddr("10.0.0.53"), "customer.com.", customerApex)
		w.silence(netip.MustParseAddr("10.0.0.53"))
	}, want: shingle.ReasonLameDelegation},
	{name: "one of two servers is lame", records: toEdge, world: func(w *world) { w.behave(withCode(dns.RcodeRefused), addrNS2) }, want: shingle.ReasonPointsHere},
	{name: "AAAA fails, A does not", records: toEdge, world: func(w *world) {
		w.behave(failsFor(dns.TypeAAAA, dns.RcodeServerFailure), addrNS1, addrNS2)
	}, want: shingle.ReasonDNSFailure},
	{name: "our resolver is dead, the zone is well", records: toEdge, config: edgeAddresses, world: dead(addrResolver), want: shingle.ReasonPointsHere},
	{name: "our resolver and the zone are dead", records: toEdge, world: dead(addrResolver, addrNS1, addrNS2, addrRoot), want: shingle.ReasonResolverFailure, says: []string{"our own resolvers"}},
	{name: "the first resolver is dead", records: toEdge, world: dead(addrResolver), config: func(c *Config) {
		c.Resolvers = append(c.Resolvers, addrResolver2.String())
	}, want: shingle.ReasonPointsHere},
	{name: "the first resolver refuses", records: toEdge, world: func(w *world) { w.behave(withCode(dns.RcodeRefused), addrResolver) }, config: func(c *Config) {
		c.Resolvers = append(c.Resolvers, addrResolver2.String())
	}, want: shingle.ReasonPointsHere},
	{name: "no way to the name servers", records: toEdge, config: func(c *Config) { c.RootServers = []string{"11.250.0.1"} }, want: shingle.ReasonPointsHere},

	// Sources that disagree.
	{name: "resolver still says no such name", records: toEdge, world: func(w *world) { w.stale["blog.customer.com."] = []dns.RR{} }, want: shingle.ReasonPointsHere, notes: []shingle.Reason{shingle.ReasonStaleCache}},
	{name: "resolver still has the old address", records: toEdge, req: thoroughless, world: func(w *world) {
		w.stale["blog.customer.com."] = parseRecords(w.t, "blog.customer.com. 3600 A 11.7.7.7")
	}, want: shingle.ReasonPointsHere, notes: []shingle.Reason{shingle.ReasonStaleCache}},
	{name: "another resolver has the old address", records: toEdge, config: func(c *Config) {
		c.Resolvers = append(c.Resolvers, addrResolver2.String())
	}, world: func(w *world) {
		w.behave(func(m, q *dns.Msg, _ string) *dns.Msg {
			if strings.EqualFold(q.Question[0].Name, "blog.customer.com.") && q.Question[0].Qtype == dns.TypeA {
				m.Answer = parseRecords(w.t, q.Question[0].Name+" 3600 A 11.7.7.7")
			}
			return m
		}, addrResolver2)
	}, want: shingle.ReasonPointsHere, notes: []shingle.Reason{shingle.ReasonStaleCache}},
	{name: "moved away, resolver has the old answer", records: "blog A 11.7.7.7", world: func(w *world) {
		w.stale["blog.customer.com."] = parseRecords(w.t, "blog.customer.com. 3600 CNAME edge.operator.net.\nedge.operator.net. 300 A 11.1.0.1")
	}, want: shingle.ReasonPointsElsewhere, set: setBlog, remove: "A blog 11.7.7.7"},
	{name: "one name server has the old zone", records: toEdge, world: func(w *world) { w.serve(addrNS2, "customer.com.", customerApex) }, want: shingle.ReasonPropagating, says: []string{"ns2.dns.net does not have the new record yet"}},

	// Transport.
	{name: "truncated over UDP", records: toEdge + manyTXT(), world: func(w *world) {
		w.behave(func(m, q *dns.Msg, network string) *dns.Msg {
			if network == "udp" {
				m.Answer, m.Truncated = nil, true
			}
			return m
		}, addrNS1, addrNS2, addrResolver)
	}, want: shingle.ReasonPointsHere},
	{name: "servers without EDNS", records: toEdge, world: func(w *world) {
		w.behave(func(m, q *dns.Msg, _ string) *dns.Msg {
			if q.IsEdns0() != nil {
				return &dns.Msg{MsgHdr: dns.MsgHdr{Id: q.Id, Response: true, Rcode: dns.RcodeFormatError}}
			}
			return m
		}, addrNS1, addrNS2)
	}, want: shingle.ReasonPointsHere},
	{name: "servers that keep no case", records: toEdge, world: func(w *world) {
		w.behave(func(m, q *dns.Msg, network string) *dns.Msg {
			if network == "udp" {
				m.Question[0].Name = strings.ToLower(m.Question[0].Name)
			}
			return m
		}, addrNS1, addrNS2)
	}, want: shingle.ReasonPointsHere},
	{name: "servers that want a cookie", records: toEdge, world: func(w *world) { w.behave(demandCookie, addrNS1, addrNS2) }, want: shingle.ReasonPointsHere},

	// What to type in where.
	{name: "GoDaddy", world: nameServers("ns01.domaincontrol.com", "ns02.domaincontrol.com"), want: shingle.ReasonNoRecord, set: setBlog, says: []string{"At GoDaddy, set"}},
	{name: "GoDaddy, apex", host: "customer.com", config: edgeAddresses, world: nameServers("ns01.domaincontrol.com"), want: shingle.ReasonNoRecord, set: "A @ 11.1.0.1, AAAA @ 2a0a:1::1"},
	{name: "Cloudflare, apex", host: "customer.com", world: nameServers("a.ns.cloudflare.com"), want: shingle.ReasonNoRecord, set: "CNAME @ edge.operator.net"},
	{name: "Route 53", world: nameServers("ns-1.awsdns-01.com"), want: shingle.ReasonNoRecord, set: setBlog, says: []string{"At Amazon Route 53"}},
	{name: "Namecheap, apex", host: "customer.com", world: nameServers("dns1.registrar-servers.com"), want: shingle.ReasonNoRecord, set: "ALIAS @ edge.operator.net"},
	{name: "Hetzner, final dot", world: nameServers("helium.ns.hetzner.com"), want: shingle.ReasonNoRecord, set: "CNAME blog edge.operator.net."},
	{name: "deeper name", host: "a.b.customer.com", want: shingle.ReasonNoRecord, set: "CNAME a.b edge.operator.net"},
	{name: "zone of its own below", host: "www.shop.customer.com", world: func(w *world) {
		for _, a := range []netip.Addr{addrNS1, addrNS2} {
			w.add(a, "customer.com.", "shop.customer.com. 60 NS ns.operator.net.")
		}
		w.serve(addrOperator, "shop.customer.com.", "shop.customer.com. 60 SOA a. b. 1 1 1 1 60\nshop.customer.com. 60 NS ns.operator.net.")
	}, want: shingle.ReasonNoRecord, set: "CNAME www edge.operator.net"},
	{name: "international name", host: "xn--bcher-kva.customer.com", want: shingle.ReasonNoRecord, set: "CNAME xn--bcher-kva edge.operator.net"},

	// The operator's settings.
	{name: "nothing to compare with", records: "blog A 11.7.7.7", config: func(c *Config) { c.Targets = nil }, want: shingle.ReasonUnconfigured, says: []string{"--cname-target"}},
	{name: "addresses alone", config: func(c *Config) { c.Targets = nil; edgeAddresses(c) }, want: shingle.ReasonNoRecord, set: "A blog 11.1.0.1, AAAA blog 2a0a:1::1"},
	{name: "tenant's own target is told", req: func(r *Request) { r.Label = "tok3n" }, want: shingle.ReasonNoRecord, set: "CNAME blog tok3n.edge.operator.net"},
}

// expandRelative makes targets of one label relative to the zone.
func expandRelative(w *world) {
	for _, a := range []netip.Addr{addrNS1, addrNS2} {
		for _, rr := range w.at(a).zones["customer.com."] {
			if alias, ok := rr.(*dns.CNAME); ok && dns.CountLabel(alias.Target) == 1 {
				alias.Target += "customer.com."
			}
		}
	}
}

func longChain(n int) string {
	s := "blog CNAME c1.customer.com.\n"
	for i := 1; i < n; i++ {
		s += fmt.Sprintf("c%d CNAME c%d.customer.com.\n", i, i+1)
	}
	return s + fmt.Sprintf("c%d CNAME edge.operator.net.", n)
}

func manyTXT() (s string) {
	for i := range 60 {
		s += fmt.Sprintf("\nblog%d TXT \"%s\"", i, strings.Repeat("x", 100))
	}
	return s
}

// demandCookie is a server that answers those alone who send its cookie back
// (RFC 7873 section 5.2.3).
func demandCookie(m, q *dns.Msg, network string) *dns.Msg {
	if network == "tcp" {
		return m
	}
	const ours = "0123456789abcdef"
	sent := cookieOf(q)
	if o := m.IsEdns0(); o != nil {
		o.Option = append(o.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: sent[:min(len(sent), cookieLength)] + ours})
	}
	if !strings.HasSuffix(sent, ours) {
		m.Answer, m.Ns, m.Rcode = nil, nil, dns.RcodeBadCookie
	}
	return m
}

func TestDNS_Verdicts(t *testing.T) {
	if len(dnsCases) < 60 {
		t.Errorf("%d cases", len(dnsCases))
	}
	for _, c := range dnsCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

// TestDNS_TargetThatCannotBeResolved begins when the operator's own name servers do not
// answer: a domain that points here by its addresses is not said to point elsewhere, and
// what the fault was about is not believed for a minute.
func TestDNS_TargetThatCannotBeResolved(t *testing.T) {
	w := newWorld(t, "blog.customer.com. 300 A 11.1.0.1\nshop.customer.com. 300 CNAME edge.operator.net.\n")
	operator := w.at(addrOperator)
	fail := func(m, _ *dns.Msg, _ string) *dns.Msg {
		m.Rcode, m.Answer, m.Ns = dns.RcodeServerFailure, nil, nil
		return m
	}
	set := func(odd func(m, q *dns.Msg, network string) *dns.Msg) {
		w.mu.Lock()
		defer w.mu.Unlock()
		operator.odd = odd
	}
	c, err := New(w.config())
	if err != nil {
		t.Fatal(err)
	}
	look := func() shingle.DNSResult {
		t.Helper()
		r, err := c.CheckDNS(t.Context(), Request{Host: "blog.customer.com"})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	set(fail)
	if r := look(); r.Reason.Outcome() != shingle.OutcomeUnclear || r.Reason.Who() != shingle.WhoOperator {
		t.Errorf("while the target cannot be resolved: %s: %s", r.Reason, r.Message)
	}
	set(nil)
	if r := look(); r.Reason != shingle.ReasonPointsHere {
		t.Errorf("right after that: %s: %s", r.Reason, r.Message)
	}
	set(fail)
	c.own.until = time.Time{}
	if r := look(); r.Reason != shingle.ReasonPointsHere {
		t.Errorf("with the addresses of before: %s: %s", r.Reason, r.Message)
	}
}
