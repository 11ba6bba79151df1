package check

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/shingle-proxy/shingle"
)

// stub asks recursive resolvers (RFC 8499).
type stub struct {
	client  *client
	servers []netip.AddrPort
	heard   atomic.Int64 // when one of them last answered, in Unix nanoseconds
}

// lookup asks the resolvers one after another until one knows.
func (s *stub) lookup(ctx context.Context, name string, kind uint16) (a answer) {
	for range maxChain {
		end := a.end(name)
		m, fault, detail := s.resolve(ctx, question{name: end, kind: kind, recurse: true})
		if fault != "" {
			a.fault, a.detail = fault, detail
			return a
		}
		if a.take(m, name, kind) {
			return a
		}
	}
	a.fault = shingle.ReasonCNAMETooLong
	return a
}

// resolve returns the first answer that says something, or why there is none.
func (s *stub) resolve(ctx context.Context, q question) (m *dns.Msg, fault shingle.Reason, detail string) {
	silent := true
	fault = shingle.ReasonDNSFailure
	for _, server := range s.servers {
		got, err := s.client.ask(ctx, server, q)
		if err != nil {
			continue
		}
		silent = false
		s.heard.Store(time.Now().UnixNano())
		if got.Rcode == dns.RcodeSuccess || got.Rcode == dns.RcodeNameError {
			return got, "", ""
		}
		text, bogus, unreachable := extended(got)
		switch {
		case got.Rcode != dns.RcodeServerFailure: // refused: a matter of this resolver
		case bogus || s.answersUnsigned(ctx, server, q):
			return nil, shingle.ReasonDNSSECBogus, text
		case unreachable:
			fault, detail = shingle.ReasonDNSTimeout, text
		default:
			detail = text
		}
	}
	switch {
	case !silent:
		return nil, fault, detail
	case s.alive(ctx):
		return nil, shingle.ReasonDNSTimeout, ""
	}
	return nil, shingle.ReasonResolverFailure, ""
}

// answersUnsigned reports whether a question fails only because signatures are
// verified.
func (s *stub) answersUnsigned(ctx context.Context, server netip.AddrPort, q question) bool {
	q.unsigned = true
	m, err := s.client.ask(ctx, server, q)
	return err == nil && (m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError)
}

// recently is how long a resolver that answered is taken to be well.
const recently = 10 * time.Second

// alive tells resolvers that wait for a customer's dead name servers from dead
// resolvers: all know the root.
func (s *stub) alive(ctx context.Context) bool {
	if time.Since(time.Unix(0, s.heard.Load())) < recently {
		return true
	}
	for _, server := range s.servers {
		if _, err := s.client.ask(ctx, server, question{name: ".", kind: dns.TypeNS, recurse: true}); err == nil {
			s.heard.Store(time.Now().UnixNano())
			return true
		}
	}
	return false
}
