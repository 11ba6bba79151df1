package check

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// The played Internet: a root, the registries of com and net, two name servers
// on which customers have their zones, the operator's own, and a resolver.
var (
	addrRoot      = netip.MustParseAddr("11.0.0.1")
	addrCom       = netip.MustParseAddr("11.0.0.2")
	addrNet       = netip.MustParseAddr("11.0.0.3")
	addrOperator  = netip.MustParseAddr("11.0.1.1")
	addrNS1       = netip.MustParseAddr("11.0.2.1")
	addrNS2       = netip.MustParseAddr("11.0.2.2")
	addrElsewhere = netip.MustParseAddr("11.0.3.1") // of another provider
	addrResolver  = netip.MustParseAddr("11.9.9.9")
	addrResolver2 = netip.MustParseAddr("11.9.9.10")

	edge4 = netip.MustParseAddr("11.1.0.1")
	edge6 = netip.MustParseAddr("2a0a:1::1")
)

// world is a set of DNS servers, each with an address of its own in the played
// Internet and a port of 127.0.0.1 in fact.
type world struct {
	t       testing.TB
	mu      sync.Mutex
	servers map[netip.Addr]*server
	// stale are old answers that the resolver still has, by name.
	stale map[string][]dns.RR
	// bogus are zones whose signatures do not verify, with the extended error.
	bogus map[string]uint16
}

// server is a name server, or a resolver when recurse is set.
type server struct {
	world   *world
	zones   map[string][]dns.RR
	recurse bool
	// odd changes an answer, or drops it by returning nil.
	odd    func(m, q *dns.Msg, network string) *dns.Msg
	silent bool // to all questions
	// before sees a question, and may answer, before the server does.
	before func(w dns.ResponseWriter, q *dns.Msg)
	port   netip.AddrPort
	asked  atomic.Int64
}

const (
	rootZone = `
. 3600 SOA root. root. 1 1 1 1 900
com. 3600 NS ns.gtld.com.
net. 3600 NS ns.gtld.net.
ns.gtld.com. 3600 A 11.0.0.2
ns.gtld.net. 3600 A 11.0.0.3
`
	comZone = `
com. 3600 SOA ns.gtld.com. root. 1 1 1 1 900
com. 3600 NS ns.gtld.com.
customer.com. 3600 NS ns1.dns.net.
customer.com. 3600 NS ns2.dns.net.
`
	netZone = `
net. 3600 SOA ns.gtld.net. root. 1 1 1 1 900
net. 3600 NS ns.gtld.net.
dns.net. 3600 NS ns1.dns.net.
dns.net. 3600 NS ns2.dns.net.
ns1.dns.net. 3600 A 11.0.2.1
ns2.dns.net. 3600 A 11.0.2.2
operator.net. 3600 NS ns.operator.net.
ns.operator.net. 3600 A 11.0.1.1
`
	dnsNetZone = `
dns.net. 3600 SOA ns1.dns.net. root. 1 1 1 1 300
dns.net. 3600 NS ns1.dns.net.
dns.net. 3600 NS ns2.dns.net.
ns1.dns.net. 3600 A 11.0.2.1
ns2.dns.net. 3600 A 11.0.2.2
`
	operatorZone = `
operator.net. 3600 SOA ns.operator.net. root. 1 1 1 1 300
operator.net. 3600 NS ns.operator.net.
ns.operator.net. 3600 A 11.0.1.1
edge.operator.net. 300 A 11.1.0.1
edge.operator.net. 300 AAAA 2a0a:1::1
*.edge.operator.net. 300 A 11.1.0.1
*.edge.operator.net. 300 AAAA 2a0a:1::1
`
	customerApex = `
customer.com. 3600 SOA ns1.dns.net. root. 1 1 1 1 300
customer.com. 3600 NS ns1.dns.net.
customer.com. 3600 NS ns2.dns.net.
`
)

