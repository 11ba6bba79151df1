package edge

import (
	"context"
	"net"
	"strconv"
	"strings"
)

const challengePath = "/.well-known/acme-challenge/"

// servePlain answers requests on port 80: it never proxies.
func (e *Edge) servePlain(ctx context.Context, w ResponseWriter, r *Request) {
	path, _, _ := strings.Cut(r.Target, "?")
	if path == "/health" {
		e.serveHealth(w, r)
		return
	}
	host, s := e.route(ctx, r.Authority)
	switch token, isChallenge := strings.CutPrefix(path, challengePath); {
	case !s.served():
		writePage(w, r, pageNotFound)
	case isChallenge:
		e.serveChallenge(ctx, w, r, token)
	default:
		writePage(w, r, pageMoved, Field{"Location", httpsURL(host, e.cfg.PublicPort, r.Target)})
	}
}

func (e *Edge) serveHealth(w ResponseWriter, r *Request) {
	if err := e.Healthy(); err != nil {
		writePage(w, r, page{503, err.Error() + "\n"})
		return
	}
	writePage(w, r, page{200, "Im healthy"})
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
