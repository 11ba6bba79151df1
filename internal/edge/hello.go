package edge

import (
	"crypto/tls"
	"errors"
	"slices"

	"github.com/shingle-proxy/shingle"
)

// protoACME is the ALPN protocol of TLS-ALPN-01 validations (RFC 8737).
const protoACME = "acme-tls/1"

var errRefused = errors.New("server name refused")

// gate decides about a handshake by its server name.
type gate struct {
	sites *follower
	certs Certificates
}

func (g *gate) config() *tls.Config {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"h2", "http/1.1"},
		GetConfigForClient: g.admit,
		GetCertificate:     g.certificate,
	}
	bindSessions(c)
	return c
}

// admit refuses names that the operator does not allow, in resumed handshakes
// too, and turns validations of a CA to the challenge certificate.
func (g *gate) admit(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	host, err := shingle.NormalizeHost(hello.ServerName)
	if err != nil || !g.sites.find(hello.Context(), host).served() {
		refuse(hello)
		return nil, errRefused
	}
	if !slices.Contains(hello.SupportedProtos, protoACME) {
		return nil, nil // the listener's own configuration
	}
	cert, err := g.certs.ChallengeCertificate(hello.Context(), host)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{protoACME},
		Certificates: []tls.Certificate{*cert},

		SessionTicketsDisabled: true, // each validation is to see its own certificate
	}, nil
}

func (g *gate) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host, err := shingle.NormalizeHost(hello.ServerName)
	if err != nil {
		return nil, err
	}
	cert, err := g.certs.Certificate(hello.Context(), host)
	if errors.Is(err, shingle.ErrForbidden) {
		refuse(hello)
	}
	return cert, err
}

func refuse(hello *tls.ClientHelloInfo) {
	if c, ok := hello.Conn.(*clientConn); ok {
		c.refuse()
	}
}
