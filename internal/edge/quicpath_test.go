package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/shingle-proxy/shingle"
)

// relay passes datagrams between one client and an edge, as an address translator or a
// balancer does, and can change both sides.
type relay struct {
	t      *testing.T
	front  net.PacketConn
	client atomic.Pointer[net.Addr]
	mu     sync.Mutex
	to     net.Addr
	back   net.PacketConn
	all    sync.WaitGroup
}

func newRelay(t *testing.T, to *testEdge) *relay {
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{t: t, front: front}
	r.lead(to)
	r.all.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := front.ReadFrom(buf)
			if err != nil {
				return
			}
			r.client.Store(&from)
			r.mu.Lock()
			_, _ = r.back.WriteTo(buf[:n], r.to)
			r.mu.Unlock()
		}
	})
	t.Cleanup(func() { _ = front.Close(); _ = r.back.Close(); r.all.Wait() })
	return r
}

// lead has the client's datagrams come to an edge from a new port.
func (r *relay) lead(to *testEdge) {
	back, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	addr, err := net.ResolveUDPAddr("udp", to.https)
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.back != nil {
		_ = r.back.Close()
	}
	r.back, r.to = back, addr
	r.all.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, _, err := back.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = r.front.WriteTo(buf[:n], *r.client.Load())
		}
	})
}

// clientOver returns a client with one connection through the relay, which is sent
// there too.
func (te *testEdge) clientOver(t *testing.T, r *relay) (*http.Client, chan *quic.Conn) {
	conns := make(chan *quic.Conn, 4)
	through := &testEdge{https: r.front.LocalAddr().String()}
	tr := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: te.certs.roots}, Dial: func(ctx context.Context, _ string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
		conn, err := through.dialQUIC(ctx, t, c, q)
		if err == nil {
			conns <- conn
		}
		return conn, err
	}}
	t.Cleanup(func() { _ = tr.Close() })
	return &http.Client{Transport: tr}, conns
}

// TestHTTP3_ConnectionOutlivesItsPath: a client behind an address translator gets another
// port, and goes on.
func TestHTTP3_ConnectionOutlivesItsPath(t *testing.T) {
	te := startEdge(t, helloOrigin(t))
	r := newRelay(t, te)
	c, conns := te.clientOver(t, r)
	for range 3 {
		if resp, _ := get(t, c, "https://"+testHost+"/"); resp.StatusCode != 200 {
			t.Fatalf("got %d", resp.StatusCode)
		}
		r.lead(te)
	}
	if len(conns) != 1 {
		t.Errorf("%d connections, want 1", len(conns))
	}
}

// TestHTTP3_AnotherEdgeEndsALostConnection: a flow that comes to an edge which knows
// nothing of it is told so at once, by the key of the fleet.
func TestHTTP3_AnotherEdgeEndsALostConnection(t *testing.T) {
	key := shingle.ProbeKey{1, 2, 3}
	withKey := func(c *Config) { c.ProbeKey = &key }
	first, next := startEdge(t, helloOrigin(t), withKey), startEdge(t, helloOrigin(t), withKey)
	r := newRelay(t, first)
	c, conns := first.clientOver(t, r)
	get(t, c, "https://"+testHost+"/")
	conn := <-conns
	r.lead(next)
	for conn.Context().Err() == nil { // a reset has the size of a small packet, and answers none that is smaller
		if s, err := conn.OpenStream(); err == nil {
			_, _ = s.Write(make([]byte, 1000))
		}
		select {
		case <-conn.Context().Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	if _, ok := errors.AsType[*quic.StatelessResetError](context.Cause(conn.Context())); !ok {
		t.Errorf("ended by %v, want a stateless reset", context.Cause(conn.Context()))
	}
}

// TestHTTP3_FloodOfFirstPackets sends more of them than may be unproven, for names that
// strangers invent: those beyond have to prove their address, and nothing stays.
func TestHTTP3_FloodOfFirstPackets(t *testing.T) {
	te := startEdge(t, helloOrigin(t))
	get(t, te.client(t, 3), "https://"+testHost+"/") // whatever is made once is there
	before := runtime.NumGoroutine()
	const unproven = 50
	te.quic.unproven.SetLimit(0)
	te.quic.unproven.SetBurst(unproven)
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tr := &quic.Transport{Conn: socket}
	to, _ := net.ResolveUDPAddr("udp", te.https)
	var next atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for next.Add(1) <= 4*unproven {
				_, err := tr.Dial(t.Context(), to, &tls.Config{ServerName: "x" + host(int(next.Load())), InsecureSkipVerify: true, NextProtos: []string{"h3"}}, nil)
				if quicAlert(err) != alertUnrecognizedName {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	all.Wait()
	_ = tr.Close()
	_ = socket.Close()
	if n := te.quic.retried.Load(); n < 3*unproven {
		t.Errorf("%d of %d first packets had to prove their address", n, 4*unproven)
	}
	if n := te.certs.asked.Load(); n != 1 {
		t.Errorf("%d certificates were asked for", n)
	}
	if n := te.store.reads.Load(); n > missReadBurst+missReadsPerSecond*20 {
		t.Errorf("%d reads of the store", n)
	}
	te.ungreeted(t)
	calm(t, before+2)
	for deadline := time.Now().Add(time.Minute); len(te.quic.slots) > 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d places are held", len(te.quic.slots))
		}
	}
}

// TestHTTP3_PlacesAreBounded: whom there is no place for is refused, and comes by TCP.
func TestHTTP3_PlacesAreBounded(t *testing.T) {
	te := startEdge(t, helloOrigin(t), func(c *Config) { c.MaxConns = 4 })
	dial := func() error {
		_, err := te.dialQUIC(t.Context(), t, &tls.Config{ServerName: testHost, RootCAs: te.certs.roots, NextProtos: []string{"h3"}}, nil)
		return err
	}
	for range 4 {
		if err := dial(); err != nil {
			t.Fatal(err)
		}
	}
	te2, ok := errors.AsType[*quic.TransportError](dial())
	if !ok || te2.ErrorCode != quic.ConnectionRefused {
		t.Errorf("the fifth connection in 4 places: %v", te2)
	}
	if resp, _ := get(t, te.client(t, 2), "https://"+testHost+"/"); resp.StatusCode != 200 || te.quic.refused.Load() == 0 {
		t.Errorf("by TCP: %d, with %d refused", resp.StatusCode, te.quic.refused.Load())
	}
}

// TestHTTP3_RequestsThatAreCancelledAtOnce end the connection of a client that goes on
// with it: a slow end of the last ones must not let it have any number under way.
func TestHTTP3_RequestsThatAreCancelledAtOnce(t *testing.T) {
	v := &visit{server: &quicServer{cfg: &Config{IdleTimeout: time.Hour}}, idle: time.NewTimer(time.Hour)}
	for range 2 * quicStreams {
		if code := v.begin(); code != 0 {
			t.Fatalf("refused by %s", code)
		}
	}
	if code := v.begin(); code != http3.ErrCodeExcessiveLoad {
		t.Errorf("one too many: %s", code)
	}
}
