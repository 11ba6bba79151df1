package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/shingle-proxy/shingle"
)

// protoACME is the ALPN protocol of TLS-ALPN-01 validations (RFC 8737).
const protoACME = "acme-tls/1"

// errRefused is a handshake for a name that is not served.
var errRefused = fmt.Errorf("server name refused: %w", tls.AlertError(alertUnrecognizedName))

// gate decides about a handshake by its server name.
type gate struct {
	base   *tls.Config // of TLS over TCP; its ticket keys are QUIC's too
	quic   *tls.Config
	sites  *follower
	certs  Certificates
	counts [transports][outcomes]atomic.Uint64
}

// transport is what TLS is carried by.
type transport int

const (
	overTCP transport = iota
	overQUIC
	transports
)

func newGate(sites *follower, certs Certificates) *gate {
	g := &gate{sites: sites, certs: certs}
	g.base = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"h2", "http/1.1"},
		GetConfigForClient: g.admit,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return g.certificate(hello.Context(), greetingOf(hello), hello)
		},
	}
	bindSessions(g.base)
	g.quic = g.configQUIC()
	return g
}

// greeting is what is known of a handshake under way. Only its goroutine touches it.
type greeting struct {
	wildcard bool    // the server name is served by the wildcard that covers it
	refusal  outcome // why the handshake is refused; zero: it is not
}

// greetingOf returns that of a handshake over TCP.
func greetingOf(hello *tls.ClientHelloInfo) *greeting {
	if c, ok := hello.Conn.(*clientConn); ok {
		return &c.greeting
	}
	return &greeting{}
}

// admit refuses names that the operator does not allow, in resumed handshakes
// too, and turns validations of a CA to the challenge certificate.
func (g *gate) admit(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	_ = hello.Conn.SetReadDeadline(time.Time{}) // it was for the hello
	is := greetingOf(hello)
	host, s := g.site(hello.Context(), is, hello.ServerName)
	if s == nil {
		return nil, refuse(hello)
	}
	if !slices.Contains(hello.SupportedProtos, protoACME) {
		if s.rules != nil && s.rules.security != nil {
			return s.rules.security.config(g.base), nil
		}
		return nil, nil // the listener's own configuration
	}
	cert, err := g.certs.ChallengeCertificate(hello.Context(), host)
	if err != nil {
		is.refusal = refusedChallenge
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{protoACME},
		Certificates: []tls.Certificate{*cert},

		SessionTicketsDisabled: true, // each validation is to see its own certificate
	}, nil
}

// site returns the host of a server name and its site, nil for a name that is not
// served.
func (g *gate) site(ctx context.Context, is *greeting, serverName string) (host string, s *site) {
	host, err := shingle.NormalizeHost(serverName)
	if err != nil {
		is.refusal = refusedName
		return "", nil
	}
	s, is.wildcard = g.sites.find(ctx, host)
	switch {
	case s == nil:
		is.refusal = refusedUnknown
	case s.paused:
		is.refusal = refusedPaused
		return host, nil
	}
	return host, s
}

// certificate returns the certificate of the domain that the server name is served
// by. A domain that has none of its own, not yet or no longer, is served with that
// of the wildcard which covers it, if there is one and it is the same tenant's: to add
// it must not take away what worked before.
//
// For a certificate that is not there in time the client gets crypto/tls's alert
// for an error here, internal_error: one "unrelated to the peer or the correctness
// of the protocol" that makes it "impossible to continue" (RFC 8446 section 6.2).
// unrecognized_name would say that the name is not served here, and
// handshake_failure, which browsers explain by old ciphers, that the client offers
// the wrong parameters: either would send people looking in the wrong place.
func (g *gate) certificate(ctx context.Context, is *greeting, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host, err := shingle.NormalizeHost(hello.ServerName)
	if err != nil {
		return nil, err
	}
	domain := host
	if is.wildcard {
		domain = wildcardOver(host)
	}
	cert, err := g.certs.Certificate(ctx, domain)
	if err == nil {
		return cert, nil
	}
	if domain == host && g.sites.table.covering(host).served() && g.sites.mayStandIn(ctx, host) {
		if cert, err := g.certs.Certificate(ctx, wildcardOver(host)); err == nil {
			return cert, nil
		}
	}
	switch {
	case errors.Is(err, shingle.ErrForbidden):
		is.refusal = refusedUnknown
		return nil, refuse(hello)
	case errors.Is(err, shingle.ErrLimited):
		is.refusal = refusedLimited
	default:
		is.refusal = refusedCertificate
	}
	return nil, err
}

// refuse answers with unrecognized_name. For QUIC crypto/tls has no alert of its own
// when the error is one.
func refuse(hello *tls.ClientHelloInfo) error {
	if c, ok := hello.Conn.(*clientConn); ok {
		c.refuse()
	}
	return errRefused
}
