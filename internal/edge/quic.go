package edge

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/time/rate"

	"github.com/shingle-proxy/shingle"
)

// Bounds of QUIC. A connection costs memory for what it may send before it is read;
// its window grows beyond the first one out of a budget of all.
const (
	quicStreams       = 128 // requests under way on a connection, as on HTTP/2
	quicStreamWindow  = 256 << 10
	quicMaxStream     = 1 << 20
	quicConnWindow    = 256 << 10
	quicMaxConn       = 2 << 20
	quicWindowsBudget = 256 << 20

	// Handshakes from addresses that are not proven yet, which anybody can forge. More
	// of them, or quicker ones, prove their address first (RFC 9000 section 8.1.2).
	unprovenHandshakes = 128
	unprovenPerSecond  = 100
	unprovenBurst      = 200

	wantedBuffer = 7 << 20 // of the socket; what quic-go asks the system for

	// goAwayTime is what clients get to take note of GOAWAY, or of an answer that ends
	// their connection, before the connection is closed.
	goAwayTime = 500 * time.Millisecond
)

// quicServer speaks HTTP/3 (RFC 9114) by quic-go and hands requests to a handler in the
// edge's own terms. It owns the socket.
//
// Early data (0-RTT) is not accepted: it can be replayed, what is safe to repeat is
// known to origins alone, and a client certificate is not verified by then.
type quicServer struct {
	cfg       *Config
	gate      *gate
	log       *slog.Logger
	handler   func(context.Context, ResponseWriter, *Request)
	socket    net.PacketConn
	transport quic.Transport
	listener  *quic.Listener // of transport; nil before serve
	http      http3.Server
	traffic   *traffic
	classes   [len(requestClasses)]atomic.Uint64

	slots   chan struct{}
	shares  shares[netip.Prefix]
	windows atomic.Int64 // bytes by which windows have grown

	unproven     *rate.Limiter
	greetings    context.Context // ends the handshakes under way
	endGreetings context.CancelFunc
	greeted      atomic.Int64   // handshakes under way
	open         sync.WaitGroup // connections, from their first packet on

	mu       sync.Mutex
	visits   map[*visit]struct{} // whose handshake is complete
	draining bool

	accepted, refused, retried atomic.Uint64
}

func newQUICServer(cfg *Config, g *gate, t *traffic, h func(context.Context, ResponseWriter, *Request)) *quicServer {
	q := &quicServer{
		cfg: cfg, gate: g, traffic: t, log: cfg.Logger, handler: h, socket: cfg.HTTP3,
		slots: make(chan struct{}, cfg.MaxConns), visits: map[*visit]struct{}{},
		unproven: rate.NewLimiter(unprovenPerSecond, unprovenBurst),
	}
	q.greetings, q.endGreetings = context.WithCancel(context.Background())
	q.transport = quic.Transport{Conn: q.socket, VerifySourceAddress: q.mustProve, ConnContext: q.admit}
	if cfg.ProbeKey != nil {
		// Those of the fleet: an edge can then tell the clients of another one, or of its
		// own process before this one, that their connection is gone, and takes the
		// proofs of address that others gave.
		reset, token := quic.StatelessResetKey(cfg.ProbeKey.Secret("quic reset 1")), quic.TokenGeneratorKey(cfg.ProbeKey.Secret("quic token 1"))
		q.transport.StatelessResetKey, q.transport.TokenGeneratorKey = &reset, &token
	}
	q.http = http3.Server{Handler: q, MaxHeaderBytes: maxHeadSize, Logger: slog.New(slog.DiscardHandler)}
	return q
}

