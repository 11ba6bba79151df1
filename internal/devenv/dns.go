package devenv

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// DNSConfig says what the customers' DNS answers.
type DNSConfig struct {
	// ZoneFile holds records in master file format (RFC 1035 section 5). It may
	// be absent, and is read again when it changes.
	ZoneFile string
	Logger   *slog.Logger
}

// DNS plays the customers' DNS: every name below "localhost" is an address
// record for 127.0.0.1, and the zone file has the rest.
type DNS struct {
	cfg      DNSConfig
	udp, tcp *dns.Server
	addr     string

	mu      sync.Mutex
	records map[string][]dns.RR // by lower-case owner name
	checked time.Time           // when the file was looked at
	read    time.Time           // the modification time of what was read
}

const (
	zoneCheckInterval = time.Second
	maxCNAMEs         = 8
	answerTTL         = 1 // seconds: what is played may change at once
)

// NewDNS starts the server, on one port of UDP and TCP.
func NewDNS(cfg DNSConfig) (*DNS, error) {
	d := &DNS{cfg: cfg}
	packets, stream, err := listenBoth()
	if err != nil {
		return nil, err
	}
	d.addr = packets.LocalAddr().String()
	handler := dns.HandlerFunc(d.answer)
	d.udp = &dns.Server{PacketConn: packets, Handler: handler}
	d.tcp = &dns.Server{Listener: stream, Handler: handler}
	for _, s := range []*dns.Server{d.udp, d.tcp} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }() // ends at Close
		<-started
	}
	return d, nil
}

// listenBoth finds a port that is free for both.
func listenBoth() (net.PacketConn, net.Listener, error) {
	for attempt := 0; ; attempt++ {
		stream, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, fmt.Errorf("listen for DNS: %w", err)
		}
		packets, err := net.ListenPacket("udp", stream.Addr().String())
		if err == nil {
			return packets, stream, nil
		}
		_ = stream.Close()
		if attempt == 10 {
			return nil, nil, fmt.Errorf("listen for DNS: %w", err)
		}
	}
}

// Addr returns the server's host:port.
func (d *DNS) Addr() string { return d.addr }

// Close ends the server.
func (d *DNS) Close() error {
	err := d.udp.Shutdown()
	if e := d.tcp.Shutdown(); err == nil {
		err = e
	}
	return err
}

func (d *DNS) answer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative, m.RecursionAvailable = true, true
	if len(q.Question) == 1 && q.Question[0].Qclass == dns.ClassINET {
		d.resolve(m, strings.ToLower(q.Question[0].Name), q.Question[0].Qtype)
	} else {
		m.Rcode = dns.RcodeNotImplemented
	}
	if w.LocalAddr().Network() == "udp" {
		size := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = int(o.UDPSize())
		}
		m.Truncate(size)
	}
	_ = w.WriteMsg(m) // a client that has gone asks again
}

// resolve follows CNAMEs within what is played.
func (d *DNS) resolve(m *dns.Msg, name string, qtype uint16) {
	zone := d.zone()
	for range maxCNAMEs {
		records, exists := zone[name]
		if !hasAddress(records) && (name == "localhost." || strings.HasSuffix(name, ".localhost.")) {
			exists = true
			records = append(records[:len(records):len(records)], &dns.A{
				Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: answerTTL},
				A:   net.IPv4(127, 0, 0, 1),
			})
		}
		if !exists {
			m.Rcode = dns.RcodeNameError
			break
		}
		next := ""
		for _, rr := range records {
			if rr.Header().Rrtype == qtype {
				m.Answer = append(m.Answer, rr)
			} else if c, ok := rr.(*dns.CNAME); ok {
				m.Answer = append(m.Answer, rr)
				next = strings.ToLower(c.Target)
			}
		}
		if next == "" || qtype == dns.TypeCNAME {
			break
		}
		name = next
	}
	if len(m.Answer) == 0 {
		m.Ns = []dns.RR{&dns.SOA{
			Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: answerTTL},
			Ns:  "ns.localhost.", Mbox: "hostmaster.localhost.", Serial: 1, Refresh: 1, Retry: 1, Expire: 1, Minttl: answerTTL,
		}}
	}
}

// hasAddress reports whether records say where a name is.
func hasAddress(records []dns.RR) bool {
	return slices.ContainsFunc(records, func(rr dns.RR) bool {
		t := rr.Header().Rrtype
		return t == dns.TypeA || t == dns.TypeAAAA || t == dns.TypeCNAME
	})
}

// zone returns the records of the file as it is now. A broken file leaves what
// was there before.
func (d *DNS) zone() map[string][]dns.RR {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); now.Sub(d.checked) >= zoneCheckInterval {
		d.checked = now
		d.reload()
	}
	return d.records
}

func (d *DNS) reload() {
	info, err := os.Stat(d.cfg.ZoneFile)
	if err != nil || info.ModTime().Equal(d.read) {
		return
	}
	d.read = info.ModTime()
	f, err := os.Open(d.cfg.ZoneFile)
	if err != nil {
		d.cfg.Logger.Warn("zone file cannot be read", "file", d.cfg.ZoneFile, "error", err)
		return
	}
	defer func() { _ = f.Close() }()
	records := map[string][]dns.RR{}
	parser := dns.NewZoneParser(f, ".", d.cfg.ZoneFile)
	parser.SetDefaultTTL(answerTTL)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		name := strings.ToLower(rr.Header().Name)
		records[name] = append(records[name], rr)
	}
	if err := parser.Err(); err != nil {
		d.cfg.Logger.Warn("zone file has an error, the old records stay", "error", err)
		return
	}
	d.records = records
}
