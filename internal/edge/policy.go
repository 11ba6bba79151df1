package edge

import (
	"strconv"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// The header policy decides which fields cross the edge, in both directions,
// and what the edge says about itself. It is stated in docs/architecture.md.

// appendRequestHead appends the head that the origin gets for r: the request
// line, Host, the client's end-to-end fields, and the edge's own.
//
// Host is the origin's own authority; the name that the visitor asked for goes
// into User-Custom-Domain (without port) and X-Forwarded-Host (as sent).
// Client-sent copies of the edge's fields are dropped, so the origin can trust
// them.
func appendRequestHead(b []byte, r *Request, to *errand) []byte {
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = append(b, to.target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, to.to.authority...)
	b = append(b, "\r\n"...)
	b = appendClientFields(b, r)
	b = appendField(b, "User-Custom-Domain", to.host)
	b = append(b, "X-Forwarded-For: "...)
	b = r.Client.Addr().AppendTo(b)
	b = append(b, "\r\n"...)
	if r.TLS {
		b = append(b, "X-Forwarded-Proto: https\r\n"...)
	} else {
		b = append(b, "X-Forwarded-Proto: http\r\n"...)
	}
	b = appendField(b, "X-Forwarded-Host", r.Authority)
	b = appendField(b, "X-Forwarded-Port", to.to.forwardedPort)
	b = append(b, to.fields...)
	b = appendFraming(b, r)
	if r.Upgrade != "" {
		b = append(b, "Connection: Upgrade\r\n"...)
		b = appendField(b, "Upgrade", r.Upgrade)
	}
	return append(b, "\r\n"...)
}

// appendClientFields appends the client's fields without the hop-by-hop ones
// (RFC 9110 section 7.6.1) and those that only the edge may set.
func appendClientFields(b []byte, r *Request) []byte {
	named := r.Header.has("Connection")
	for i := range r.Header {
		f := &r.Header[i]
		if isHopByHop(f.Name) || isOurs(f.Name) {
			continue
		}
		if named && r.Header.list("Connection", f.Name) {
			continue
		}
		b = appendField(b, f.Name, f.Value)
	}
	if r.Header.list("TE", "trailers") {
		b = append(b, "TE: trailers\r\n"...)
	}
	return b
}

// appendFraming appends the body's length or coding (RFC 9112 section 6). A
// request without a body has neither, unless its method expects one.
func appendFraming(b []byte, r *Request) []byte {
	switch {
	case r.Body == nil && !methodExpectsBody(r.Method):
		return b
	case r.Body == nil:
		return append(b, "Content-Length: 0\r\n"...)
	case r.ContentLength >= 0:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, r.ContentLength, 10)
		b = append(b, "\r\n"...)
	default:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if r.ExpectContinue {
		b = append(b, "Expect: 100-continue\r\n"...)
	}
	return b
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// methodExpectsBody tells the methods for which an absent body is stated as
// Content-Length: 0 (RFC 9110 section 8.6).
func methodExpectsBody(method string) bool {
	return method == "POST" || method == "PUT" || method == "PATCH"
}

// isHopByHop tells the fields that end at each hop (RFC 9110 section 7.6.1),
// and those by which the edge frames its own messages.
func isHopByHop(name string) bool {
	switch len(name) {
	case 2:
		return equalFold(name, "TE")
	case 4:
		return equalFold(name, "Host")
	case 6:
		return equalFold(name, "Expect")
	case 7:
		return equalFold(name, "Upgrade")
	case 10:
		return equalFold(name, "Connection") || equalFold(name, "Keep-Alive")
	case 14:
		return equalFold(name, "Content-Length") || equalFold(name, "HTTP2-Settings")
	case 16:
		return equalFold(name, "Proxy-Connection")
	case 17:
		return equalFold(name, "Transfer-Encoding")
	case 18:
		return equalFold(name, "Proxy-Authenticate")
	case 19:
		return equalFold(name, "Proxy-Authorization")
	}
	return false
}

// isOurs tells the fields that only the edge may send to an origin. Origins
// behind CGI-like gateways cannot tell "_" from "-", so neither can we.
func isOurs(name string) bool {
	switch len(name) {
	case 9:
		return dashFold(name, "x-real-ip") || dashFold(name, "forwarded")
	case 11:
		return dashFold(name, "client-cert")
	case 17:
		if dashFold(name, "client-cert-chain") {
			return true
		}
	case 18:
		if dashFold(name, "user-custom-domain") {
			return true
		}
	case 20:
		if dashFold(name, "user-custom-metadata") {
			return true
		}
	}
	return beginsDashFold(name, "x-forwarded-") || beginsDashFold(name, "x-client-cert-")
}

func beginsDashFold(name, lower string) bool {
	return len(name) > len(lower) && dashFold(name[:len(lower)], lower)
}

// dashFold compares name with a lower-case field name, taking "_" for "-".
func dashFold(name, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c |= 0x20
		case c == '_':
			c = '-'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// responseFields filters the origin's header in place to what a visitor gets:
// without hop-by-hop fields, but with Content-Length, which the response's
// framing has confirmed. Alt-Svc is left out too: where else the host is served is
// for the edge to say (RFC 7838 section 2.1).
func responseFields(h Fields) Fields {
	named := h.has("Connection")
	out := h[:0]
	for _, f := range h {
		if isHopByHop(f.Name) && !equalFold(f.Name, "Content-Length") || equalFold(f.Name, "Alt-Svc") {
			continue
		}
		if named && !equalFold(f.Name, "Content-Length") && h.list("Connection", f.Name) {
			continue
		}
		out = append(out, f)
	}
	return out
}

// target is an origin with what the hot path needs of it, made once.
type target struct {
	origin        shingle.Origin
	authority     string // Host for this origin
	forwardedPort string // the edge's public HTTPS port
}

func newTarget(o shingle.Origin, publicPort int) *target {
	return &target{origin: o, authority: o.Authority(), forwardedPort: strconv.Itoa(publicPort)}
}

// hostWithoutPort returns the host of an authority that may carry a port.
func hostWithoutPort(authority string) string {
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && allDigits(authority[i+1:]) {
		return authority[:i]
	}
	return authority
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
