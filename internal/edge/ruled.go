package edge

import "context"

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
	case !u.admits(r.Client.Addr()):
		writePage(w, r, pageForbidden)
	case u.maintenance != nil:
		writeNotice(w, r, u.maintenance)
	case u.redirect != nil && u.redirect.host != host: // a wildcard may redirect to a host that it covers
		writePage(w, r, page{u.redirect.status, pageMoved.text}, Field{"Location", u.redirect.location(r.Target)})
	case s.redirect != "" && s.redirect != host:
		writePage(w, r, pageMoved, Field{"Location", httpsURL(s.redirect, e.cfg.PublicPort, r.Target)})
	default:
		e.proxy(ctx, w, r, s.target, host, u)
	}
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
