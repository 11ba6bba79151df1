package edge

import (
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
func (x *exchange) switchProtocols() error {
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
	if !x.tunnels.add(client, tunnelOwner{x.host, x.r}) {
		return nil
	}
	defer x.tunnels.remove(client)
	t := tunnel{idle: x.cfg.TunnelTimeout}
	t.active.Store(time.Now().UnixNano())
	var both sync.WaitGroup
	both.Go(func() { t.copy(origin.Conn, early, client) })
	t.copy(client, &origin.in, origin.Conn)
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

// tunnel is two streams that share one idle time.
type tunnel struct {
	idle   time.Duration
	active atomic.Int64 // when bytes last moved either way, in Unix nanoseconds
}

// copy moves bytes from src, which reads from conn, to dst until src ends, and
// then closes dst for writing, or both when that is not possible.
func (t *tunnel) copy(dst net.Conn, src io.Reader, conn net.Conn) {
	buf := copyBuffers.Get().(*[copyBufferSize]byte)
	defer copyBuffers.Put(buf)
	for {
		last := time.Unix(0, t.active.Load())
		_ = conn.SetReadDeadline(last.Add(t.idle))
		n, err := src.Read(buf[:])
		if n > 0 {
			now := time.Now()
			t.active.Store(now.UnixNano())
			_ = dst.SetWriteDeadline(now.Add(t.idle))
			if _, err := dst.Write(buf[:n]); err != nil {
				break
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && time.Unix(0, t.active.Load()).After(last) {
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

// tunnelSet is the tunnels that are open, so that a shutdown can end them, and a
// change of what their domains allow.
type tunnelSet struct {
	mu     sync.Mutex
	conns  map[net.Conn]tunnelOwner
	closed bool
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
	for c, of := range s.conns {
		if !admits(of.host, of.r) {
			_ = underTLS(c).Close()
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
func (s *tunnelSet) add(c net.Conn, of tunnelOwner) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.conns == nil {
		s.conns = map[net.Conn]tunnelOwner{}
	}
	s.conns[c] = of
	return true
}

func (s *tunnelSet) remove(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *tunnelSet) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.conns {
		_ = c.Close()
	}
}
