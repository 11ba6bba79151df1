package edge

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// serveRuled answers a request for a domain that has rules. What may refuse comes
// before what may answer, and nothing goes to the origin before both.
func (e *Edge) serveRuled(ctx context.Context, w ResponseWriter, r *Request, s *site, host string) {
	u := s.rules
	if u.hsts != "" {
		w = &strictWriter{ResponseWriter: w, value: u.hsts}
	}
	switch {
	case u.unknown:
		writePage(w, r, pageUnknown)
	case u.security != nil && !u.security.satisfied(r, time.Now()):
		w.CloseAfter() // a new connection finds out by its handshake
		writePage(w, r, pageMisdirected)
	case !u.admits(r.Client.Addr()):
		writePage(w, r, pageForbidden)
	case !e.inTime(w, r, u, host):
	case u.maintenance != nil:
		writeNotice(w, r, u.maintenance)
	case u.redirect != nil && u.redirect.host != host: // a wildcard may redirect to a host that it covers
		writePage(w, r, page{u.redirect.status, pageMoved.text}, Field{"Location", u.redirect.location(r.Target)})
	case s.redirect != "" && s.redirect != host:
		writePage(w, r, pageMoved, Field{"Location", httpsURL(s.redirect, e.cfg.PublicPort, r.Target)})
	default:
		e.proxyRuled(ctx, w, r, s, host)
	}
}

// inTime reports whether a client keeps to the domain's rate, and answers it if not.
// Hosts below a wildcard can be invented, so they count as one.
func (e *Edge) inTime(w ResponseWriter, r *Request, u *rules, host string) bool {
	if u.rate == (shingle.Rate{}) {
		return true
	}
	if e.table.lookup(host) == nil {
		host = wildcardOver(host)
	}
	after, ok := e.limits.allow(host, r.Client.Addr(), u.rate, time.Now())
	if !ok {
		writePage(w, r, pageTooMany, Field{"Retry-After", strconv.Itoa(int((after + time.Second - 1) / time.Second))})
	}
	return ok
}

// stillAdmits reports whether a request for a host would be let in by the table as it is
// now.
func (e *Edge) stillAdmits(host string, r *Request) bool {
	s := e.table.lookup(host)
	if s == nil {
		s = e.table.covering(host)
	}
	if s == nil {
		s = e.sites.ahead(host)
	}
	if !s.served() || s.rules == nil {
		return s.served()
	}
	u := s.rules
	return !u.unknown && (u.security == nil || u.security.satisfied(r, time.Now())) && u.admits(r.Client.Addr())
}

// proxyRuled finds the origin and what it is told.
func (e *Edge) proxyRuled(ctx context.Context, w ResponseWriter, r *Request, s *site, host string) {
	u := s.rules
	out := errand{to: s.target, host: host, target: r.Target, fields: u.fields, errorPage: u.errorPage}
	if u.security != nil {
		out.fields = u.security.appendClient(out.fields[:len(out.fields):len(out.fields)], r)
	}
	if to := u.route(r.Target); to != nil {
		out.to = to.to
		if to.strip {
			out.fields = appendField(out.fields[:len(out.fields):len(out.fields)], "X-Forwarded-Prefix", to.prefix)
			if out.target = r.Target[len(to.prefix):]; !strings.HasPrefix(out.target, "/") {
				out.target = "/" + out.target
			}
		}
	}
	e.proxy(ctx, w, r, out)
}

// writeNotice answers that the site is being worked on.
func writeNotice(w ResponseWriter, r *Request, n *notice) {
	var more []Field
	if n.retryAfter != "" {
		more = append(more, Field{"Retry-After", n.retryAfter})
	}
	if n.html == nil {
		writePage(w, r, pageMaintenance, more...)
		return
	}
	writeBody(w, r, pageMaintenance.status, htmlType, n.html, more...)
}

// strictWriter puts Strict-Transport-Security into the answer, in place of the
// origin's.
type strictWriter struct {
	ResponseWriter
	value string
}

const hstsField = "Strict-Transport-Security"

// WriteHead implements ResponseWriter.
func (w *strictWriter) WriteHead(status int, h Fields) error {
	kept := h[:0:0]
	for _, f := range h {
		if !equalFold(f.Name, hstsField) {
			kept = append(kept, f)
		}
	}
	return w.ResponseWriter.WriteHead(status, append(kept, Field{hstsField, w.value}))
}

// WriteTrailer implements ResponseWriter. The policy is a matter of the head alone
// (RFC 6797 section 7.1).
func (w *strictWriter) WriteTrailer(fields Fields) {
	kept := fields[:0:0]
	for _, f := range fields {
		if !equalFold(f.Name, hstsField) {
			kept = append(kept, f)
		}
	}
	w.ResponseWriter.WriteTrailer(kept)
}
