// Package edge is the data plane: it terminates TLS for the domains that the
// operator allows and proxies their requests to the origin.
package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Edge serves one HTTPS and one HTTP listener, and HTTP/3 beside the first.
type Edge struct {
	cfg     Config
	log     *slog.Logger
	table   *table
	sites   *follower
	origins *origins
	limits  *clientLimits
	secure  *engine
	plain   *engine
	quic    *quicServer // nil: no HTTP/3
	altSvc  []string    // value of Alt-Svc for domains with HTTP/3
	gate    *gate
	https   *limitListener
	http    *limitListener

	changes  atomic.Uint64 // how often the table has changed
	underWay underWay
	tunnels  tunnelSet
	drain    drain
	traffic  traffic
}

// New checks cfg and returns an Edge that does not serve yet.
func New(cfg Config) (*Edge, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	e := &Edge{cfg: cfg, log: cfg.Logger}
	e.drain.delay = cfg.ShutdownDelay
	e.table = newTable(cfg.Target, cfg.PublicPort, newRulebook(cfg.PublicPort, cfg.SettingsBytes, cfg.Logger))
	e.sites = newFollower(&e.cfg, e.table)
	e.sites.dropped = e.dropped
	e.sites.changed = e.review
	e.origins = newOrigins(&e.cfg)
	e.limits = newClientLimits()
	e.secure = newEngine(&e.cfg, &e.traffic, e.logged(e.serveSecure))
	e.plain = newEngine(&e.cfg, &e.traffic, e.logged(e.servePlain))
	e.gate = newGate(e.sites, cfg.Certificates)
	e.https = newLimitListener(cfg.HTTPS, e.cfg.MaxConns)
	e.http = newLimitListener(cfg.HTTP, e.cfg.MaxConns)
	e.altSvc = noAltSvc
	if cfg.HTTP3 != nil {
		e.quic = newQUICServer(&e.cfg, e.gate, &e.traffic, e.logged(e.serveSecure))
		e.altSvc = []string{fmt.Sprintf(`h3=":%d"; ma=86400`, e.cfg.PublicPort)}
	}
	return e, nil
}

