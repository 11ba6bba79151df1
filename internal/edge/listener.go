package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// limitListener accepts at most a number of connections at once; more wait in
// the kernel's queue.
type limitListener struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	once  sync.Once
}

func newLimitListener(l net.Listener, n int) *limitListener {
	return &limitListener{Listener: l, slots: make(chan struct{}, n), done: make(chan struct{})}
}

// Accept waits for a slot and then for a connection.
func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &clientConn{Conn: c, release: func() { <-l.slots }}, nil
}

// Close ends Accept.
func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// clientConn is a client's connection as the operating system gave it.
type clientConn struct {
	net.Conn
	release func()
	once    sync.Once
	refused atomic.Bool // an alert was sent; TLS must not add another

	// wildcard tells that the server name is served by the wildcard that covers it.
	// Only the handshake's goroutine touches it.
	wildcard bool
}

// Close closes the connection and frees its slot.
func (c *clientConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.release)
	return err
}

// Write sends nothing once the handshake was refused.
func (c *clientConn) Write(p []byte) (int, error) {
	if c.refused.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// CloseWrite closes the sending side.
func (c *clientConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// alertUnrecognizedName is a TLS record with the fatal alert unrecognized_name
// (RFC 6066 section 3, RFC 8446 section 6).
var alertUnrecognizedName = []byte{21, 3, 3, 0, 2, 2, 112}

// refuse answers a ClientHello with unrecognized_name, before any work with
// keys was done. crypto/tls itself would send internal_error.
func (c *clientConn) refuse() {
	if !c.refused.Swap(true) {
		_, _ = c.Conn.Write(alertUnrecognizedName) // the handshake fails either way
	}
}

// handshaker accepts TLS connections. It is the listener of the protocol
// engine, which gets connections whose handshake is complete.
type handshaker struct {
	inner   net.Listener
	config  *tls.Config
	timeout time.Duration
	log     *slog.Logger
	ready   chan net.Conn
	ctx     context.Context // ends the handshakes under way
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func newHandshaker(inner net.Listener, config *tls.Config, timeout time.Duration, log *slog.Logger) *handshaker {
	h := &handshaker{inner: inner, config: config, timeout: timeout, log: log, ready: make(chan net.Conn)}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.running.Go(h.run)
	return h
}

// Accept returns the next connection with a complete handshake.
func (h *handshaker) Accept() (net.Conn, error) {
	select {
	case c := <-h.ready:
		return c, nil
	case <-h.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Addr returns the listener's address.
func (h *handshaker) Addr() net.Addr { return h.inner.Addr() }

// Close ends accepting and the handshakes under way, and waits for them.
func (h *handshaker) Close() error {
	h.cancel()
	err := h.inner.Close()
	h.running.Wait()
	return err
}

func (h *handshaker) run() {
	for {
		c, err := h.inner.Accept()
		if err == nil {
			h.running.Go(func() { h.handshake(c) })
			continue
		}
		if h.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		h.log.Error("connection could not be accepted", "error", err)
		select { // out of file descriptors, most likely: let some go
		case <-time.After(50 * time.Millisecond):
		case <-h.ctx.Done():
			return
		}
	}
}

func (h *handshaker) handshake(c net.Conn) {
	ctx, cancel := context.WithTimeout(h.ctx, h.timeout)
	defer cancel()
	secure := tls.Server(c, h.config)
	if err := secure.HandshakeContext(ctx); err != nil {
		h.log.Debug("handshake failed", "client", c.RemoteAddr().String(), "error", err)
		_ = c.Close()
		return
	}
	if secure.ConnectionState().NegotiatedProtocol == protoACME {
		_ = secure.Close() // the handshake was the whole message (RFC 8737 section 3)
		return
	}
	select {
	case h.ready <- secure:
	case <-h.ctx.Done():
		_ = secure.Close()
	}
}
