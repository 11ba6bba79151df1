package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shingle-proxy/shingle"
)

// limitListener accepts at most a number of connections at once, of one client
// network at most its share; more wait in the kernel's queue.
type limitListener struct {
	net.Listener
	slots  chan struct{}
	shares shares[netip.Prefix]
	done   chan struct{}
	once   sync.Once

	accepted, refused atomic.Uint64
}

func newLimitListener(l net.Listener, n int) *limitListener {
	return &limitListener{Listener: l, slots: make(chan struct{}, n), done: make(chan struct{})}
}

// Accept waits for a slot and then for a connection whose network has not got its
// share.
func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			<-l.slots
			return nil, err
		}
		network, known := shingle.Network(clientAddr(c).Addr())
		if !known {
			l.accepted.Add(1)
			return &clientConn{Conn: c, release: func() { <-l.slots }}, nil
		}
		if l.shares.take(network, cap(l.slots)-len(l.slots)+1) { // one is taken already
			l.accepted.Add(1)
			return &clientConn{Conn: c, release: func() { l.shares.give(network); <-l.slots }}, nil
		}
		l.refused.Add(1)
		_ = c.Close()
	}
}

// open is how many connections are.
func (l *limitListener) open() int { return len(l.slots) }

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

	greeting greeting
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

// alertUnrecognizedName is RFC 6066 section 3.
const alertUnrecognizedName = 112

// unrecognizedName is a TLS record with that alert, as a fatal one (RFC 8446 section 6).
var unrecognizedName = []byte{21, 3, 3, 0, 2, 2, alertUnrecognizedName}

// refuse answers a ClientHello with unrecognized_name, before any work with
// keys was done. crypto/tls itself would send internal_error.
func (c *clientConn) refuse() {
	if !c.refused.Swap(true) {
		_, _ = c.Conn.Write(unrecognizedName) // the handshake fails either way
	}
}

// handshaker accepts TLS connections. It is the listener of the protocol
// engine, which gets connections whose handshake is complete.
type handshaker struct {
	inner   *limitListener
	gate    *gate
	config  *tls.Config
	timeout time.Duration
	log     *slog.Logger
	ready   chan net.Conn
	ctx     context.Context // ends the handshakes under way
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func newHandshaker(inner *limitListener, g *gate, config *tls.Config, cfg *Config) *handshaker {
	h := &handshaker{
		inner: inner, gate: g, config: config, timeout: cfg.HandshakeTimeout, log: cfg.Logger, ready: make(chan net.Conn),
	}
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
		h.linger()
		return nil, net.ErrClosed
	}
}

// linger gives clients a moment to leave. When net/http's server is shut down it sends
// GOAWAY, waits for its listeners, and then closes what is idle: a request that crosses
// with that would be lost, and not be known to be safe to repeat.
func (h *handshaker) linger() {
	tick := time.NewTicker(goAwayTime / 50)
	defer tick.Stop()
	for end := time.Now().Add(goAwayTime); h.inner.open() > 0 && time.Now().Before(end); {
		<-tick.C
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

// helloTimeout is how long a client may take for its ClientHello, which is one
// packet or two. The rest of a handshake's time is for a certificate.
const helloTimeout = 5 * time.Second

func (h *handshaker) handshake(c net.Conn) {
	ctx, cancel := context.WithTimeout(shingle.WithClient(h.ctx, clientAddr(c)), h.timeout)
	defer cancel()
	_ = c.SetReadDeadline(time.Now().Add(min(helloTimeout, h.timeout))) // the gate lifts it
	secure := tls.Server(c, h.config)
	if err := secure.HandshakeContext(ctx); err != nil {
		h.gate.count(overTCP, outcomeOf(c, err))
		h.log.Debug("handshake failed", "client", c.RemoteAddr().String(), "error", err)
		_ = c.Close()
		return
	}
	if secure.ConnectionState().NegotiatedProtocol == protoACME {
		h.gate.count(overTCP, handshakeChallenge)
		_ = secure.Close() // the handshake was the whole message (RFC 8737 section 3)
		return
	}
	h.gate.count(overTCP, handshakeDone)
	select {
	case h.ready <- secure:
	case <-h.ctx.Done():
		_ = secure.Close()
	}
}