// newWorld plays the Internet with these records in the zone customer.com.
func newWorld(t testing.TB, customer string) *world {
	w := &world{t: t, servers: map[netip.Addr]*server{}, stale: map[string][]dns.RR{}, bogus: map[string]uint16{}}
	w.serve(addrRoot, ".", rootZone)
	w.serve(addrCom, "com.", comZone)
	w.serve(addrNet, "net.", netZone)
	w.serve(addrOperator, "operator.net.", operatorZone)
	for _, a := range []netip.Addr{addrNS1, addrNS2} {
		w.serve(a, "dns.net.", dnsNetZone)
		w.serve(a, "customer.com.", customerApex+customer)
	}
	w.at(addrElsewhere)
	w.at(addrResolver).recurse = true
	w.at(addrResolver2).recurse = true
	return w
}

// config is that of a checker in this world.
func (w *world) config() Config {
	return Config{
		Targets: []string{"edge.operator.net"}, Resolvers: []string{addrResolver.String()}, RootServers: []string{addrRoot.String()},
		CAs:          []CA{{Name: "letsencrypt", Identities: []string{"letsencrypt.org"}, Account: func(context.Context) string { return "https://ca.test/acct/1" }}},
		QueryTimeout: w.patience(), Timeout: 30 * time.Second, dialTo: w.dialTo,
	}
}

// patience is for how long a server is waited for: on a busy machine one that answers
// may take its time; one that is silent from the beginning is not worth waiting for.
func (w *world) patience() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.servers {
		if s.silent {
			return 100 * time.Millisecond
		}
	}
	return 2 * time.Second
}

func (w *world) dialTo(_ string, to netip.AddrPort) netip.AddrPort {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.servers[to.Addr()]; s != nil && to.Port() == 53 {
		return s.port
	}
	return netip.MustParseAddrPort("127.0.0.1:1") // nobody there
}

// at returns the server with an address, and starts it if need be.
func (w *world) at(addr netip.Addr) *server {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.servers[addr]; s != nil {
		return s
	}
	s := &server{world: w, zones: map[string][]dns.RR{}}
	w.servers[addr] = s
	s.start()
	return s
}

func (w *world) serve(addr netip.Addr, zone, records string) {
	s := w.at(addr)
	s.zones[zone] = parseRecords(w.t, records)
}

// add puts more records into a zone.
func (w *world) add(addr netip.Addr, zone, records string) {
	s := w.at(addr)
	s.zones[zone] = append(s.zones[zone], parseRecords(w.t, records)...)
}

func parseRecords(t testing.TB, text string) (list []dns.RR) {
	t.Helper()
	p := dns.NewZoneParser(strings.NewReader(text), ".", "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		list = append(list, rr)
	}
	if p.Err() != nil {
		t.Fatal(p.Err())
	}
	return list
}

func (s *server) start() {
	t := s.world.t
	stream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	packets, err := net.ListenPacket("udp", stream.Addr().String())
	for tries := 0; err != nil && tries < 10; tries++ { // the port is taken for UDP
		_ = stream.Close()
		if stream, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
			packets, err = net.ListenPacket("udp", stream.Addr().String())
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	s.port = netip.MustParseAddrPort(stream.Addr().String())
	for _, d := range []*dns.Server{
		{Listener: stream, Handler: s},
		{PacketConn: packets, Handler: s},
	} {
		started, done := make(chan struct{}), make(chan struct{})
		d.NotifyStartedFunc = func() { close(started) }
		go func() { defer close(done); _ = d.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = d.Shutdown(); <-done })
	}
}

// ServeDNS implements [dns.Handler].
func (s *server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	s.asked.Add(1)
	s.world.mu.Lock()
	before := s.before
	s.world.mu.Unlock()
	if before != nil {
		before(w, q)
	}
	network := w.LocalAddr().Network()
	m := s.answer(q, network)
	if m == nil {
		return
	}
	if network == "udp" {
		size := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = int(o.UDPSize())
		}
		m.Truncate(size)
	}
	_ = w.WriteMsg(m)
}

