package devenv

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// DNSConfig says what the customers' DNS answers.
type DNSConfig struct {
	// ZoneFile holds records in master file format (RFC 1035 section 5), for any
	// names. It may be absent, and is read again when it changes. What was read
	// stays while the file is gone or has an error.
	ZoneFile string

	// Logger is told of a file that cannot be read. Required.
	Logger *slog.Logger
}

// DNS plays the customers' DNS: every name below "localhost" that has no
// address elsewhere is at 127.0.0.1, and the zone file and [DNS.Set] have the
// rest.
type DNS struct {
	cfg      DNSConfig
	udp, tcp *dns.Server
	addr     string
	served   sync.WaitGroup

	mu   sync.Mutex
	file zoneFile
	set  rrsets // at run time
	zone *zone  // nil when it has to be made again

	alias func(name string) string // of challenge names; may be nil
}

// zoneFile is what was read last.
type zoneFile struct {
	data    []byte
	records rrsets
	size    int64
	changed time.Time // the modification time
	read    time.Time
	problem string // said already
}

// clockGrain is how far apart two changes must be for a file system to give
// them different times.
const clockGrain = 2 * time.Second

// NewDNS starts the server, on one port of UDP and TCP of 127.0.0.1. The caller
// closes it.
func NewDNS(cfg DNSConfig) (*DNS, error) {
	packets, stream, err := listenBoth()
	if err != nil {
		return nil, err
	}
	d := &DNS{cfg: cfg, addr: packets.LocalAddr().String()}
	handler := dns.HandlerFunc(d.answer)
	d.udp = &dns.Server{PacketConn: packets, Handler: handler}
	d.tcp = &dns.Server{Listener: stream, Handler: handler}
	if err := d.start(d.udp); err != nil {
		return nil, errors.Join(err, packets.Close(), stream.Close())
	}
	if err := d.start(d.tcp); err != nil {
		return nil, errors.Join(err, d.udp.Shutdown(), stream.Close())
	}
	return d, nil
}

// start returns when s answers, or has failed to.
func (d *DNS) start(s *dns.Server) error {
	started, failed := make(chan struct{}), make(chan error, 1)
	s.NotifyStartedFunc = func() { close(started) }
	d.served.Go(func() { failed <- s.ActivateAndServe() }) // ends at Close
	select {
	case <-started:
		return nil
	case err := <-failed:
		return fmt.Errorf("start DNS: %w", err)
	}
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

// Set gives a name exactly these records, whatever the zone file has for it,
// until the process ends. Each is in master file format without the owner, as
// "CNAME edge.example." or "60 A 192.0.2.1". Without any, the name exists but
// has no data; a name below localhost has no address of its own then.
func (d *DNS) Set(name string, records ...string) error {
	name = canonical(name)
	parsed := []dns.RR{}
	for _, record := range records {
		sets, err := parseZone(strings.NewReader(name+" "+record+"\n"), ".", "")
		if err != nil {
			return fmt.Errorf("set record of %s: %w", name, err)
		}
		parsed = append(parsed, sets[name]...)
	}
	d.override(name, parsed)
	return nil
}

// Remove takes a name away, from the zone file's records, from those that were
// set and from localhost. It exists only as far as there are names below it, or
// a wildcard for it.
func (d *DNS) Remove(name string) { d.override(canonical(name), nil) }

// Restore undoes all of Set and Remove for a name.
func (d *DNS) Restore(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.set, canonical(name))
	d.zone = nil
}

// Close ends the server. Questions under way are answered.
func (d *DNS) Close() error {
	err := errors.Join(d.udp.Shutdown(), d.tcp.Shutdown())
	d.served.Wait()
	return err
}

func (d *DNS) override(name string, records []dns.RR) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.set == nil {
		d.set = rrsets{}
	}
	d.set[name], d.zone = records, nil
}

func (d *DNS) answer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative, m.RecursionAvailable = true, true
	if len(q.Question) == 1 && q.Question[0].Qclass == dns.ClassINET {
		d.current().resolve(m, q.Question[0].Name, q.Question[0].Qtype)
	} else {
		m.Rcode = dns.RcodeNotImplemented
	}
	size := dns.MinMsgSize
	if o := q.IsEdns0(); o != nil {
		size = max(size, int(o.UDPSize()))
		m.SetEdns0(dns.DefaultMsgSize, false)
	}
	if w.LocalAddr().Network() == "udp" {
		m.Truncate(size)
	}
	_ = w.WriteMsg(m) // a client that has gone asks again
}

// current returns the zone as it is now.
func (d *DNS) current() *zone {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reload() || d.zone == nil {
		d.zone = newZone(d.file.records, d.set)
		d.zone.alias = d.alias
	}
	return d.zone
}

// reload reads the file if it may have changed, and reports whether it has. The
// file's size and time do not tell when it was read just after a change.
func (d *DNS) reload() bool {
	info, err := os.Stat(d.cfg.ZoneFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err == nil && info.Size() == d.file.size && info.ModTime().Equal(d.file.changed) && d.file.read.Sub(d.file.changed) > clockGrain {
		return false
	}
	now := time.Now()
	data, err := os.ReadFile(d.cfg.ZoneFile)
	if err != nil {
		d.complain(err)
		return false
	}
	if info != nil {
		d.file.size, d.file.changed, d.file.read = info.Size(), info.ModTime(), now
	}
	if bytes.Equal(data, d.file.data) {
		return false
	}
	d.file.data = data
	records, err := parseZone(bytes.NewReader(data), ".", d.cfg.ZoneFile)
	if err != nil {
		d.complain(err)
		return false
	}
	d.file.records, d.file.problem = records, ""
	return true
}

// complain says each thing once.
func (d *DNS) complain(err error) {
	if err.Error() != d.file.problem {
		d.file.problem = err.Error()
		d.cfg.Logger.Warn("zone file cannot be used, the old records stay", "file", d.cfg.ZoneFile, "error", err)
	}
}
