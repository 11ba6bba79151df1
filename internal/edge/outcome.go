package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
)

// outcome is how a TLS handshake ended.
type outcome int

const (
	outcomeUnknown outcome = iota
	handshakeDone
	handshakeChallenge // of a CA, answered
	refusedName        // no server name, or one that cannot be a domain
	refusedUnknown     // a name that is not served here
	refusedPaused
	refusedHTTP3       // off for the domain
	refusedLimited     // no certificate yet, and a budget for getting one is used up
	refusedCertificate // no certificate, for another reason
	refusedChallenge   // a CA's, which nobody awaits
	failedTimeout
	failedLeft     // the client closed the connection
	failedGarbage  // what came is not TLS
	failedProtocol // no version, cipher or the like in common, or an alert from the client
	failedShutdown
	outcomes
)

var outcomeNames = [outcomes]string{
	handshakeDone: "done", handshakeChallenge: "acme_challenge",
	refusedName: "no_name", refusedUnknown: "unknown_name", refusedPaused: "paused", refusedHTTP3: "http3_off",
	refusedLimited: "limited", refusedCertificate: "no_certificate", refusedChallenge: "unknown_challenge",
	failedTimeout: "timeout", failedLeft: "client_left", failedGarbage: "not_tls", failedProtocol: "tls_error", failedShutdown: "shutdown",
}

func (g *gate) count(t transport, o outcome) { g.counts[t][o].Add(1) }

// outcomeOf judges the error of a handshake on c.
func outcomeOf(c net.Conn, err error) outcome {
	if c, ok := c.(*clientConn); ok && c.greeting.refusal != outcomeUnknown {
		return c.greeting.refusal
	}
	_, garbage := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case garbage:
		return failedGarbage
	case errors.Is(err, context.Canceled):
		return failedShutdown
	case isTimeout(err):
		return failedTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return failedLeft
	}
	return failedProtocol
}
