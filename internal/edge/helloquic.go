package edge

import (
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/quic-go/quic-go/http3"
)

// alertNoApplicationProtocol is RFC 7301 section 3.2.
const alertNoApplicationProtocol = 120

// errNoHTTP3 is a handshake for a domain that is not served by HTTP/3.
var errNoHTTP3 = fmt.Errorf("HTTP/3 is off for the domain: %w", tls.AlertError(alertNoApplicationProtocol))

var errNoVisit = errors.New("handshake of no connection of ours")

// configQUIC returns the configuration of handshakes over QUIC (RFC 9001). Sessions are
// sealed with the keys of those over TCP, and bound to their host alike.
func (g *gate) configQUIC() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{http3.NextProtoH3},
		GetConfigForClient: g.admitQUIC,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			v := visitOf(hello.Context())
			if v == nil {
				return nil, errNoVisit
			}
			return g.certificate(v.handshake, &v.greeting, hello)
		},
		WrapSession:   g.base.WrapSession,
		UnwrapSession: g.base.UnwrapSession,
	}
}

// admitQUIC is admit for QUIC. No CA validates by it.
func (g *gate) admitQUIC(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	v := visitOf(hello.Context())
	if v == nil {
		return nil, errNoVisit
	}
	_, s := g.site(v.handshake, &v.greeting, hello.ServerName)
	switch {
	case s == nil:
		return nil, errRefused
	case s.rules == nil:
		return nil, nil // the listener's own configuration
	case s.rules.noHTTP3:
		v.greeting.refusal = refusedHTTP3
		return nil, errNoHTTP3
	case s.rules.security != nil:
		return s.rules.security.config(g.quic), nil
	}
	return nil, nil
}
