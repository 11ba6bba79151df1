package edge

import (
	"strings"

	"github.com/shingle-proxy/shingle"
)

func (e *Edge) isProbe(r *Request) bool {
	return e.cfg.ProbeKey != nil && strings.HasPrefix(r.Target, shingle.ProbePath)
}

// isProof reports whether a request is for what proves control of a host where it was
// served before. What an origin says there is its tenant's word, not the owner's.
func isProof(r *Request) bool {
	path, _, _ := strings.Cut(r.Target, "?")
	return path == shingle.ProofPath
}

// serveProbe tells the domain check that it has reached an edge of this
// installation, and by which scheme. No origin hears of it.
func (e *Edge) serveProbe(w ResponseWriter, r *Request, host string) {
	scheme := "http"
	if r.TLS {
		scheme = "https"
	}
	answer := e.cfg.ProbeKey.Answer(scheme, host, strings.TrimPrefix(r.Target, shingle.ProbePath))
	if answer == "" {
		writePage(w, r, pageNotFound)
		return
	}
	writePage(w, r, pageProbe, Field{shingle.ProbeField, answer})
}
