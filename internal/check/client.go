package check

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// client asks DNS servers single questions. Against answers of others than the
// one asked, each question has a socket, so a port, of its own, a random ID,
// letters in random case (draft-vixie-dnsext-dns0x20) and a cookie (RFC 7873).
type client struct {
	cfg    *Config
	limits *limits
	secret [16]byte // of the cookies
}

func newClient(cfg *Config) *client {
	c := &client{cfg: cfg, limits: newLimits(cfg.MaxQueries, cfg.MaxPerServer)}
	_, _ = rand.Read(c.secret[:]) // never fails
	return c
}

// question is what to ask, and how.
type question struct {
	name     string // in lower case, with the final dot
	kind     uint16
	recurse  bool // of a resolver
	unsigned bool // do not verify signatures (CD, RFC 4035 section 3.2.2)
}

// Errors of a question that got no answer.
var (
	errSilent  = errors.New("no answer in time")
	errMangled = errors.New("the answer is not to the question")
)

const (
	maxTries    = 5
	maxTimeouts = 2
	maxSpoofs   = 8    // wrong answers to one question before it goes by TCP
	udpSize     = 1232 // as agreed on DNS flag day 2020
)

// way is how a question is put.
type way struct {
	network string
	plain   bool   // without EDNS
	cookie  string // of the server's, in hexadecimal
}

// ask puts q to one server, by TCP when UDP will not do, and returns the answer,
// whatever its code.
func (c *client) ask(ctx context.Context, server netip.AddrPort, q question) (*dns.Msg, error) {
	release, err := c.limits.acquire(ctx, server.Addr(), q.recurse)
	if err != nil {
		return nil, err
	}
	defer release()
	w, wait := way{network: "udp"}, c.cfg.QueryTimeout
	timeouts := 0
	for range maxTries {
		var m *dns.Msg
		m, err = c.once(ctx, server, q, w, wait)
		switch {
		case err == nil:
			next := w.after(m)
			if next == w {
				return m, nil
			}
			w = next
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, errMangled) && w.network == "udp":
			w.network = "tcp"
		case errors.Is(err, errSilent):
			if timeouts++; timeouts == maxTimeouts {
				return nil, err
			}
			wait *= 2
		default: // refused connections, no route: the next try would fail too
			return nil, err
		}
	}
	if err == nil {
		err = errMangled
	}
	return nil, err
}

// after returns the way to ask again, which is w itself when m is the answer.
func (w way) after(m *dns.Msg) way {
	switch {
	case m.Truncated && w.network == "udp":
		w.network = "tcp"
	case m.Rcode == dns.RcodeBadCookie && w.cookie == "":
		w.cookie = serverCookie(m)
		if w.cookie == "" {
			w.network = "tcp"
		}
	case (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented || m.Rcode == dns.RcodeBadVers) && !w.plain:
		w.plain = true // an old server (RFC 6891 section 7)
	}
	return w
}

// once sends one question and waits for its answer.
func (c *client) once(ctx context.Context, server netip.AddrPort, q question, w way, wait time.Duration) (*dns.Msg, error) {
	if err := spend(ctx); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(wait)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	m := c.message(server.Addr(), q, w)
	to := server
	if c.cfg.dialTo != nil {
		to = c.cfg.dialTo(w.network, server)
	}
	var conn net.Conn
	var err error
	if w.network == "udp" {
		conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to)) // a random port, and only the server's packets
	} else {
		conn, err = (&net.Dialer{Deadline: deadline}).DialContext(ctx, "tcp", to.String())
	}
	if err != nil {
		return nil, silent(err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = conn.SetDeadline(deadline)
	if w.network == "udp" {
		return roundTripUDP(conn, m)
	}
	return roundTripTCP(conn, m)
}

// message makes the question. Its randomness is what an answer has to repeat.
func (c *client) message(server netip.Addr, q question, w way) *dns.Msg {
	var random [34]byte
	_, _ = rand.Read(random[:]) // never fails
	m := new(dns.Msg)
	m.Id = binary.BigEndian.Uint16(random[:])
	m.RecursionDesired, m.CheckingDisabled = q.recurse, q.unsigned
	m.Question = []dns.Question{{Name: mixCase(q.name, random[2:]), Qtype: q.kind, Qclass: dns.ClassINET}}
	if !w.plain {
		o := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		o.SetUDPSize(udpSize)
		o.Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: c.cookie(server) + w.cookie}}
		m.Extra = []dns.RR{o}
	}
	return m
}

