package edge

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

const challengePath = "/.well-known/acme-challenge/"

// servePlain answers requests on port 80: it never proxies.
func (e *Edge) servePlain(ctx context.Context, w ResponseWriter, r *Request) {
	path, query, _ := strings.Cut(r.Target, "?")
	if path == "/health" {
		e.serveHealth(w, r, query == "detail")
		return
	}
	host, _, s := e.route(ctx, r.Authority)
	switch token, isChallenge := strings.CutPrefix(path, challengePath); {
	case !s.served():
		writePage(w, r, pageNotFound)
	case isChallenge:
		e.serveChallenge(ctx, w, r, token)
	case e.isProbe(r):
		e.serveProbe(w, r, host)
	default:
		e.redirectSecure(ctx, w, r, host)
	}
}

// redirectSecure sends a visitor to HTTPS, unless that would only end in an
// alert: then a page says what is going on.
func (e *Edge) redirectSecure(ctx context.Context, w ResponseWriter, r *Request, host string) {
	if is := e.readiness(ctx, host); is.State != shingle.CertificateValid {
		writeStatus(w, r, newStatusPage(host, is, time.Now()))
		return
	}
	writePage(w, r, pageMoved, Field{"Location", httpsURL(host, e.cfg.PublicPort, r.Target)})
}

// readiness is that of the certificate that the host would be served with: its
// own, or else that of the wildcard which covers it.
func (e *Edge) readiness(ctx context.Context, host string) shingle.Readiness {
	covered := e.table.covering(host).served()
	if covered && e.table.lookup(host) == nil {
		return e.cfg.Certificates.Readiness(ctx, wildcardOver(host))
	}
	own := e.cfg.Certificates.Readiness(ctx, host)
	if covered && own.State != shingle.CertificateValid {
		if is := e.cfg.Certificates.Readiness(ctx, wildcardOver(host)); is.State == shingle.CertificateValid {
			return is
		}
	}
	return own
}

// serveHealth answers 200 while the edge can serve, from the store or without. On
// the machine itself, and nowhere else, it says in detail what it is cut off from.
func (e *Edge) serveHealth(w ResponseWriter, r *Request, detail bool) {
	if err := e.Healthy(); err != nil {
		writePage(w, r, page{503, err.Error() + "\n"})
		return
	}
	text := "Im healthy"
	if detail && r.Client.Addr().Unmap().IsLoopback() {
		for _, why := range e.Degraded() {
			text += "\ndegraded: " + why
		}
	}
	writePage(w, r, page{200, text})
}

// serveChallenge answers an HTTP-01 validation (RFC 8555 section 8.3).
func (e *Edge) serveChallenge(ctx context.Context, w ResponseWriter, r *Request, token string) {
	answer, err := e.cfg.Certificates.KeyAuthorization(ctx, token)
	if err != nil {
		writePage(w, r, pageNotFound)
		return
	}
	writePage(w, r, page{200, answer})
}

// httpsURL returns the URL of a target on host.
func httpsURL(host string, port int, target string) string {
	if port != 443 {
		host = net.JoinHostPort(host, strconv.Itoa(port))
	}
	if target == "*" {
		target = "/"
	}
	return "https://" + host + target
}
