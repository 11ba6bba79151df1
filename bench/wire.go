package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// browserFields are what a browser sends with a page's request, apart from the
// host and the path.
var browserFields = [][2]string{
	{"sec-ch-ua", `"Chromium";v="142", "Not_A Brand";v="99"`},
	{"sec-ch-ua-mobile", "?0"},
	{"sec-ch-ua-platform", `"Linux"`},
	{"upgrade-insecure-requests", "1"},
	{"user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"},
	{"accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"},
	{"sec-fetch-site", "same-origin"},
	{"sec-fetch-mode", "navigate"},
	{"sec-fetch-dest", "document"},
	{"accept-encoding", "gzip, deflate, br, zstd"},
	{"accept-language", "en-GB,en;q=0.9,de;q=0.7"},
	{"cookie", "session=6f1c0d9e2b7a4835; theme=dark; consent=necessary"},
}

// bodies are the origin's answers by path.
var bodies = map[string][]byte{
	"/small": pattern(200),
	"/large": pattern(64 << 10),
}

// pattern returns n bytes that a lost, doubled or moved piece would disturb.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + (i+i/251)%26)
	}
	return b
}

// target is a proxy as its clients see it.
type target struct {
	addr   string
	domain string
	leaf   []byte // the certificate that was verified when the proxy started, in DER
}

// dial opens a TLS connection that speaks proto. Deadlines follow ctx.
//
// Each connection comes from another loopback address, as visitors do. Versions
// and key exchange are fixed, so that all proxies do the same work. The
// certificate was verified once, when the proxy started; here it must be the
// same one, which costs the load generator next to nothing.
func (t target) dial(ctx context.Context, proto string) (*tls.Conn, error) {
	config := clientConfig(t.domain, proto)
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(s tls.ConnectionState) error {
		if !bytes.Equal(s.PeerCertificates[0].Raw, t.leaf) {
			return errors.New("another certificate than at the start")
		}
		return nil
	}
	return dialTLS(ctx, t.addr, config)
}

func clientConfig(domain, proto string) *tls.Config {
	return &tls.Config{
		ServerName:       domain,
		NextProtos:       []string{proto},
		MinVersion:       tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519},
	}
}

func dialTLS(ctx context.Context, addr string, config *tls.Config) (*tls.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: nextSource()}}
	tcp, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		tcp.SetDeadline(deadline)
	}
	conn := tls.Client(tcp, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		tcp.Close()
		return nil, fmt.Errorf("handshake: %w", err)
	}
	if err := checkState(conn.ConnectionState(), config.NextProtos[0]); err != nil {
		tcp.Close()
		return nil, err
	}
	return conn, nil
}

// checkState makes sure that every proxy does the same cryptography.
func checkState(s tls.ConnectionState, proto string) error {
	switch {
	case s.DidResume:
		return errors.New("the session was resumed")
	case s.NegotiatedProtocol != proto:
		return fmt.Errorf("protocol %q instead of %q", s.NegotiatedProtocol, proto)
	case s.CipherSuite != tls.TLS_AES_128_GCM_SHA256:
		return fmt.Errorf("cipher suite %s", tls.CipherSuiteName(s.CipherSuite))
	case s.PeerCertificates[0].PublicKeyAlgorithm != x509.ECDSA:
		return fmt.Errorf("a certificate with %s", s.PeerCertificates[0].PublicKeyAlgorithm)
	}
	return nil
}

var sources atomic.Uint32

// nextSource walks through 62,500 addresses of the loopback network.
func nextSource() net.IP {
	n := sources.Add(1)
	return net.IPv4(127, 1, byte(1+n/250%250), byte(1+n%250))
}

// shut ends the connection with a reset: nothing stays behind in TIME-WAIT.
func shut(c *tls.Conn) {
	if tcp, ok := c.NetConn().(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails only on a connection that is closed already
	}
	c.NetConn().SetDeadline(time.Now())
	c.NetConn().Close()
}
