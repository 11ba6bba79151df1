package devenv

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const testZone = `
a.customer.test.       A     192.0.2.1
a.customer.test.       AAAA  2001:db8::1
a.customer.test.       TXT   "one" "two"
Mixed.Customer.test.   A     192.0.2.2
www.customer.test.     CNAME middle.customer.test.
middle.customer.test.  CNAME a.customer.test.
lost.customer.test.    CNAME nowhere.customer.test.
nodata.customer.test.  CNAME deep.er.customer.test.
loop.customer.test.    CNAME pool.customer.test.
pool.customer.test.    CNAME loop.customer.test.
deep.er.customer.test. TXT   "x"
*.wild.customer.test.  A     192.0.2.3
x.b.wild.customer.test. A    192.0.2.4
customer.test.         CAA   0 issue "ca.localhost"
customer.test.         NS    ns1.customer.test.
kept.test.             SOA   ns.kept.test. admin.kept.test. 7 1 1 1 1
a.kept.test.           A     192.0.2.5
edge.customer.localhost. AAAA ::1
said.customer.localhost. TXT "hello"
`

// newTestDNS plays a zone, and returns the path of its file.
func newTestDNS(t *testing.T, zone string) (*DNS, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "zone.txt")
	writeZone(t, path, zone)
	d, err := NewDNS(DNSConfig{ZoneFile: path, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d, path
}

func writeZone(t *testing.T, path, zone string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(zone), 0o600); err != nil {
		t.Fatal(err)
	}
}

func ask(t *testing.T, d *DNS, network, name string, qtype uint16) *dns.Msg {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, qtype)
	m, _, err := (&dns.Client{Net: network}).ExchangeContext(t.Context(), q, d.Addr())
	if err != nil {
		t.Fatalf("%s %s %s: %v", network, name, dns.TypeToString[qtype], err)
	}
	return m
}

// summary is the status, the answers, and the owner of the SOA.
func summary(m *dns.Msg) string {
	parts := []string{dns.RcodeToString[m.Rcode]}
	for _, rr := range m.Answer {
		parts = append(parts, strings.Join(strings.Fields(rr.String())[3:], " "))
	}
	for _, rr := range m.Ns {
		parts = append(parts, "SOA of "+rr.Header().Name)
	}
	return strings.Join(parts, " | ")
}

func TestDNS_Answers(t *testing.T) {
	d, _ := newTestDNS(t, testZone)
	for _, test := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"a.customer.test.", dns.TypeA, "NOERROR | A 192.0.2.1"},
		{"a.customer.test.", dns.TypeAAAA, "NOERROR | AAAA 2001:db8::1"},
		{"a.customer.test.", dns.TypeTXT, `NOERROR | TXT "one" "two"`},
		{"a.customer.test.", dns.TypeCAA, "NOERROR | SOA of customer.test."},
		{"customer.test.", dns.TypeCAA, `NOERROR | CAA 0 issue "ca.localhost"`},
		{"customer.test.", dns.TypeNS, "NOERROR | NS ns1.customer.test."},
		{"www.customer.test.", dns.TypeA, "NOERROR | CNAME middle.customer.test. | CNAME a.customer.test. | A 192.0.2.1"},
		{"www.customer.test.", dns.TypeCNAME, "NOERROR | CNAME middle.customer.test."},
		{"lost.customer.test.", dns.TypeA, "NXDOMAIN | CNAME nowhere.customer.test. | SOA of customer.test."},
		{"nodata.customer.test.", dns.TypeA, "NOERROR | CNAME deep.er.customer.test. | SOA of customer.test."},
		{"none.customer.test.", dns.TypeA, "NXDOMAIN | SOA of customer.test."},
		{"er.customer.test.", dns.TypeA, "NOERROR | SOA of customer.test."},
		{"wild.customer.test.", dns.TypeA, "NOERROR | SOA of customer.test."},
		{"y.wild.customer.test.", dns.TypeA, "NOERROR | A 192.0.2.3"},
		{"z.y.wild.customer.test.", dns.TypeA, "NOERROR | A 192.0.2.3"},
		{"y.wild.customer.test.", dns.TypeTXT, "NOERROR | SOA of customer.test."},
		{"b.wild.customer.test.", dns.TypeA, "NOERROR | SOA of customer.test."},
		{"y.b.wild.customer.test.", dns.TypeA, "NXDOMAIN | SOA of customer.test."},
		{"none.kept.test.", dns.TypeA, "NXDOMAIN | SOA of kept.test."},
		{"kept.test.", dns.TypeSOA, "NOERROR | SOA ns.kept.test. admin.kept.test. 7 1 1 1 1"},
		{"nobody.example.", dns.TypeA, "NXDOMAIN | SOA of ."},
		{"localhost.", dns.TypeA, "NOERROR | A 127.0.0.1"},
		{"any.thing.localhost.", dns.TypeA, "NOERROR | A 127.0.0.1"},
		{"any.thing.localhost.", dns.TypeAAAA, "NOERROR | SOA of localhost."},
		{"edge.customer.localhost.", dns.TypeAAAA, "NOERROR | AAAA ::1"},
		{"edge.customer.localhost.", dns.TypeA, "NOERROR | SOA of localhost."},
		{"said.customer.localhost.", dns.TypeA, "NOERROR | A 127.0.0.1"},
		{"notlocalhost.", dns.TypeA, "NXDOMAIN | SOA of ."},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if got := summary(ask(t, d, network, test.name, test.qtype)); got != test.want {
				t.Errorf("%s %s %s\n got %s\nwant %s", network, test.name, dns.TypeToString[test.qtype], got, test.want)
			}
		}
	}
}

