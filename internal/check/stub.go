package check

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/shingle-proxy/shingle"
)

// stub asks recursive resolvers (RFC 8499).
type stub struct {
	client    *client
	resolvers []*resolver // in the order of the configuration
}

// resolver is a recursive resolver, and what is known of its health.
type resolver struct {
	addr   netip.AddrPort
	heard  atomic.Int64 // when it last answered, in Unix nanoseconds
	silent atomic.Int64 // when it last left a question without an answer
}

func newStub(c *client, servers []netip.AddrPort) *stub {
	s := &stub{client: c}
	for _, addr := range servers {
		s.resolvers = append(s.resolvers, &resolver{addr: addr})
	}
	return s
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
	for _, r := range s.order() {
		got, err := s.ask(ctx, r, q)
		if err != nil {
			continue
		}
		silent = false
		if got.Rcode == dns.RcodeSuccess || got.Rcode == dns.RcodeNameError {
			return got, "", ""
		}
		text, bogus, unreachable := extended(got)
		switch {
		case got.Rcode != dns.RcodeServerFailure: // refused: a matter of this resolver
		case bogus || s.answersUnsigned(ctx, r, q):
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
func (s *stub) answersUnsigned(ctx context.Context, r *resolver, q question) bool {
	q.unsigned = true
	m, err := s.ask(ctx, r, q)
	return err == nil && (m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError)
}

// ask puts q to one resolver, and remembers how that went.
func (s *stub) ask(ctx context.Context, r *resolver, q question) (*dns.Msg, error) {
	m, err := s.client.ask(ctx, r.addr, q)
	switch now := time.Now().UnixNano(); {
	case err == nil:
		r.heard.Store(now)
	case ctx.Err() == nil && !errors.Is(err, errSpent):
		r.silent.Store(now)
	}
	return m, err
}

// order returns the resolvers as they are to be asked: those that ail last, as waiting
// for one at each question would use up the time of a check.
func (s *stub) order() []*resolver {
	now := time.Now()
	well := make([]*resolver, 0, len(s.resolvers))
	var ailing []*resolver
	for _, r := range s.resolvers {
		if r.ails(now) {
			ailing = append(ailing, r)
		} else {
			well = append(well, r)
		}
	}
	return append(well, ailing...)
}

const (
	recently = 10 * time.Second // for so long a resolver that answered is taken to be well
	ailment  = 30 * time.Second // and one that did not to be ill
)

// ails reports whether the resolver has left a question without an answer of late, and
// answered none since: one that waits for a customer's dead name servers answers others.
func (r *resolver) ails(now time.Time) bool {
	silent := r.silent.Load()
	return silent > r.heard.Load() && now.Sub(time.Unix(0, silent)) < ailment
}

// alive tells resolvers that wait for a customer's dead name servers from dead
// resolvers: all know the root.
func (s *stub) alive(ctx context.Context) bool {
	for _, r := range s.resolvers {
		if time.Since(time.Unix(0, r.heard.Load())) < recently {
			return true
		}
	}
	for _, r := range s.order() {
		if _, err := s.ask(ctx, r, question{name: ".", kind: dns.TypeNS, recurse: true}); err == nil {
			return true
		}
	}
	return false
}
