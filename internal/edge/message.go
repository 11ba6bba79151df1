package edge

import (
	"crypto/x509"
	"io"
	"net"
	"net/netip"
	"strings"
)

// Field is one header or trailer field line (RFC 9110 section 5). The name is
// as it was received; the value is trimmed and holds no CR, LF or NUL.
type Field struct {
	Name, Value string
}

// Fields are field lines in the order in which they are sent.
type Fields []Field

// Get returns the value of the first field with that name, in any case, or "".
func (f Fields) Get(name string) string {
	for i := range f {
		if equalFold(f[i].Name, name) {
			return f[i].Value
		}
	}
	return ""
}

// has reports whether there is a field with that name, in any case.
func (f Fields) has(name string) bool {
	for i := range f {
		if equalFold(f[i].Name, name) {
			return true
		}
	}
	return false
}

// list reports whether one of the fields with that name, each of which is a list, holds
// token.
func (f Fields) list(name, token string) bool {
	for i := range f {
		if equalFold(f[i].Name, name) && hasToken(f[i].Value, token) {
			return true
		}
	}
	return false
}

// Request is what a protocol engine hands to the edge: one request, whatever
// the protocol version it came by. It is valid until the handler returns.
type Request struct {
	Method    string // a token (RFC 9110 section 9)
	Target    string // origin-form path and query, as sent, or "*"
	Authority string // the Host field or :authority, as sent
	Header    Fields // without Host; framing fields are gone

	// Body is nil when the request has none. Its Read fails when the client
	// stalls or goes away. Trailer may be called once Read has returned io.EOF.
	Body          io.Reader
	ContentLength int64 // in bytes, -1 when it is not known beforehand
	Trailer       func() Fields

	Major  int // 1, 2 or 3: the protocol version's first number
	Client netip.AddrPort
	SNI    string // the server name of the TLS handshake, as sent; empty without TLS
	TLS    bool

	Version uint16                // of TLS, as crypto/tls has it
	Chains  [][]*x509.Certificate // verified ones of the client's certificate, from that on; nil: it has shown none

	table uint64 // how often the table had changed when the request was let in

	domain   string // key in the table of the domain for which the request counts; empty: for none
	answered answeredBy

	// Upgrade is the protocol that the client asks to switch to, such as
	// "websocket"; empty when it asks for none that can be passed on.
	Upgrade string
	// ExpectContinue says that the client waits for 100 (Continue), which the
	// engine sends when Body is first read (RFC 9110 section 10.1.1).
	ExpectContinue bool
}

// ResponseWriter is how a handler answers a [Request]. Its methods are called
// from one goroutine. Every write is bounded in time by the engine.
type ResponseWriter interface {
	// Inform sends an interim response, 102 to 199 (RFC 9110 section 15.2).
	Inform(status int, header Fields) error

	// WriteHead sends the final status and header. A Content-Length in header
	// is a promise; without one the engine frames the body itself.
	WriteHead(status int, header Fields) error

	// Write sends a part of the body. It may be held back until Flush.
	Write(p []byte) (int, error)

	// Flush sends what was held back.
	Flush() error

	// WriteTrailer sends trailer fields behind the body.
	WriteTrailer(Fields)

	// Abort makes the client see that the response is incomplete: the stream is
	// reset or the connection closed once the handler returns.
	Abort()

	// Advertise sets the Alt-Svc field of the final response (RFC 7838), which keeps
	// altSvc. It is called before WriteHead.
	Advertise(altSvc []string)

	// CloseAfter ends the connection after this response. It is called before
	// WriteHead.
	CloseAfter()

	// InterruptBody makes a Read of the request's body that runs in another
	// goroutine return, and every later one fail.
	InterruptBody()

	// Hijack takes the connection over after a request with Upgrade. Nothing
	// may have been written. The reader holds bytes that were read already.
	Hijack() (net.Conn, io.Reader, error)
}

// equalFold is strings.EqualFold for field names, which are ASCII: the length
// decides most comparisons.
func equalFold(a, b string) bool {
	return len(a) == len(b) && (a == b || strings.EqualFold(a, b))
}

// hasToken reports whether a comma-separated list, such as a Connection field,
// holds token, in any case.
func hasToken(list, token string) bool {
	for part := range strings.SplitSeq(list, ",") {
		if equalFold(strings.Trim(part, " \t"), token) {
			return true
		}
	}
	return false
}
