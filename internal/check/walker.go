package check

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/shingle-proxy/shingle"
)

// walker asks the zones' own servers, from the root down, as a CA's resolver
// does: no cache stands between it and what the customer has just set.
type walker struct {
	client *client
	stub   *stub // for the addresses of name servers whose parent does not tell them
	root   *zone

	mu    sync.Mutex
	known map[string]*zone // zone cuts; at most maxZones
}

// zone is where the records of a part of the tree are.
type zone struct {
	name    string
	servers []nameserver
	until   time.Time // forgotten then
}

type nameserver struct {
	name  string
	addrs []netip.Addr // as the parent told; empty: to be looked up
	port  uint16
}

// Bounds of a walk.
const (
	maxZones     = 20_000
	maxReferrals = 10
	maxServers   = 8 // of a zone
	// zoneLife is for how long a cut is believed, top ones for longer: a customer
	// may be moving to other name servers right now.
	zoneLife    = time.Minute
	topZoneLife = time.Hour
)

func newWalker(c *client, s *stub, roots []netip.AddrPort) *walker {
	root := &zone{name: "."}
	for _, r := range roots {
		root.servers = append(root.servers, nameserver{name: r.Addr().String(), addrs: []netip.Addr{r.Addr()}, port: r.Port()})
	}
	return &walker{client: c, stub: s, root: root, known: map[string]*zone{}}
}

// lookup follows referrals and aliases to the records of a name. at is the zone
// of the name itself, nil when it was not reached.
func (w *walker) lookup(ctx context.Context, name string, kind uint16) (a answer, at *zone) {
	return w.lookupAt(ctx, name, kind, 0)
}

// lookupAt is lookup, for the sake of a name server when depth is not 0.
func (w *walker) lookupAt(ctx context.Context, name string, kind uint16, depth int) (a answer, at *zone) {
	for range maxChain + 1 {
		m, z, fault := w.descend(ctx, question{name: a.end(name), kind: kind}, depth)
		if at == nil {
			at = z
		}
		if fault != "" {
			a.fault = fault
			return a, at
		}
		m.Answer = slices.DeleteFunc(m.Answer, func(rr dns.RR) bool { return !dns.IsSubDomain(z.name, canonical(rr.Header().Name)) })
		complete := a.take(m, name, kind)
		if a.fault != "" || complete && dns.IsSubDomain(z.name, a.end(name)) {
			return a, at
		}
		a.missing, a.zone = false, "" // of a name that this zone does not speak for
	}
	a.fault = shingle.ReasonCNAMETooLong
	return a, at
}

// descend goes from the nearest known zone to the one that answers.
func (w *walker) descend(ctx context.Context, q question, depth int) (*dns.Msg, *zone, shingle.Reason) {
	z := w.nearest(q.name)
	for range maxReferrals {
		m, fault := w.askZone(ctx, z, q, depth)
		if fault != "" {
			return nil, z, fault
		}
		if m.Authoritative {
			return m, z, ""
		}
		z = w.learn(referral(m, z.name, q.name), m)
	}
	return nil, z, shingle.ReasonDNSFailure
}

// nearest returns the lowest zone known above name.
func (w *walker) nearest(name string) *zone {
	w.mu.Lock()
	defer w.mu.Unlock()
	for at := name; at != "."; at = parent(at) {
		if z := w.known[at]; z != nil {
			if time.Now().Before(z.until) {
				return z
			}
			delete(w.known, at)
		}
	}
	return w.root
}

// parent is the name above, and the root for the root.
func parent(name string) string {
	next, end := dns.NextLabel(name, 0)
	if end {
		return "."
	}
	return name[next:]
}