// answer is what the server says, nil when it keeps silent.
func (s *server) answer(q *dns.Msg, network string) *dns.Msg {
	s.world.mu.Lock()
	odd, recurse := s.odd, s.recurse
	s.world.mu.Unlock()
	m := new(dns.Msg)
	m.SetReply(q)
	if o := q.IsEdns0(); o != nil {
		m.SetEdns0(1232, false)
	}
	if recurse {
		m.RecursionAvailable = true
		s.world.resolve(m, q)
	} else {
		s.own(m, canonical(q.Question[0].Name), q.Question[0].Qtype)
	}
	if odd != nil {
		return odd(m, q, network)
	}
	return m
}

// own answers from the server's zones.
func (s *server) own(m *dns.Msg, name string, kind uint16) {
	zone, records := "", []dns.RR(nil)
	for z, rrs := range s.zones {
		if dns.IsSubDomain(z, name) && len(z) > len(zone) {
			zone, records = z, rrs
		}
	}
	if zone == "" {
		m.Rcode = dns.RcodeRefused
		return
	}
	if cut := delegation(records, zone, name); cut != "" {
		for _, rr := range records {
			if rr.Header().Rrtype == dns.TypeNS && rr.Header().Name == cut {
				m.Ns = append(m.Ns, rr)
				m.Extra = append(glue(records, rr.(*dns.NS).Ns), m.Extra...)
			}
		}
		return
	}
	m.Authoritative = true
	found, exists := lookupRecords(records, zone, name)
	for _, rr := range found {
		if k := rr.Header().Rrtype; k == kind || k == dns.TypeCNAME {
			rr = dns.Copy(rr)
			rr.Header().Name = m.Question[0].Name
			m.Answer = append(m.Answer, rr)
		}
	}
	if len(m.Answer) > 0 {
		return
	}
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	for _, rr := range records {
		if rr.Header().Rrtype == dns.TypeSOA {
			m.Ns = append(m.Ns, rr)
		}
	}
}

// delegation returns the cut below the apex at or above a name.
func delegation(records []dns.RR, zone, name string) (cut string) {
	for _, rr := range records {
		if n := rr.Header().Name; rr.Header().Rrtype == dns.TypeNS && n != zone && dns.IsSubDomain(n, name) {
			cut = n
		}
	}
	return cut
}

func glue(records []dns.RR, name string) (list []dns.RR) {
	for _, rr := range records {
		if k := rr.Header().Rrtype; (k == dns.TypeA || k == dns.TypeAAAA) && rr.Header().Name == name {
			list = append(list, rr)
		}
	}
	return list
}

// lookupRecords finds a name's own records, or those of a wildcard.
func lookupRecords(records []dns.RR, zone, name string) (found []dns.RR, exists bool) {
	for at := name; ; at = parent(at) {
		for _, rr := range records {
			owner := rr.Header().Name
			if owner == name && at == name || at != name && owner == "*."+at {
				found = append(found, rr)
			}
			exists = exists || at == name && dns.IsSubDomain(name, owner)
		}
		if len(found) > 0 || exists || at == zone || at == "." {
			return found, exists || len(found) > 0
		}
	}
}

// resolve answers as a validating resolver does.
func (w *world) resolve(m, q *dns.Msg) {
	name := q.Question[0].Name
	for zone, code := range w.bogus {
		if dns.IsSubDomain(zone, canonical(name)) && !q.CheckingDisabled {
			m.Rcode = dns.RcodeServerFailure
			if o := m.IsEdns0(); o != nil && code != 0 {
				o.Option = append(o.Option, &dns.EDNS0_EDE{InfoCode: code, ExtraText: "signature expired"})
			}
			return
		}
	}
	for range 20 {
		if old, ok := w.stale[canonical(name)]; ok {
			for _, rr := range old {
				if rr.Header().Rrtype == q.Question[0].Qtype || rr.Header().Rrtype == dns.TypeCNAME {
					m.Answer = append(m.Answer, rr)
				}
			}
			if len(old) == 0 {
				m.Rcode = dns.RcodeNameError
				m.Ns = parseRecords(w.t, "customer.com. 120 SOA ns1.dns.net. root. 1 1 1 1 120")
			}
			return
		}
		got, err := w.iterate(name, q.Question[0].Qtype, 0)
		if err != nil {
			m.Rcode = dns.RcodeServerFailure
			if o := m.IsEdns0(); o != nil {
				o.Option = append(o.Option, &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeNoReachableAuthority})
			}
			return
		}
		m.Rcode, m.Ns = got.Rcode, got.Ns
		m.Answer = append(m.Answer, got.Answer...)
		next := ""
		for _, rr := range got.Answer {
			if alias, ok := rr.(*dns.CNAME); ok && q.Question[0].Qtype != dns.TypeCNAME {
				next = alias.Target
			}
		}
		if next == "" {
			return
		}
		name = next
	}
	m.Rcode = dns.RcodeServerFailure // a loop
}