func TestDNS_CNAMELoopFails(t *testing.T) {
	d, _ := newTestDNS(t, testZone)
	if m := ask(t, d, "udp", "loop.customer.test.", dns.TypeA); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("got %s, want SERVFAIL", summary(m))
	}
}

func TestDNS_CaseIsIgnoredAndKept(t *testing.T) {
	d, _ := newTestDNS(t, testZone)
	for _, name := range []string{"mixed.customer.test.", "MIXED.customer.TEST.", "Y.Wild.customer.test.", "ANY.LocalHost."} {
		m := ask(t, d, "udp", name, dns.TypeA)
		if len(m.Answer) != 1 || m.Answer[0].Header().Name != name || m.Question[0].Name != name {
			t.Errorf("%s: got %v", name, m)
		}
	}
}

func TestDNS_OtherClassIsNotImplemented(t *testing.T) {
	d, _ := newTestDNS(t, testZone)
	q := new(dns.Msg)
	q.SetQuestion("a.customer.test.", dns.TypeA)
	q.Question[0].Qclass = dns.ClassCHAOS
	m, _, err := new(dns.Client).ExchangeContext(t.Context(), q, d.Addr())
	if err != nil || m.Rcode != dns.RcodeNotImplemented {
		t.Errorf("got %v, %v, want NOTIMP", m, err)
	}
}

func TestDNS_LongAnswerFallsBackToTCP(t *testing.T) {
	var zone strings.Builder
	for i := range 60 {
		fmt.Fprintf(&zone, "big.test. TXT \"%d %s\"\n", i, strings.Repeat("x", 40))
	}
	d, _ := newTestDNS(t, zone.String())
	if m := ask(t, d, "udp", "big.test.", dns.TypeTXT); !m.Truncated || len(m.Answer) >= 60 {
		t.Errorf("over UDP: truncated %v, %d answers", m.Truncated, len(m.Answer))
	}
	if m := ask(t, d, "tcp", "big.test.", dns.TypeTXT); m.Truncated || len(m.Answer) != 60 {
		t.Errorf("over TCP: truncated %v, %d answers", m.Truncated, len(m.Answer))
	}
	q := new(dns.Msg)
	q.SetQuestion("big.test.", dns.TypeTXT).SetEdns0(8192, false)
	m, _, err := new(dns.Client).ExchangeContext(t.Context(), q, d.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if m.Truncated || len(m.Answer) != 60 || m.IsEdns0() == nil {
		t.Errorf("with EDNS: truncated %v, %d answers, OPT %v", m.Truncated, len(m.Answer), m.IsEdns0())
	}
	resolver := &net.Resolver{PreferGo: true, Dial: dialer(d)}
	texts, err := resolver.LookupTXT(t.Context(), "big.test.")
	if err != nil || len(texts) != 60 {
		t.Errorf("the resolver found %d texts, %v", len(texts), err)
	}
}

// TestDNS_ReloadSeesEveryChange changes the file faster than its time tells,
// and without a change of size.
func TestDNS_ReloadSeesEveryChange(t *testing.T) {
	d, path := newTestDNS(t, "")
	stamp := time.Now()
	for i := range 10 {
		writeZone(t, path, fmt.Sprintf("a.test. A 192.0.2.%d\n", i))
		if err := os.Chtimes(path, stamp, stamp); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("NOERROR | A 192.0.2.%d", i)
		if got := summary(ask(t, d, "udp", "a.test.", dns.TypeA)); got != want {
			t.Fatalf("change %d: got %s", i, got)
		}
	}
}

func TestDNS_ReloadOfAnOldFile(t *testing.T) {
	d, path := newTestDNS(t, "")
	for i := range 3 {
		writeZone(t, path, fmt.Sprintf("a.test. A 192.0.2.%d\n", i))
		stamp := time.Now().Add(time.Duration(i-10) * time.Hour)
		if err := os.Chtimes(path, stamp, stamp); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got := summary(ask(t, d, "udp", "a.test.", dns.TypeA)); got != fmt.Sprintf("NOERROR | A 192.0.2.%d", i) {
				t.Fatalf("change %d: got %s", i, got)
			}
		}
	}
}

