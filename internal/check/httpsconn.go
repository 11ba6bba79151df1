package check

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/shingle-proxy/shingle"
)

// handshake connects and shakes hands by the host's name. The certificate is
// verified apart, so that it can be told what is wrong with it.
func (p *httpsProbe) handshake(ctx context.Context, addr netip.Addr) (*tls.Conn, error) {
	raw, err := p.connect(ctx, addr, p.cfg.HTTPSPort)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, &tls.Config{ServerName: p.host, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, &handshakeError{err}
	}
	return conn, nil
}

// wantsCertificate reports whether a server refuses clients without a certificate,
// which in TLS 1.3 it says after the client's handshake (RFC 8446 section 6.2). It is
// not sent anything: it might close the connection before its alert is read.
func (p *httpsProbe) wantsCertificate(ctx context.Context, addr netip.Addr) bool {
	conn, err := p.handshake(ctx, addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(alertTime))
	_, err = conn.Read(make([]byte, 1))
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error" && op.Err.Error() == "tls: certificate required"
}

// connect dials and sets the deadline for all that is done on the connection.
func (p *httpsProbe) connect(ctx context.Context, addr netip.Addr, port int) (net.Conn, error) {
	to := netip.AddrPortFrom(addr, uint16(port))
	if p.cfg.dialTo != nil {
		to = p.cfg.dialTo("tcp", to)
	}
	conn, err := (&net.Dialer{Timeout: connectTime}).DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(answerTime)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	_ = conn.SetDeadline(deadline)
	return conn, nil
}

// handshakeError is a connection on which TLS failed.
type handshakeError struct{ err error }

// Error implements error.
func (e *handshakeError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *handshakeError) Unwrap() error { return e.err }

// connectFinding says why there is no TLS connection.
func connectFinding(addr netip.Addr, err error) shingle.Finding {
	shake, isShake := errors.AsType[*handshakeError](err)
	ne, _ := errors.AsType[net.Error](err)
	switch {
	case isShake:
		why := "the server closed the connection"
		if op, ok := errors.AsType[*net.OpError](shake.err); ok && op.Op == "remote error" { // an alert
			why = "the server refused it (" + strings.TrimPrefix(op.Err.Error(), "tls: ") + ")"
		} else if ne != nil && ne.Timeout() {
			why = "the server did not answer in time"
		}
		return found(shingle.ReasonHandshakeFailed, "At %s no TLS connection could be made: %s.", addr, why)
	case errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.EADDRNOTAVAIL):
		return found(shingle.ReasonNotTried, "%s cannot be reached from where the check runs.", addr)
	case errors.Is(err, syscall.ECONNREFUSED):
		return found(shingle.ReasonUnreachable, "%s refuses connections.", addr)
	}
	return found(shingle.ReasonUnreachable, "%s does not answer.", addr)
}

func (p *httpsProbe) getPlain(ctx context.Context, addr netip.Addr, path string) (head, error) {
	conn, err := p.connect(ctx, addr, p.cfg.HTTPPort)
	if err != nil {
		return head{}, err
	}
	defer conn.Close()
	return p.get(ctx, conn, "http", path)
}

// head is the head of an answer. Bodies are left unread: the connection ends.
type head struct {
	status int
	header http.Header
}

// get sends one request on a connection and returns the head of the answer.
func (p *httpsProbe) get(ctx context.Context, conn net.Conn, scheme, target string) (head, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	req := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nConnection: close\r\n\r\n", target, p.authority(scheme), userAgent)
	if _, err := io.WriteString(conn, req); err != nil {
		return head{}, err
	}
	in := textproto.NewReader(bufio.NewReader(io.LimitReader(conn, maxHead)))
	for range maxInterim {
		line, err := in.ReadLine()
		if err != nil {
			return head{}, err
		}
		_, rest, _ := strings.Cut(line, " ")
		status, err := strconv.Atoi(rest[:min(len(rest), 3)])
		if err != nil || !strings.HasPrefix(line, "HTTP/1.") || status < 100 {
			return head{}, errors.New("not HTTP")
		}
		fields, err := in.ReadMIMEHeader()
		if err != nil {
			return head{}, err
		}
		if status >= 200 {
			return head{status, http.Header(fields)}, nil
		}
	}
	return head{}, errors.New("no final answer")
}

const maxInterim = 5 // answers before the final one (RFC 9110 section 15.2)

func (p *httpsProbe) authority(scheme string) string {
	switch {
	case scheme == "https" && p.cfg.HTTPSPort != 443:
		return net.JoinHostPort(p.host, strconv.Itoa(p.cfg.HTTPSPort))
	case scheme == "http" && p.cfg.HTTPPort != 80:
		return net.JoinHostPort(p.host, strconv.Itoa(p.cfg.HTTPPort))
	}
	return p.host
}

func (p *httpsProbe) getSecure(ctx context.Context, addr netip.Addr, path string) (head, error) {
	conn, err := p.handshake(ctx, addr)
	if err != nil {
		return head{}, err
	}
	defer conn.Close()
	return p.get(ctx, conn, "https", path)
}
