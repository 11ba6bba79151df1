package edge

import (
	"crypto/tls"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/shingle-proxy/shingle"
)

// protoACME is the ALPN protocol of TLS-ALPN-01 validations (RFC 8737).
const protoACME = "acme-tls/1"

var errRefused = errors.New("server name refused")

// gate decides about a handshake by its server name.
type gate struct {
	base   *tls.Config
	sites  *follower
	certs  Certificates
	counts [outcomes]atomic.Uint64
}

func (g *gate) config() *tls.Config {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"h2", "http/1.1"},
		GetConfigForClient: g.admit,
		GetCertificate:     g.certificate,
	}
	bindSessions(c)
	g.base = c
	return c
}

// admit refuses names that the operator does not allow, in resumed handshakes
// too, and turns validations of a CA to the challenge certificate.
func (g *gate) admit(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	_ = hello.Conn.SetReadDeadline(time.Time{}) // it was for the hello
	host, err := shingle.NormalizeHost(hello.ServerName)
	if err != nil {
		return nil, refuse(hello, refusedName)
	}
	s, wildcard := g.sites.find(hello.Context(), host)
	switch {
	case s == nil:
		return nil, refuse(hello, refusedUnknown)
	case s.paused:
		return nil, refuse(hello, refusedPaused)
	}
	if c, ok := hello.Conn.(*clientConn); ok {
		c.wildcard = wildcard
	}
	if !slices.Contains(hello.SupportedProtos, protoACME) {
		if s.rules != nil && s.rules.security != nil {
			return s.rules.security.config(g.base), nil
		}
		return nil, nil // the listener's own configuration
	}
	cert, err := g.certs.ChallengeCertificate(hello.Context(), host)
	if err != nil {
		note(hello, refusedChallenge)
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{protoACME},
		Certificates: []tls.Certificate{*cert},

		SessionTicketsDisabled: true, // each validation is to see its own certificate
	}, nil
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
func (g *gate) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host, err := shingle.NormalizeHost(hello.ServerName)
	if err != nil {
		return nil, err
	}
	domain := host
	if c, ok := hello.Conn.(*clientConn); ok && c.wildcard {
		domain = wildcardOver(host)
	}
	cert, err := g.certs.Certificate(hello.Context(), domain)
	if err == nil {
		return cert, nil
	}
	if domain == host && g.sites.table.covering(host).served() && g.sites.mayStandIn(hello.Context(), host) {
		if cert, err := g.certs.Certificate(hello.Context(), wildcardOver(host)); err == nil {
			return cert, nil
		}
	}
	switch {
	case errors.Is(err, shingle.ErrForbidden):
		return nil, refuse(hello, refusedUnknown)
	case errors.Is(err, shingle.ErrLimited):
		note(hello, refusedLimited)
	default:
		note(hello, refusedCertificate)
	}
	return nil, err
}

// refuse answers with unrecognized_name.
func refuse(hello *tls.ClientHelloInfo, why outcome) error {
	if c, ok := hello.Conn.(*clientConn); ok {
		c.refuse()
	}
	note(hello, why)
	return errRefused
}

// note keeps why a handshake fails until it has.
func note(hello *tls.ClientHelloInfo, why outcome) {
	if c, ok := hello.Conn.(*clientConn); ok {
		c.refusal = why
	}
}