func TestDNS_BrokenOrMissingFileKeepsTheRecords(t *testing.T) {
	var log bytes.Buffer
	path := filepath.Join(t.TempDir(), "zone.txt")
	d, err := NewDNS(DNSConfig{ZoneFile: path, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	want := func(step, want string) {
		t.Helper()
		for range 2 {
			if got := summary(ask(t, d, "udp", "a.test.", dns.TypeA)); got != want {
				t.Errorf("%s: got %s, want %s", step, got, want)
			}
		}
	}
	want("no file", "NXDOMAIN | SOA of .")
	writeZone(t, path, "a.test. A 192.0.2.1\n")
	want("a file", "NOERROR | A 192.0.2.1")
	writeZone(t, path, "a.test. A nonsense\n")
	want("a broken file", "NOERROR | A 192.0.2.1")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	want("no file again", "NOERROR | A 192.0.2.1")
	writeZone(t, path, "a.test. A 192.0.2.2\n")
	want("a file again", "NOERROR | A 192.0.2.2")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "zone file cannot be used"); n != 1 {
		t.Errorf("complained %d times, want once: %s", n, &log)
	}
}

func TestDNS_SetAndRemove(t *testing.T) {
	d, path := newTestDNS(t, testZone)
	check := func(name string, qtype uint16, want string) {
		t.Helper()
		if got := summary(ask(t, d, "udp", name, qtype)); got != want {
			t.Errorf("%s %s: got %s, want %s", name, dns.TypeToString[qtype], got, want)
		}
	}
	set := func(name string, records ...string) {
		t.Helper()
		if err := d.Set(name, records...); err != nil {
			t.Fatal(err)
		}
	}
	set("A.customer.test", "60 A 192.0.2.9", "A 192.0.2.10")
	check("a.customer.test.", dns.TypeA, "NOERROR | A 192.0.2.9 | A 192.0.2.10")
	check("a.customer.test.", dns.TypeTXT, "NOERROR | SOA of customer.test.")
	check("www.customer.test.", dns.TypeA, "NOERROR | CNAME middle.customer.test. | CNAME a.customer.test. | A 192.0.2.9 | A 192.0.2.10")
	writeZone(t, path, testZone+"more.test. A 192.0.2.6\n")
	check("more.test.", dns.TypeA, "NOERROR | A 192.0.2.6")
	check("a.customer.test.", dns.TypeA, "NOERROR | A 192.0.2.9 | A 192.0.2.10")
	d.Remove("a.customer.test")
	check("a.customer.test.", dns.TypeA, "NXDOMAIN | SOA of customer.test.")
	d.Restore("a.customer.test.")
	check("a.customer.test.", dns.TypeA, "NOERROR | A 192.0.2.1")

	set("new.localhost", `CAA 0 issue "other.example"`, "AAAA ::1")
	check("new.localhost.", dns.TypeCAA, `NOERROR | CAA 0 issue "other.example"`)
	check("new.localhost.", dns.TypeA, "NOERROR | SOA of localhost.")
	set("new.localhost")
	check("new.localhost.", dns.TypeAAAA, "NOERROR | SOA of localhost.")
	d.Remove("new.localhost")
	check("new.localhost.", dns.TypeA, "NXDOMAIN | SOA of localhost.")
	set("*.stars.example", "CNAME edge.localhost.")
	check("x.stars.example.", dns.TypeA, "NOERROR | CNAME edge.localhost. | A 127.0.0.1")

	for _, bad := range []string{"A nonsense", "CNAME", "60 A", "nonsense", ""} {
		if err := d.Set("a.customer.test", bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	check("a.customer.test.", dns.TypeA, "NOERROR | A 192.0.2.1")
}

func TestDNS_StartFailsWithoutHanging(t *testing.T) {
	packets, stream, err := listenBoth()
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.Close()
	_ = packets.Close()
	d := &DNS{}
	if err := d.start(&dns.Server{PacketConn: packets}); err == nil {
		t.Error("no error from a socket that is closed")
	}
	d.served.Wait()
}

func TestDNS_CloseEndsItsGoroutines(t *testing.T) {
	d, _ := newTestDNS(t, testZone)
	conn, err := dns.DialTimeout("tcp", d.Addr(), time.Second) // stays open
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask(t, d, "tcp", "a.customer.test.", dns.TypeA)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d.served.Wait()
	noGoroutine(t, "devenv.(*DNS)")
	q := new(dns.Msg)
	q.SetQuestion("a.customer.test.", dns.TypeA)
	if _, _, err := (&dns.Client{Net: "tcp"}).ExchangeContext(t.Context(), q, d.Addr()); err == nil {
		t.Error("there is still an answer")
	}
}

func TestDNS_Parent(t *testing.T) {
	var got []string
	for name := `a.b\.c.test.`; len(got) < 4; name = parent(name) {
		got = append(got, name)
	}
	if want := []string{`a.b\.c.test.`, `b\.c.test.`, "test.", "."}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// dialer has the Go resolver ask d, whatever it is told.
func dialer(d *DNS) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, d.Addr())
	}
}
