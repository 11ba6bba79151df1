package edge

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// switchProtocols passes the origin's 101 on and then copies bytes both ways
// until both sides have finished or neither speaks for the tunnel time-out
// (RFC 9110 section 7.8).
func (x *exchange) switchProtocols(ctx context.Context) error {
	header := appendUpgradeHead(nil, &x.head)
	client, early, err := x.w.Hijack()
	if err != nil {
		return errBadFraming // the engine's protocol version cannot switch
	}
	x.began = true
	x.unwatch() // a client that only ends its own direction has not left
	origin := x.conn
	x.conn = nil
	defer x.pool.discard(origin)
	defer client.Close()
	_ = origin.SetDeadline(time.Time{})
	_ = client.SetDeadline(time.Now().Add(x.cfg.StallTimeout))
	if _, err := client.Write(header); err != nil {
		return nil
	}
	t := &tunnel{client: client, origin: origin.Conn, idle: x.cfg.TunnelTimeout}
	if equalFold(x.head.header.Get("Upgrade"), "websocket") {
		t.sent = &frames{}
	}
	t.active.Store(time.Now().UnixNano())
	if !x.tunnels.add(t, tunnelOwner{x.host, x.r}) {
		return nil
	}
	defer x.tunnels.remove(t)
	if errors.Is(context.Cause(ctx), errRevoked) { // before it was a tunnel
		return nil
	}
	in := countedReader{early, func(n int) { x.traffic.pass(x.r.domain, n, 0) }}
	out := countedReader{&origin.in, func(n int) { x.traffic.pass(x.r.domain, 0, n) }}
	var both sync.WaitGroup
	both.Go(func() { t.copy(origin.Conn, in, client, nil) })
	t.copy(client, out, origin.Conn, t.sent)
	both.Wait()
	return nil
}

// appendUpgradeHead appends the 101 as the client gets it.
func appendUpgradeHead(b []byte, h *responseHead) []byte {
	b = append(b, "HTTP/1.1 101 Switching Protocols\r\n"...)
	upgrade := h.header.Get("Upgrade")
	for _, f := range responseFields(h.header) {
		if !equalFold(f.Name, "Content-Length") {
			b = appendField(b, f.Name, f.Value)
		}
	}
	b = append(b, "Connection: Upgrade\r\n"...)
	if upgrade != "" {
		b = appendField(b, "Upgrade", upgrade)
	}
	return append(b, "\r\n"...)
}

// closeTime is what both sides of a WebSocket get to close it when the edge goes away.
const closeTime = 2 * time.Second

// tunnel is two streams that share one idle time.
type tunnel struct {
	client, origin net.Conn
	idle           time.Duration
	active         atomic.Int64 // when bytes last moved either way, in Unix nanoseconds
	sent           *frames      // what the origin has sent; nil: it is no WebSocket
	leaving        atomic.Bool  // the edge goes away
}

// leave ends the tunnel, a WebSocket by words.
func (t *tunnel) leave() {
	if t.sent == nil {
		_ = underTLS(t.client).Close()
		return
	}
	t.leaving.Store(true) // before the deadline: copy looks after it has set its own
	_ = t.origin.SetReadDeadline(aLongTimeAgo)
}

// copy moves bytes from src, which reads from conn, to dst until src ends, and
// then closes dst for writing, or both when that is not possible. sent, which is not nil
// for what the origin of a WebSocket sends, follows them.
func (t *tunnel) copy(dst net.Conn, src io.Reader, conn net.Conn, sent *frames) {
	buf := copyBuffers.Get().(*[copyBufferSize]byte)
	defer copyBuffers.Put(buf)
	for {
		last := time.Unix(0, t.active.Load())
		_ = conn.SetReadDeadline(last.Add(t.idle))
		if sent != nil && t.leaving.Load() {
			t.sayGoodbye(src, buf[:])
			break
		}
		n, err := src.Read(buf[:])
		if n > 0 && !t.pass(dst, buf[:n], sent) {
			break
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && (time.Unix(0, t.active.Load()).After(last) || t.leaving.Load()) {
			continue // the other direction was active
		}
		if err == nil {
			continue
		}
		if half, ok := dst.(interface{ CloseWrite() error }); ok && errors.Is(err, io.EOF) && half.CloseWrite() == nil {
			return
		}
		break
	}
	_ = dst.Close()
	_ = conn.Close()
}

// countedReader tells how much is read.
type countedReader struct {
	io.Reader
	count func(n int)
}

// Read implements io.Reader.
func (r countedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.count(n)
	}
	return n, err
}

// pass writes p to dst. It reports whether it could.
func (t *tunnel) pass(dst net.Conn, p []byte, sent *frames) bool {
	now := time.Now()
	t.active.Store(now.UnixNano())
	_ = dst.SetWriteDeadline(now.Add(t.idle))
	if sent != nil {
		sent.follow(p)
	}
	_, err := dst.Write(p)
	return err == nil
}

// sayGoodbye tells the client that the edge goes away, when the frame under way is
// through. Its answer goes to the origin, which closes the connection then (RFC 6455
// section 7.1.1); that is waited for.
func (t *tunnel) sayGoodbye(src io.Reader, buf []byte) {
	until := time.Now().Add(closeTime)
	_, _ = t.origin.SetReadDeadline(until), t.client.SetWriteDeadline(until)
	for !t.sent.between() {
		n, err := src.Read(buf)
		if _, failed := t.client.Write(buf[:t.sent.finish(buf[:n])]); failed != nil || err != nil {
			return
		}
	}
	if !t.sent.closed {
		if _, err := t.client.Write(goingAway); err != nil {
			return
		}
	}
	_, _ = io.Copy(io.Discard, src)
}

// tunnelSet is the tunnels that are open, so that a shutdown can end them, and a
// change of what their domains allow.
type tunnelSet struct {
	mu     sync.Mutex
	open   map[*tunnel]tunnelOwner
	closed bool
	ended  sync.WaitGroup
}

// tunnelOwner is whose a tunnel is. The request is valid as long as the tunnel is open.
type tunnelOwner struct {
	host string // as normalised
	r    *Request
}

// review ends the tunnels that would not be let in any more.
func (s *tunnelSet) review(admits func(host string, r *Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for t, of := range s.open {
		if !admits(of.host, of.r) {
			_ = underTLS(t.client).Close()
		}
	}
}

// underTLS is the connection itself: to close that waits for nobody.
func underTLS(c net.Conn) net.Conn {
	if secure, ok := c.(interface{ NetConn() net.Conn }); ok {
		return secure.NetConn()
	}
	return c
}

// add reports false when the set was closed.
func (s *tunnelSet) add(t *tunnel, of tunnelOwner) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.open == nil {
		s.open = map[*tunnel]tunnelOwner{}
	}
	s.open[t] = of
	s.ended.Add(1)
	return true
}

func (s *tunnelSet) remove(t *tunnel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, t)
	s.ended.Done()
}

// shutdown ends the tunnels and waits for that. None is added any more.
func (s *tunnelSet) shutdown() {
	s.mu.Lock()
	s.closed = true
	for t := range s.open {
		t.leave()
	}
	s.mu.Unlock()
	s.ended.Wait()
}
