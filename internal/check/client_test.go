package check

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/shingle-proxy/shingle"
)

var askA = question{name: "blog.customer.com.", kind: dns.TypeA}

// newTestClient returns a client in a world.
func newTestClient(w *world) *client {
	cfg := w.config()
	if err := cfg.validate(); err != nil {
		w.t.Fatal(err)
	}
	return newClient(&cfg)
}

// TestClient_IgnoresForgeries: an answer that does not repeat what was random
// about the question is not believed; the real one behind it is.
func TestClient_IgnoresForgeries(t *testing.T) {
	forged := &dns.A{Hdr: dns.RR_Header{Name: askA.name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(6, 6, 6, 6)}
	for name, forge := range map[string]func(m *dns.Msg){
		"ID":            func(m *dns.Msg) { m.Id++ },
		"not an answer": func(m *dns.Msg) { m.Response = false },
		"another name":  func(m *dns.Msg) { m.Question[0].Name = "other.customer.com." },
		"spelling":      func(m *dns.Msg) { m.Question[0].Name = askA.name },
		"another type":  func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTXT },
		"no question":   func(m *dns.Msg) { m.Question = nil },
		"cookie": func(m *dns.Msg) {
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: strings.Repeat("00", 16)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "blog.customer.com. 60 A 11.1.0.1\n")
			w.watch(addrNS1, func(rw dns.ResponseWriter, q *dns.Msg) {
				if rw.LocalAddr().Network() == "tcp" {
					return // no place for others
				}
				m := new(dns.Msg)
				m.SetReply(q)
				m.Answer = []dns.RR{forged}
				forge(m)
				_ = rw.WriteMsg(m)
			})
			m, err := newTestClient(w).ask(t.Context(), netip.AddrPortFrom(addrNS1, 53), askA)
			if err != nil {
				t.Fatal(err)
			}
			if a := m.Answer[0].(*dns.A).A.String(); a != "11.1.0.1" {
				t.Errorf("believed %s", a)
			}
		})
	}
}

// TestClient_AsksAgain: servers of all ages are asked in the way that they
// understand, and only as often as needed.
func TestClient_AsksAgain(t *testing.T) {
	for name, x := range map[string]struct {
		odd   func(m, q *dns.Msg, network string) *dns.Msg
		asked int64
	}{
		"as it should be": {nil, 1},
		"no EDNS": {func(m, q *dns.Msg, _ string) *dns.Msg {
			if q.IsEdns0() != nil {
				return withCode(dns.RcodeFormatError)(m, q, "")
			}
			return m
		}, 2},
		"wants its cookie": {demandCookie, 2},
		"truncated": {func(m, _ *dns.Msg, network string) *dns.Msg {
			if m.Truncated = network == "udp"; m.Truncated {
				m.Answer = nil
			}
			return m
		}, 2},
		"keeps no case": {func(m, _ *dns.Msg, network string) *dns.Msg {
			if network == "udp" {
				m.Question[0].Name = strings.ToLower(m.Question[0].Name)
			}
			return m
		}, 2},
		"silent over UDP at first": {func() func(m, q *dns.Msg, network string) *dns.Msg {
			var n atomic.Int64
			return func(m, _ *dns.Msg, _ string) *dns.Msg {
				if n.Add(1) == 1 {
					return nil
				}
				return m
			}
		}(), 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "blog.customer.com. 60 A 11.1.0.1\n")
			w.behave(x.odd, addrNS1)
			m, err := newTestClient(w).ask(t.Context(), netip.AddrPortFrom(addrNS1, 53), askA)
			if err != nil || m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 {
				t.Fatalf("%v, %v", m, err)
			}
			if n := w.at(addrNS1).asked.Load(); n != x.asked {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// TestClient_IsRandom: IDs, ports, spelling and cookies differ as they should.
func TestClient_IsRandom(t *testing.T) {
	w := newWorld(t, "blog.customer.com. 60 A 11.1.0.1\n")
	ids, ports, names, cookies := map[uint16]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	var mu sync.Mutex
	for _, addr := range []netip.Addr{addrNS1, addrNS2} {
		w.watch(addr, func(rw dns.ResponseWriter, q *dns.Msg) {
			mu.Lock()
			defer mu.Unlock()
			ids[q.Id], ports[rw.RemoteAddr().String()], names[q.Question[0].Name], cookies[cookieOf(q)] = true, true, true, true
		})
	}
	c := newTestClient(w)
	for range 50 {
		for _, addr := range []netip.Addr{addrNS1, addrNS2} {
			if _, err := c.ask(t.Context(), netip.AddrPortFrom(addr, 53), askA); err != nil {
				t.Fatal(err)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(ids) < 95 || len(ports) < 50 || len(names) < 90 || len(cookies) != 2 {
		t.Errorf("%d IDs, %d ports, %d spellings, %d cookies", len(ids), len(ports), len(names), len(cookies))
	}
}

// TestClient_LimitPerServer: however many ask, one name server gets a few
// questions at a time, and a slow one keeps nobody from others.
func TestClient_LimitPerServer(t *testing.T) {
	w := newWorld(t, "blog.customer.com. 60 A 11.1.0.1\n")
	var now, most atomic.Int64
	var mu sync.Mutex
	release := make(chan struct{})
	w.watch(addrNS1, func(dns.ResponseWriter, *dns.Msg) {
		mu.Lock()
		most.Store(max(most.Load(), now.Add(1)))
		mu.Unlock()
		<-release
		now.Add(-1)
	})
	cfg := w.config()
	cfg.MaxPerServer, cfg.MaxQueries, cfg.QueryTimeout = 3, 8, 5*time.Second
	if err := cfg.validate(); err != nil {
		t.Fatal(err)
	}
	c := newClient(&cfg)
	var asking sync.WaitGroup
	for range 20 {
		asking.Go(func() {
			if _, err := c.ask(t.Context(), netip.AddrPortFrom(addrNS1, 53), askA); err != nil {
				t.Error(err)
			}
		})
	}
	for now.Load() < 3 {
		time.Sleep(time.Millisecond)
	}
	if _, err := c.ask(t.Context(), netip.AddrPortFrom(addrNS2, 53), askA); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.ask(ctx, netip.AddrPortFrom(addrNS1, 53), askA); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting in vain: %v", err)
	}
	close(release)
	asking.Wait()
	if most.Load() != 3 {
		t.Errorf("%d at once", most.Load())
	}
	if len(c.limits.servers) != 0 || len(c.limits.all) != 0 {
		t.Errorf("%d servers, %d questions are remembered", len(c.limits.servers), len(c.limits.all))
	}
}

// TestClient_TCPIsBounded meets a server that accepts and never ends its answer.
func TestClient_TCPIsBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				_ = binary.Write(conn, binary.BigEndian, uint16(65535))
				_, _ = io.Copy(io.Discard, conn)
			})
		}
	})
	defer conns.Wait()
	defer l.Close()
	cfg := Config{Resolvers: []string{"11.9.9.9"}, QueryTimeout: 30 * time.Millisecond, dialTo: func(string, netip.AddrPort) netip.AddrPort {
		return netip.MustParseAddrPort(l.Addr().String())
	}}
	if err := cfg.validate(); err != nil {
		t.Fatal(err)
	}
	if _, err := newClient(&cfg).once(t.Context(), netip.MustParseAddrPort("11.0.0.1:53"), askA, way{network: "tcp"}, 30*time.Millisecond); !errors.Is(err, errSilent) {
		t.Errorf("%v", err)
	}
}

