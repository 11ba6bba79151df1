package edge

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Certificates is what the edge needs of the certificate manager.
type Certificates interface {
	// Certificate returns the certificate of a domain that the operator allows, a
	// wildcard's too, obtaining it when there is none. It waits a bounded time.
	Certificate(ctx context.Context, domain string) (*tls.Certificate, error)

	// ChallengeCertificate returns the certificate that answers a TLS-ALPN-01
	// validation of host (RFC 8737), or [shingle.ErrNotFound].
	ChallengeCertificate(ctx context.Context, host string) (*tls.Certificate, error)

	// KeyAuthorization returns the answer to an HTTP-01 validation with token
	// (RFC 8555 section 8.3), or [shingle.ErrNotFound].
	KeyAuthorization(ctx context.Context, token string) (string, error)

	// Forget drops a domain's certificate from memory: the domain was deleted, and
	// whoever adds the name next must not be served with it.
	Forget(domain string)

	// Degraded returns why certificates may be older than they need be, empty when
	// they are not.
	Degraded() string

	// Readiness tells a visitor on port 80 whether host can be served over TLS, and
	// why not. It is quick and cheap however often it is asked; what it does not
	// know it takes for ready.
	Readiness(ctx context.Context, host string) shingle.Readiness
}

// Config is what an [Edge] is made of. HTTPS, HTTP, Target, Store and
// Certificates are required; a zero elsewhere takes the default.
type Config struct {
	HTTPS net.Listener // TCP; TLS is the edge's. Closed by the edge
	HTTP  net.Listener // TCP, for redirects, /health and HTTP-01. Closed by the edge
	// HTTP3 is the UDP socket for HTTP/3, which visitors reach by the port of HTTPS.
	// Closed by the edge. Nil: none is spoken.
	HTTP3 net.PacketConn

	// Target is where requests go, unless a domain has its own origin.
	Target shingle.Origin
	// Origins says which others a domain may have.
	Origins shingle.OriginPolicy
	// PublicPort is the port by which visitors reach HTTPS, for redirects and
	// X-Forwarded-Port. Default: that of the HTTPS listener.
	PublicPort int
	// OriginRoots verifies origins. Default: the system's roots.
	OriginRoots *x509.CertPool

	Store        shingle.DomainStore
	Certificates Certificates
	// Dropped, when set, is told of domains that were deleted.
	Dropped func(domain string)
	// TicketKeys keeps sessions resumable at every edge. Default: each process
	// has keys of its own.
	TicketKeys TicketKeys
	// Snapshot is a file that keeps the domain table over a restart, so that the
	// edge serves what it knew although the store is away. Default: none.
	Snapshot string
	// StoreName tells one store from another: a snapshot of another is not used.
	StoreName string
	// SettingsBytes bounds the memory for domains' settings. Domains for whose
	// settings there is no room are not served. Default 256 MiB.
	SettingsBytes int64
	// ProbeKey signs what the domain check is answered, and is what the keys of QUIC
	// come from that the fleet shares. Nil: it is not answered, and those are the
	// process' own.
	ProbeKey *shingle.ProbeKey
	// Wake, when it receives, says that the store has changes: the edge need
	// not wait for its next poll.
	Wake <-chan struct{}
	// PollInterval is how often the store is asked for changes. Default 500 ms.
	PollInterval time.Duration

	MaxConns           int // client connections at once, of each listener. Default 16384; more wait in the kernel, or come by TCP
	MaxOriginConns     int // requests under way to origins at once. Default 4096
	MaxIdleOriginConns int // origin connections kept for later. Default 1024

	HandshakeTimeout  time.Duration // of a TLS handshake, with the wait for a certificate in it. Default 15 s
	HeaderTimeout     time.Duration // for a client to send a request head. Default 10 s
	IdleTimeout       time.Duration // of a client connection between requests. Default 2 min
	StallTimeout      time.Duration // between two steps of a body, in either direction. Default 60 s
	TunnelTimeout     time.Duration // of a tunnel on which neither side speaks. Default 1 h
	ConnectTimeout    time.Duration // to an origin, with its TLS handshake. Default 5 s
	OriginTimeout     time.Duration // for an origin to begin its answer. Default 60 s
	OriginIdleTimeout time.Duration // of an idle origin connection. Default 15 s
	ShutdownDelay     time.Duration // from the end of Run's context, in which /health says 503, to that of the listeners. Default none
	GracePeriod       time.Duration // for requests under way from then on. Default 10 s

	AccessLog bool // one line a request, at level info
	// StateChanged, when set, is called when the edge is otherwise than before: it knows the
	// domains, or that it cannot; its store fails, or answers again; it drains. It must not
	// block.
	StateChanged func()
	Logger       *slog.Logger
}

// validate fills in the defaults.
func (c *Config) validate() error {
	switch {
	case c.HTTPS == nil || c.HTTP == nil:
		return errors.New("edge: both listeners are needed")
	case c.Target.Host == "":
		return errors.New("edge: a target is needed")
	case c.Store == nil || c.Certificates == nil:
		return errors.New("edge: a store and certificates are needed")
	}
	if c.PublicPort == 0 {
		c.PublicPort = 443
		if a, ok := c.HTTPS.Addr().(*net.TCPAddr); ok {
			c.PublicPort = a.Port
		}
	}
	if c.StateChanged == nil {
		c.StateChanged = func() {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.SettingsBytes = cmp.Or(c.SettingsBytes, 256<<20)
	c.PollInterval = cmp.Or(c.PollInterval, 500*time.Millisecond)
	c.MaxConns = cmp.Or(c.MaxConns, 16384)
	c.MaxOriginConns = cmp.Or(c.MaxOriginConns, 4096)
	c.MaxIdleOriginConns = cmp.Or(c.MaxIdleOriginConns, 1024)
	c.HandshakeTimeout = cmp.Or(c.HandshakeTimeout, 15*time.Second)
	c.HeaderTimeout = cmp.Or(c.HeaderTimeout, 10*time.Second)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 2*time.Minute)
	c.StallTimeout = cmp.Or(c.StallTimeout, time.Minute)
	c.TunnelTimeout = cmp.Or(c.TunnelTimeout, time.Hour)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 5*time.Second)
	c.OriginTimeout = cmp.Or(c.OriginTimeout, time.Minute)
	c.OriginIdleTimeout = cmp.Or(c.OriginIdleTimeout, 15*time.Second)
	c.GracePeriod = cmp.Or(c.GracePeriod, 10*time.Second)
	return nil
}