// iterate walks the played tree without a network.
func (w *world) iterate(name string, kind uint16, depth int) (*dns.Msg, error) {
	at := []netip.Addr{addrRoot}
	for range 10 {
		var got *dns.Msg
		for _, addr := range at {
			w.mu.Lock()
			s := w.servers[addr]
			w.mu.Unlock()
			if s == nil {
				continue
			}
			q := new(dns.Msg)
			q.SetQuestion(dns.Fqdn(name), kind)
			if m := s.answer(q, "tcp"); m != nil && (m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError) && (m.Authoritative || len(m.Ns) > 0) {
				got = m
				break
			}
		}
		if got == nil {
			return nil, errors.New("no server answers")
		}
		if got.Authoritative {
			return got, nil
		}
		at = nil
		for _, rr := range got.Ns {
			ns, ok := rr.(*dns.NS)
			if !ok {
				continue
			}
			found := answer{records: glue(got.Extra, ns.Ns)}
			if len(found.records) == 0 && depth < 3 {
				if m, err := w.iterate(ns.Ns, dns.TypeA, depth+1); err == nil {
					found.records = m.Answer
				}
			}
			at = append(at, found.addresses()...)
		}
	}
	return nil, errors.New("no end")
}

// behave makes servers odd.
func (w *world) behave(odd func(m, q *dns.Msg, network string) *dns.Msg, addrs ...netip.Addr) {
	for _, a := range addrs {
		s := w.at(a)
		w.mu.Lock()
		s.odd, s.silent = odd, false
		w.mu.Unlock()
	}
}

// watch has f see the questions to a server before it answers.
func (w *world) watch(addr netip.Addr, f func(dns.ResponseWriter, *dns.Msg)) {
	s := w.at(addr)
	w.mu.Lock()
	defer w.mu.Unlock()
	s.before = f
}

// silence has servers answer nothing.
func (w *world) silence(addrs ...netip.Addr) {
	w.behave(func(_, _ *dns.Msg, _ string) *dns.Msg { return nil }, addrs...)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range addrs {
		w.servers[a].silent = true
	}
}

func withCode(rcode int) func(m, q *dns.Msg, network string) *dns.Msg {
	return func(m, q *dns.Msg, _ string) *dns.Msg {
		m.Answer, m.Ns, m.Rcode, m.Authoritative = nil, nil, rcode, false
		return m
	}
}

// failsFor makes a server fail for one type of record.
func failsFor(kind uint16, rcode int) func(m, q *dns.Msg, network string) *dns.Msg {
	return func(m, q *dns.Msg, network string) *dns.Msg {
		if q.Question[0].Qtype == kind {
			return withCode(rcode)(m, q, network)
		}
		return m
	}
}

// inZone makes a server odd for the names in one of its zones.
func inZone(zone string, odd func(m, q *dns.Msg, network string) *dns.Msg) func(m, q *dns.Msg, network string) *dns.Msg {
	return func(m, q *dns.Msg, network string) *dns.Msg {
		if dns.IsSubDomain(zone, canonical(q.Question[0].Name)) {
			return odd(m, q, network)
		}
		return m
	}
}