// TestWalker_GlueOfOthersIsNotBelieved: a registry vouches for names below it
// only, so a zone cannot give other zones' name servers new addresses.
func TestWalker_GlueOfOthersIsNotBelieved(t *testing.T) {
	w := newWorld(t, toEdgeRecord)
	// The registry of com claims to know where ns1.dns.net is.
	w.add(addrCom, "com.", "ns1.dns.net. 3600 A 11.6.6.6\nns2.dns.net. 3600 A 11.6.6.6")
	w.serve(netip.MustParseAddr("11.6.6.6"), "customer.com.", "customer.com. 60 SOA a. b. 1 1 1 1 60\nblog.customer.com. 60 A 11.6.6.6")
	c, err := New(w.config())
	if err != nil {
		t.Fatal(err)
	}
	a, _ := c.walker.lookup(t.Context(), "blog.customer.com.", dns.TypeA)
	if len(a.chain) != 1 || a.chain[0].Target != "edge.operator.net" {
		t.Errorf("%+v", a)
	}
}

const toEdgeRecord = "blog.customer.com. 300 CNAME edge.operator.net.\n"

// TestWalker_ForeignRecordsAreNotBelieved: a server speaks for its own zone only.
func TestWalker_ForeignRecordsAreNotBelieved(t *testing.T) {
	w := newWorld(t, toEdgeRecord)
	w.behave(func(m, q *dns.Msg, _ string) *dns.Msg {
		if q.Question[0].Qtype == dns.TypeA && len(m.Answer) > 0 && m.Answer[0].Header().Rrtype == dns.TypeCNAME {
			m.Answer = append(m.Answer, parseRecords(t, "edge.operator.net. 300 A 11.6.6.6")...)
		}
		return m
	}, addrNS1, addrNS2)
	c, err := New(w.config())
	if err != nil {
		t.Fatal(err)
	}
	a, _ := c.walker.lookup(t.Context(), "blog.customer.com.", dns.TypeA)
	if got := a.addresses(); len(got) != 1 || got[0] != edge4 {
		t.Errorf("%v", got)
	}
}