// Run serves until ctx ends, goes on for the shutdown delay, and then lets requests under
// way finish for the grace period. It returns nil after such an end, and the cause
// otherwise.
func (e *Edge) Run(ctx context.Context) error {
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	e.sites.restore() // before anybody is served
	secure := newHandshaker(e.https, e.gate, e.gate.base, &e.cfg)

	var running sync.WaitGroup
	running.Go(func() { e.sites.run(serving) })
	if e.cfg.TicketKeys != nil {
		running.Go(func() { e.cfg.TicketKeys.FollowTicketKeys(serving, e.gate.base.SetSessionTicketKeys) })
	}
	failed := make(chan error, 3)
	servedQUIC := make(chan struct{})
	if e.quic != nil {
		running.Go(func() { failed <- e.quic.serve(); close(servedQUIC) })
	}
	running.Go(func() { failed <- e.secure.server.Serve(secure) })
	running.Go(func() { failed <- e.plain.server.Serve(e.http) })

	var err error
	select {
	case <-ctx.Done():
		err = e.awaitDrained(failed)
	case err = <-failed:
	}
	cancel()
	e.shutdown(servedQUIC)
	running.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Healthy returns nil while the edge can really serve, and otherwise the reason
// why it cannot.
func (e *Edge) Healthy() error {
	if e.drain.began.Load() != 0 {
		return errors.New("shutting down")
	}
	if !e.sites.loaded.Load() {
		return errors.New("the domain table is not loaded yet")
	}
	return nil
}

// Allowed reports whether the edge serves host, which is normalised.
func (e *Edge) Allowed(ctx context.Context, host string) bool {
	s, _ := e.sites.find(ctx, host)
	return s.served()
}

// serveSecure answers requests that came over TLS.
func (e *Edge) serveSecure(ctx context.Context, w ResponseWriter, r *Request) {
	r.table = e.changes.Load()
	if e.drain.sendsAway() {
		w.CloseAfter()
	}
	host, domain, s := e.route(ctx, r.Authority)
	switch {
	case host == "":
		writePage(w, r, pageBadRequest)
	case host != r.SNI && !sameHost(host, r.SNI), !s.served():
		w.CloseAfter() // a new connection finds out by its handshake
		writePage(w, r, pageMisdirected)
	case r.Major == 3 && !s.servesHTTP3():
		w.CloseAfter()
		writePage(w, r, pageMisdirected)
	default:
		r.domain = domain
		e.advertise(w, s)
		e.serveSite(ctx, w, r, s, host)
	}
}

// noAltSvc has browsers forget that they were offered HTTP/3 (RFC 7838 section 3).
var noAltSvc = []string{"clear"}

func (e *Edge) advertise(w ResponseWriter, s *site) {
	if s.servesHTTP3() {
		w.Advertise(e.altSvc)
	} else {
		w.Advertise(noAltSvc)
	}
}

// serveSite answers a request for a host of s.
func (e *Edge) serveSite(ctx context.Context, w ResponseWriter, r *Request, s *site, host string) {
	switch {
	case e.isProbe(r):
		r.domain = "" // it is no visitor's
		e.serveProbe(w, r, host)
	case isProof(r):
		r.domain = ""
		writePage(w, r, pageNotFound)
	case s.rules != nil:
		e.serveRuled(ctx, w, r, s, host)
	case s.redirect != "" && s.redirect != host: // a wildcard may redirect to a host that it covers
		writePage(w, r, pageMoved, Field{"Location", httpsURL(s.redirect, e.cfg.PublicPort, r.Target)})
	default:
		e.proxy(ctx, w, r, errand{to: s.target, host: host, target: r.Target})
	}
}

// review ends what would not be let in by the table as it is now. Tunnels come last: a
// request becomes one.
func (e *Edge) review() {
	e.changes.Add(1)
	e.underWay.review(e.stillAdmits)
	e.tunnels.review(e.stillAdmits)
}

// dropped takes in that a domain was deleted.
func (e *Edge) dropped(domain string) {
	e.cfg.Certificates.Forget(domain)
	e.traffic.forget(key(domain))
	if e.cfg.Dropped != nil {
		e.cfg.Dropped(domain)
	}
}

// route returns the normal form of an authority's host, empty when it has
// none, and its site with the key of the domain that this is of.
func (e *Edge) route(ctx context.Context, authority string) (host, domain string, s *site) {
	host = hostWithoutPort(authority)
	if s := e.table.lookup(host); s != nil {
		return host, host, s // the table's hosts are normal forms
	}
	host, err := shingle.NormalizeAuthority(authority)
	if err != nil {
		return "", "", nil
	}
	s, wildcard := e.sites.find(ctx, host)
	if wildcard {
		return host, host[max(0, strings.IndexByte(host, '.')):], s
	}
	return host, host, s
}

func sameHost(host, sni string) bool {
	name, err := shingle.NormalizeHost(sni)
	return err == nil && name == host
}

// logged adds the access log's line.
func (e *Edge) logged(next func(context.Context, ResponseWriter, *Request)) func(context.Context, ResponseWriter, *Request) {
	if !e.cfg.AccessLog {
		return next
	}
	return func(ctx context.Context, w ResponseWriter, r *Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w}
		next(ctx, rec, r)
		e.log.LogAttrs(ctx, slog.LevelInfo, "request",
			slog.String("host", r.Authority), slog.String("method", r.Method), slog.String("target", r.Target),
			slog.Int("status", rec.status), slog.Int64("bytes", rec.bytes), slog.Duration("took", time.Since(start)),
			slog.String("client", r.Client.Addr().String()), slog.Int("http", r.Major))
	}
}

// recorder notes what was answered.
type recorder struct {
	ResponseWriter
	status int
	bytes  int64
}

// WriteHead implements ResponseWriter.
func (r *recorder) WriteHead(status int, h Fields) error {
	r.status = status
	return r.ResponseWriter.WriteHead(status, h)
}

// Write implements ResponseWriter.
func (r *recorder) Write(p []byte) (int, error) {
	r.bytes += int64(len(p))
	return r.ResponseWriter.Write(p)
}

// Hijack implements ResponseWriter.
func (r *recorder) Hijack() (net.Conn, io.Reader, error) {
	r.status = 101
	return r.ResponseWriter.Hijack()
}