// serve serves until shutdown, and then returns [http.ErrServerClosed].
func (q *quicServer) serve() error {
	l, err := q.transport.Listen(q.gate.quic, &quic.Config{
		HandshakeIdleTimeout:           q.cfg.HandshakeTimeout,
		MaxIdleTimeout:                 q.cfg.IdleTimeout, // no pings of ours: RFC 9114 section 5.1
		InitialStreamReceiveWindow:     quicStreamWindow,
		MaxStreamReceiveWindow:         quicMaxStream,
		InitialConnectionReceiveWindow: quicConnWindow,
		MaxConnectionReceiveWindow:     quicMaxConn,
		AllowConnectionWindowIncrease:  q.mayGrow,
		MaxIncomingStreams:             quicStreams,
		MaxIncomingUniStreams:          8, // control, two of QPACK, and what a client greases with
	})
	if err != nil {
		return err
	}
	q.listener = l
	if size := receiveBuffer(q.socket); size > 0 && size < wantedBuffer {
		q.log.Info("small receive buffer for HTTP/3, packets of bursts may be lost: raise net.core.rmem_max", "bytes", size, "wanted", wantedBuffer)
	}
	if err = q.http.ServeListener(visitors{l, q}); q.greetings.Err() != nil {
		return http.ErrServerClosed
	}
	return err
}

// visitors is the listener of the HTTP/3 server.
type visitors struct {
	*quic.Listener
	server *quicServer
}

// Accept returns the next connection with a complete handshake. It ends before the
// HTTP/3 server does, which then knows of all connections.
func (l visitors) Accept(context.Context) (*quic.Conn, error) {
	for {
		c, err := l.Listener.Accept(l.server.greetings)
		if err != nil {
			return nil, err
		}
		if v := visitOf(c.Context()); v != nil && l.server.enter(v, c) {
			return c, nil
		}
	}
}

// mustProve reports whether the sender of a first packet has to show that it gets
// what is sent to its address.
func (q *quicServer) mustProve(net.Addr) bool {
	if q.greeted.Load() < unprovenHandshakes && q.unproven.Allow() {
		return false
	}
	q.retried.Add(1)
	return true
}

var errNoRoom = errors.New("no room for another connection")

// admit takes in a first packet, if there is room for a connection. A client that is
// refused comes by TCP.
func (q *quicServer) admit(ctx context.Context, client *quic.ClientInfo) (context.Context, error) {
	if err := q.greetings.Err(); err != nil {
		return nil, err
	}
	addr := addrOf(client.RemoteAddr)
	network, known := shingle.Network(addr.Addr())
	select {
	case q.slots <- struct{}{}:
	default:
		q.refused.Add(1)
		return nil, errNoRoom
	}
	if known && !q.shares.take(network, cap(q.slots)-len(q.slots)+1) { // one is taken already
		<-q.slots
		q.refused.Add(1)
		return nil, errNoRoom
	}
	q.accepted.Add(1)
	q.greeted.Add(1)
	v := &visit{server: q}
	v.handshake, v.endHandshake = context.WithTimeout(shingle.WithClient(q.greetings, addr), q.cfg.HandshakeTimeout)
	q.open.Add(1)
	context.AfterFunc(ctx, func() {
		defer q.open.Done()
		q.leave(v, context.Cause(ctx))
		if known {
			q.shares.give(network)
		}
		<-q.slots
	})
	return context.WithValue(ctx, visitKey{}, v), nil
}

// enter takes in that the handshake of v is complete.
func (q *quicServer) enter(v *visit, c *quic.Conn) bool {
	v.endHandshake()
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.Context().Err() != nil {
		return false // leave has run or will find no entry
	}
	v.mu.Lock()
	v.conn = c
	v.idle = time.AfterFunc(q.cfg.IdleTimeout, v.closeIdle)
	v.mu.Unlock()
	q.visits[v] = struct{}{}
	q.gate.count(overQUIC, handshakeDone)
	q.greeted.Add(-1)
	if q.draining {
		v.closeSoon()
	}
	return true
}

// leave takes in that the connection of v has ended.
func (q *quicServer) leave(v *visit, cause error) {
	v.endHandshake()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.windows.Add(-v.grown.Load())
	if _, entered := q.visits[v]; !entered {
		q.gate.count(overQUIC, q.outcomeOf(v, cause))
		q.greeted.Add(-1)
		q.log.Debug("handshake failed", "client", shingle.ClientOf(v.handshake).String(), "error", cause)
		return
	}
	delete(q.visits, v)
	v.idle.Stop()
}