// TestWalker_ReferralsEnd: servers that refer in circles, or ever deeper.
func TestWalker_ReferralsEnd(t *testing.T) {
	for name, refer := range map[string]func(q string) string{
		"to itself": func(string) string { return "customer.com." },
		"upward":    func(string) string { return "com." },
		"aside":     func(string) string { return "other.com." },
		"deeper":    func(q string) string { return canonical(q) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "")
			w.behave(inZone("customer.com.", func(m, q *dns.Msg, _ string) *dns.Msg {
				m.Authoritative, m.Answer = false, nil
				m.Ns = parseRecords(t, refer(q.Question[0].Name)+" 60 NS ns1.dns.net.")
				return m
			}), addrNS1, addrNS2)
			c, err := New(w.config())
			if err != nil {
				t.Fatal(err)
			}
			a, _ := c.walker.lookup(t.Context(), "a.b.c.d.customer.com.", dns.TypeA)
			if a.fault == "" {
				t.Errorf("%+v", a)
			}
		})
	}
}

// TestCheck_WaitsAreBounded has everything hang: DNS servers and web servers.
func TestCheck_WaitsAreBounded(t *testing.T) {
	w := newWorld(t, "blog.customer.com. 60 A 11.1.0.1\n")
	hang := make(chan struct{})
	slow := serveSite(t, nil, nil, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	defer close(hang)
	for name, silent := range map[string][]netip.Addr{
		"all of DNS": {addrRoot, addrCom, addrNet, addrNS1, addrNS2, addrOperator, addrResolver}, "web server": {},
	} {
		t.Run(name, func(t *testing.T) {
			w.behave(nil, addrRoot)
			w.silence(silent...)
			defer w.behave(nil, silent...)
			cfg := w.config()
			cfg.Timeout, cfg.Addresses = time.Second, []netip.Addr{edge4}
			cfg.dialTo = func(network string, to netip.AddrPort) netip.AddrPort {
				if to.Port() != 53 {
					return slow.http
				}
				return w.dialTo(network, to)
			}
			c, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan shingle.CheckResult, 1)
			go func() {
				r, _ := c.Check(t.Context(), Request{Host: "blog.customer.com", Thorough: true})
				done <- r
			}()
			select {
			case r := <-done:
				if r.DNS.Message == "" || r.HTTPS.Message == "" || r.HTTPS.Reached {
					t.Errorf("%+v", r)
				}
			case <-time.After(time.Minute):
				t.Fatal("the check does not end")
			}
		})
	}
}

// TestCheck_QuestionsAreBounded: a zone with many name servers, each of a zone
// with many others, must not have us ask without end.
func TestCheck_QuestionsAreBounded(t *testing.T) {
	w := newWorld(t, "")
	servers := ""
	for i := range 8 {
		servers += fmt.Sprintf("customer.com. 60 NS ns%d.trap%d.com.\n", i, i)
		for j := range 8 {
			servers += fmt.Sprintf("trap%d.com. 60 NS ns%d.trap%d%d.com.\n", i, j, i, j)
			for k := range 8 {
				servers += fmt.Sprintf("trap%d%d.com. 60 NS ns%d.trap%d%d%d.com.\n", i, j, k, i, j, k)
			}
		}
	}
	w.at(addrCom).zones["com."] = parseRecords(t, "com. 60 SOA a. b. 1 1 1 1 60\n"+servers)
	var asked atomic.Int64
	count := func(dns.ResponseWriter, *dns.Msg) { asked.Add(1) }
	for _, addr := range []netip.Addr{addrRoot, addrCom, addrResolver} {
		w.watch(addr, count)
	}
	c, err := New(w.config())
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.CheckDNS(t.Context(), Request{Host: "blog.customer.com", Thorough: true})
	if err != nil || r.Reason.Outcome() == shingle.OutcomeGood {
		t.Errorf("%s, %v", r.Reason, err)
	}
	if n := asked.Load(); n > maxQuestions {
		t.Errorf("%d questions", n)
	}
}

// FuzzAnswer feeds any message: what is made of it ends and is bounded.
func FuzzAnswer(f *testing.F) {
	for _, records := range []string{"blog.customer.com. 60 CNAME a.\na. 60 CNAME blog.customer.com.", "blog.customer.com. 60 A 11.1.0.1"} {
		m := new(dns.Msg)
		m.SetQuestion("blog.customer.com.", dns.TypeA)
		m.Answer = parseRecords(f, records)
		packed, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	e := &edges{names: []string{"edge.operator.net"}, addrs: map[netip.Addr]bool{edge4: true}, routed: shingle.IsPublic}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := new(dns.Msg)
		if m.Unpack(data) != nil {
			return
		}
		v := view{host: "blog.customer.com"}
		v.a.take(m, "blog.customer.com.", dns.TypeA)
		v.aaaa.take(m, "blog.customer.com.", dns.TypeAAAA)
		if len(v.chain()) > maxChain+1 || len(v.addresses()) > 2*maxAddresses {
			t.Errorf("%d aliases, %d addresses", len(v.chain()), len(v.addresses()))
		}
		if _, known := shingleReasons[v.judge(e)]; !known {
			t.Errorf("verdict %q", v.judge(e))
		}
		extended(m)
		judgeServer(m, "com.", "blog.customer.com.")
	})
}

var shingleReasons = func() map[shingle.Reason]bool {
	all := map[shingle.Reason]bool{}
	for r := range shingle.Reasons() {
		all[r] = true
	}
	return all
}()