// learn makes a zone of a referral, with the addresses that its parent vouches
// for.
func (w *walker) learn(to string, m *dns.Msg) *zone {
	z := &zone{name: to, until: time.Now().Add(zoneLife)}
	if !strings.Contains(strings.TrimSuffix(to, "."), ".") {
		z.until = time.Now().Add(topZoneLife)
	}
	for _, rr := range m.Ns {
		if ns, ok := rr.(*dns.NS); ok && canonical(ns.Hdr.Name) == to && len(z.servers) < maxServers {
			z.servers = append(z.servers, nameserver{name: canonical(ns.Ns), port: 53})
		}
	}
	for _, rr := range m.Extra {
		for i := range z.servers {
			if z.servers[i].name == canonical(rr.Header().Name) && dns.IsSubDomain(parent(to), z.servers[i].name) {
				one := answer{records: []dns.RR{rr}}
				z.servers[i].addrs = append(z.servers[i].addrs, one.addresses()...)
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for name := range w.known { // any: the map's order is random
		if len(w.known) < maxZones {
			break
		}
		delete(w.known, name)
	}
	w.known[to] = z
	return z
}

// referral returns the zone below z that a server refers to, or "".
func referral(m *dns.Msg, z, name string) string {
	for _, rr := range m.Ns {
		if ns, ok := rr.(*dns.NS); ok {
			to := canonical(ns.Hdr.Name)
			if to != z && dns.IsSubDomain(z, to) && dns.IsSubDomain(to, name) {
				return to
			}
		}
	}
	return ""
}

// reply is what became of a question to one server of a zone.
type reply struct {
	m     *dns.Msg
	fault shingle.Reason
}

// hedge is how long a server may take before the next one is asked as well.
const hedge = 400 * time.Millisecond

// askZone asks a zone's servers, in random order, until one knows or refers on.
func (w *walker) askZone(ctx context.Context, z *zone, q question, depth int) (*dns.Msg, shingle.Reason) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // whoever is still waited for
	servers := slices.Clone(z.servers)
	rand.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
	replies := make(chan reply, len(servers))
	asked, open := 0, 0
	next := func() {
		if asked < len(servers) {
			server := servers[asked]
			go func() { replies <- w.askServer(ctx, z, server, q, depth) }()
			asked, open = asked+1, open+1
		}
	}
	next()
	tick := time.NewTicker(hedge)
	defer tick.Stop()
	var faults []shingle.Reason
	for open > 0 {
		select {
		case r := <-replies:
			if r.fault == "" {
				return r.m, ""
			}
			faults = append(faults, r.fault)
			open--
			next()
		case <-tick.C:
			next()
		}
	}
	return nil, worst(faults)
}

// worst is the fault to name when all servers of a zone have one.
func worst(faults []shingle.Reason) shingle.Reason {
	for _, fault := range []shingle.Reason{shingle.ReasonDNSFailure, shingle.ReasonLameDelegation, shingle.ReasonDNSTimeout} {
		if slices.Contains(faults, fault) {
			return fault
		}
	}
	return shingle.ReasonLameDelegation // no server at all
}

// askServer asks one server of a zone at one of its addresses.
func (w *walker) askServer(ctx context.Context, z *zone, server nameserver, q question, depth int) reply {
	addrs := server.addrs
	if len(addrs) == 0 {
		found := w.addresses(ctx, server.name, depth)
		if addrs = found.addresses(); len(addrs) == 0 && found.fault == "" {
			return reply{fault: shingle.ReasonLameDelegation} // a name server that does not exist
		}
	}
	fault := shingle.ReasonDNSTimeout
	for _, addr := range addrs[:min(len(addrs), 2)] {
		if z != w.root && !w.client.cfg.mayConnect(addr) {
			fault = shingle.ReasonLameDelegation // nobody on the Internet reaches it
			continue
		}
		m, err := w.client.ask(ctx, netip.AddrPortFrom(addr, server.port), q)
		if err != nil {
			continue
		}
		return reply{m: m, fault: judgeServer(m, z.name, q.name)}
	}
	return reply{fault: fault}
}

// maxDepth bounds the zones that are asked for the name servers of others.
const maxDepth = 2

// addresses looks for those of a name server.
func (w *walker) addresses(ctx context.Context, name string, depth int) (a answer) {
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		a = w.stub.lookup(ctx, name, kind)
		if a.fault != "" && depth < maxDepth {
			a, _ = w.lookupAt(ctx, name, kind, depth+1)
		}
		if len(a.records) > 0 {
			break
		}
	}
	return a
}

// judgeServer tells an answer and a referral from a server that does not know
// the zone (RFC 8499: lame).
func judgeServer(m *dns.Msg, z, name string) shingle.Reason {
	switch {
	case m.Rcode == dns.RcodeServerFailure:
		return shingle.ReasonDNSFailure
	case m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError:
		return shingle.ReasonLameDelegation
	case m.Authoritative || referral(m, z, name) != "":
		return ""
	}
	return shingle.ReasonLameDelegation
}

// survey asks every server of a zone, and returns what those that know say, by
// server, as far as they can be compared.
func (w *walker) survey(ctx context.Context, z *zone, name string, kinds ...uint16) map[string][]*dns.Msg {
	type said struct {
		server string
		msgs   []*dns.Msg
	}
	all := make(chan said, len(z.servers))
	for _, server := range z.servers {
		go func() {
			s := said{server: server.name}
			for _, kind := range kinds {
				if r := w.askServer(ctx, z, server, question{name: name, kind: kind}, 0); r.fault == "" && r.m.Authoritative {
					s.msgs = append(s.msgs, r.m)
				}
			}
			all <- s
		}()
	}
	out := map[string][]*dns.Msg{}
	for range z.servers {
		if s := <-all; len(s.msgs) == len(kinds) {
			out[trim(s.server)] = s.msgs
		}
	}
	return out
}