// cookie is ours for a server (RFC 7873 section 4.1), in hexadecimal.
func (c *client) cookie(server netip.Addr) string {
	mac := hmac.New(sha256.New, c.secret[:])
	b := server.As16()
	mac.Write(b[:])
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

const cookieLength = 16 // of the client's, in hexadecimal

// cookieOf returns both cookies of a message.
func cookieOf(m *dns.Msg) string {
	if o := m.IsEdns0(); o != nil {
		for _, option := range o.Option {
			if cookie, ok := option.(*dns.EDNS0_COOKIE); ok {
				return cookie.Cookie
			}
		}
	}
	return ""
}

func serverCookie(m *dns.Msg) string {
	if cookie := cookieOf(m); len(cookie) > cookieLength {
		return cookie[cookieLength:]
	}
	return ""
}

// mixCase turns letters by random bits.
func mixCase(name string, random []byte) string {
	b := []byte(name)
	for i := range b {
		if 'a' <= b[i] && b[i] <= 'z' && random[i/8%len(random)]>>(i%8)&1 == 1 {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

var packets = sync.Pool{New: func() any { return new([4096]byte) }}

func roundTripUDP(conn net.Conn, q *dns.Msg) (*dns.Msg, error) {
	buf := packets.Get().(*[4096]byte)
	defer packets.Put(buf)
	packed, err := q.PackBuffer(buf[:])
	if err != nil {
		return nil, fmt.Errorf("pack question: %w", err)
	}
	if _, err := conn.Write(packed); err != nil {
		return nil, silent(err)
	}
	for range maxSpoofs {
		n, err := conn.Read(buf[:])
		if err != nil {
			return nil, silent(err)
		}
		m := new(dns.Msg)
		if m.Unpack(buf[:n]) != nil && !m.Truncated || m.Id != q.Id || !m.Response {
			continue
		}
		if !answers(m, q) {
			continue
		}
		if len(m.Question) == 1 && m.Question[0].Name != q.Question[0].Name {
			return nil, errMangled // perhaps a server that keeps no case: TCP is as good
		}
		return m, nil
	}
	return nil, errMangled
}

func roundTripTCP(conn net.Conn, q *dns.Msg) (*dns.Msg, error) {
	stream := &dns.Conn{Conn: conn}
	if err := stream.WriteMsg(q); err != nil {
		return nil, silent(err)
	}
	m, err := stream.ReadMsg()
	if err != nil {
		return nil, silent(err)
	}
	if m.Id != q.Id || !m.Response || !answers(m, q) {
		return nil, errMangled
	}
	return m, nil
}

// answers reports whether m repeats what q asks, but for the case of letters. A
// server that could not read the question need not repeat it.
func answers(m, q *dns.Msg) bool {
	if sent, got := cookieOf(q), cookieOf(m); got != "" && !strings.HasPrefix(got, sent[:min(cookieLength, len(sent))]) {
		return false
	}
	if len(m.Question) == 0 {
		return m.Rcode == dns.RcodeFormatError
	}
	asked, got := q.Question[0], m.Question[0]
	return len(m.Question) == 1 && got.Qtype == asked.Qtype && got.Qclass == asked.Qclass && strings.EqualFold(got.Name, asked.Name)
}

// silent tells a lack of answers from other failures.
func silent(err error) error {
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return errSilent
	}
	return err
}
