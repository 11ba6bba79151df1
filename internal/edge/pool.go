package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/shingle-proxy/shingle"
)

// originConn is one HTTP/1.1 connection to an origin. One exchange owns it at a
// time, or the pool, when it is idle.
type originConn struct {
	net.Conn
	origin shingle.Origin
	in     buffer
	out    []byte  // storage for request heads
	fields Fields  // storage for response heads
	raw    rawConn // to see whether the origin closed it meanwhile

	reused    bool
	idleUntil time.Time // the pool closes it then
}

// origins keeps idle connections to every origin, and bounds how many are open.
// The most recently used goes out first, so that a quiet time closes the rest.
type origins struct {
	cfg    *Config
	dialer net.Dialer // for the operator's target; others are held to the policy
	tls    *tls.Config
	slots  chan struct{} // one for each connection in use
	// shares divides them among origins that are domains' own: one that hangs must not
	// take those of all. The operator's target may have every slot.
	shares shares[shingle.Origin]
	errors originErrors

	mu     sync.Mutex
	idle   map[shingle.Origin][]*originConn // oldest first; the sweep removes empty ones
	count  int                              // connections in idle
	sweep  *time.Timer                      // set while idle is not empty
	closed bool
}

func newOrigins(cfg *Config) *origins {
	return &origins{
		cfg:    cfg,
		dialer: net.Dialer{Timeout: cfg.ConnectTimeout},
		tls: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			RootCAs:            cfg.OriginRoots,
			ClientSessionCache: tls.NewLRUClientSessionCache(256),
		},
		slots: make(chan struct{}, cfg.MaxOriginConns),
		idle:  map[shingle.Origin][]*originConn{},
	}
}

// get returns a connection that is idle and still open, or a new one. It waits
// at most the connect time-out for a free slot, then returns
// [shingle.ErrLimited].
func (p *origins) get(ctx context.Context, o shingle.Origin) (*originConn, error) {
	if err := p.takeSlot(ctx, o); err != nil {
		return nil, err
	}
	for {
		c := p.pop(o)
		if c == nil {
			break
		}
		if c.raw.open() {
			c.reused = true
			return c, nil
		}
		_ = c.Close()
	}
	c, err := p.dial(ctx, o)
	if err != nil {
		p.giveSlot(o)
		return nil, err
	}
	return c, nil
}

// takeSlot takes a slot for a connection to an origin.
func (p *origins) takeSlot(ctx context.Context, o shingle.Origin) error {
	if err := p.awaitSlot(ctx); err != nil {
		return err
	}
	if o != p.cfg.Target && !p.shares.take(o, cap(p.slots)-len(p.slots)+1) { // one is taken already
		<-p.slots
		return shingle.Errorf(shingle.CodeLimited, "too many requests are under way to this origin")
	}
	return nil
}

func (p *origins) giveSlot(o shingle.Origin) {
	if o != p.cfg.Target {
		p.shares.give(o)
	}
	<-p.slots
}

func (p *origins) awaitSlot(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	default:
	}
	wait := time.NewTimer(p.cfg.ConnectTimeout)
	defer wait.Stop()
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-wait.C:
		return shingle.Errorf(shingle.CodeLimited, "too many requests are under way to the origin")
	}
}

func (p *origins) pop(o shingle.Origin) *originConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[o]
	if len(list) == 0 {
		return nil
	}
	last := len(list) - 1
	c := list[last]
	list[last] = nil
	p.idle[o] = list[:last]
	p.count--
	return c
}

func (p *origins) dial(ctx context.Context, o shingle.Origin) (*originConn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.ConnectTimeout)
	defer cancel()
	plain, err := p.connect(ctx, o)
	if err != nil {
		return nil, err
	}
	c := &originConn{Conn: plain, origin: o}
	if s, ok := plain.(syscall.Conn); ok {
		c.raw.init(s)
	}
	if o.TLS {
		cfg := p.tls.Clone()
		cfg.ServerName = o.Host
		secure := tls.Client(plain, cfg)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = plain.Close()
			return nil, err
		}
		c.Conn = secure
	}
	c.in.src = c.Conn
	return c, nil
}

// connect dials. An origin that is a domain's own is held to the operator's policy by
// the address that it has now, whatever its name had before.
func (p *origins) connect(ctx context.Context, o shingle.Origin) (net.Conn, error) {
	if o == p.cfg.Target {
		return p.dialer.DialContext(ctx, "tcp", o.Addr())
	}
	held := p.dialer
	held.Control = func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil || !p.cfg.Origins.MayConnect(o, to.Addr()) {
			return errNotAllowed
		}
		return nil
	}
	return held.DialContext(ctx, "tcp", o.Addr())
}

var errNotAllowed = errors.New("the operator's policy (--origins) does not allow this address")

// discard closes a connection that cannot be used again.
func (p *origins) discard(c *originConn) {
	_ = c.Close()
	p.giveSlot(c.origin)
}

// put gives a connection back, between two messages and with nothing unread.
// keep is how long the origin said it stays open, negative when it did not say.
func (p *origins) put(c *originConn, keep time.Duration) {
	defer p.giveSlot(c.origin)
	idle := p.cfg.OriginIdleTimeout
	if keep >= 0 {
		idle = min(idle, keep-time.Second) // leave before the origin does
	}
	c.in.shrink()
	if !p.keep(c, idle) {
		_ = c.Close()
	}
}

func (p *origins) keep(c *originConn, idle time.Duration) bool {
	if idle <= 0 || c.in.r != c.in.w {
		return false
	}
	c.idleUntil = time.Now().Add(idle)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.count >= p.cfg.MaxIdleOriginConns {
		return false
	}
	p.idle[c.origin] = append(p.idle[c.origin], c)
	p.count++
	if p.sweep == nil {
		p.sweep = time.AfterFunc(sweepInterval, p.sweepIdle)
	}
	return true
}

const sweepInterval = time.Second

// sweepIdle closes what was idle for too long, and runs again while there is a list left.
func (p *origins) sweepIdle() {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for o, list := range p.idle {
		keep := list[:0]
		for _, c := range list {
			if now.Before(c.idleUntil) {
				keep = append(keep, c)
				continue
			}
			_ = c.Close()
			p.count--
		}
		clear(list[len(keep):])
		if p.idle[o] = keep; len(keep) == 0 {
			delete(p.idle, o)
		}
	}
	p.sweep = nil
	if len(p.idle) > 0 && !p.closed {
		p.sweep = time.AfterFunc(sweepInterval, p.sweepIdle)
	}
}

// close closes the idle connections. Those in use are closed by their exchanges.
func (p *origins) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.sweep != nil {
		p.sweep.Stop()
	}
	for _, list := range p.idle {
		for _, c := range list {
			_ = c.Close()
		}
	}
	clear(p.idle)
	p.count = 0
}