// outcomeOf judges the end of a connection whose handshake was not complete.
func (q *quicServer) outcomeOf(v *visit, cause error) outcome {
	te, isTransport := errors.AsType[*quic.TransportError](cause)
	switch {
	case v.greeting.refusal != outcomeUnknown:
		return v.greeting.refusal
	case q.greetings.Err() != nil:
		return failedShutdown
	case isTimeout(cause):
		return failedTimeout
	case isTransport && te.Remote && !te.ErrorCode.IsCryptoError():
		return failedLeft
	}
	return failedProtocol
}

// mayGrow lets the window of a connection grow out of the budget of all.
func (q *quicServer) mayGrow(c *quic.Conn, delta uint64) bool {
	v := visitOf(c.Context())
	if v == nil || q.windows.Add(int64(delta)) > quicWindowsBudget {
		q.windows.Add(-int64(delta))
		return false
	}
	v.grown.Add(int64(delta))
	return true
}

// shutdown sends GOAWAY, lets requests under way finish until ctx ends, and closes
// the socket. It is called once, and returns when nothing runs any more.
func (q *quicServer) shutdown(ctx context.Context, served <-chan struct{}) {
	q.endGreetings()
	<-served
	q.drain()
	_ = q.http.Shutdown(ctx)
	if q.listener != nil {
		_ = q.listener.Close()
	}
	_ = q.transport.Close()
	q.open.Wait()
	_ = q.socket.Close()
}

// drain closes each connection when it has no request under way any more.
func (q *quicServer) drain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.draining = true
	for v := range q.visits {
		v.closeSoon()
	}
}

// visitKey is the key of a connection's visit in its context.
type visitKey struct{}

func visitOf(ctx context.Context) *visit {
	v, _ := ctx.Value(visitKey{}).(*visit)
	return v
}

// visit is a QUIC connection from its first packet on.
type visit struct {
	server       *quicServer
	greeting     greeting
	handshake    context.Context // with the client's address, and the bound of the handshake's time
	endHandshake context.CancelFunc
	grown        atomic.Int64 // bytes by which its window has grown

	mu      sync.Mutex
	conn    *quic.Conn // nil until the handshake is complete
	running int        // requests under way; they have to end before the connection is closed
	ends    time.Time  // requests that come later are rejected; zero: none are
	idle    *time.Timer
}

// begin takes in that a request has come, and returns how it is to be refused; 0: not at
// all. More than twice as many as there may be has only a client that cancels them to
// begin others (as in CVE-2023-44487).
func (v *visit) begin() http3.ErrCode {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.idle.Stop()
	switch v.running++; {
	case v.running > 2*quicStreams:
		return http3.ErrCodeExcessiveLoad
	case !v.ends.IsZero() && time.Now().After(v.ends):
		return http3.ErrCodeRequestRejected
	}
	return 0
}

// end takes in that a request has been answered.
func (v *visit) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.running--; v.running > 0 {
		return
	}
	if v.ends.IsZero() {
		v.idle.Reset(v.server.cfg.IdleTimeout)
	} else {
		v.idle.Reset(goAwayTime) // in which the answer arrives
	}
}

// closeSoon closes the connection when no request is under way.
func (v *visit) closeSoon() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.ends.IsZero() {
		return
	}
	v.ends = time.Now().Add(goAwayTime)
	if v.running == 0 {
		v.idle.Reset(goAwayTime)
	}
}

// closeIdle closes the connection unless a request is under way. One whose head does
// not end is none, so that nobody holds a connection by it.
func (v *visit) closeIdle() {
	v.mu.Lock()
	idle := v.running == 0
	v.mu.Unlock()
	if idle {
		_ = v.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
	}
}

// addrOf returns the address of a client.
func addrOf(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := u.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
