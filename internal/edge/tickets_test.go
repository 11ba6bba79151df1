package edge

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// testKeys hands out what is sent on the channel.
type testKeys chan [][32]byte

func (k testKeys) FollowTicketKeys(ctx context.Context, set func([][32]byte)) {
	for {
		select {
		case keys := <-k:
			set(keys)
		case <-ctx.Done():
			return
		}
	}
}

// visitor is a TLS client that remembers sessions.
type visitor struct {
	t       *testing.T
	cache   tls.ClientSessionCache
	version uint16
}

func newVisitor(t *testing.T, version uint16) *visitor {
	return &visitor{t, tls.NewLRUClientSessionCache(8), version}
}

// forger offers the session of whatever host it has one for.
type forger struct{ tls.ClientSessionCache }

func (f forger) Get(string) (*tls.ClientSessionState, bool) {
	return f.ClientSessionCache.Get(testHost)
}

// visit makes one request under host, and reports whether its connection
// resumed a session.
func (v *visitor) visit(te *testEdge, host string) (resumed bool, err error) {
	v.t.Helper()
	c, err := tls.Dial("tcp", te.https, &tls.Config{
		ServerName: host, RootCAs: te.certs.roots, ClientSessionCache: v.cache, MaxVersion: v.version, NextProtos: []string{"http/1.1"},
	})
	if err != nil {
		return false, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n"); err != nil {
		return false, err
	}
	_, err = io.Copy(io.Discard, c) // a TLS 1.3 ticket comes with the answer
	return c.ConnectionState().DidResume, err
}

func (v *visitor) want(te *testEdge, host string, resumed bool) {
	v.t.Helper()
	if got, err := v.visit(te, host); err != nil || got != resumed {
		v.t.Fatalf("%s: resumed %v, %v, want %v", host, got, err, resumed)
	}
}

func bothVersions(t *testing.T, f func(t *testing.T, v *visitor)) {
	t.Run("1.2", func(t *testing.T) { f(t, newVisitor(t, tls.VersionTLS12)) })
	t.Run("1.3", func(t *testing.T) { f(t, newVisitor(t, tls.VersionTLS13)) })
}

func helloOrigin(t *testing.T) string {
	return origin(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
}

// startFleet starts two edges that share certificates and ticket keys.
func startFleet(t *testing.T) (a, b *testEdge, set func(keys ...byte)) {
	shared, keysA, keysB := newTestCerts(t), make(testKeys), make(testKeys)
	url := helloOrigin(t)
	a = startEdge(t, url, func(c *Config) { c.Certificates, c.TicketKeys = shared, keysA })
	b = startEdge(t, url, func(c *Config) { c.Certificates, c.TicketKeys = shared, keysB })
	a.certs, b.certs = shared, shared
	set = func(ids ...byte) {
		var keys [][32]byte
		for _, id := range ids {
			keys = append(keys, [32]byte{id})
		}
		for range 2 { // the second is taken when the first is set
			keysA <- keys
			keysB <- keys
		}
	}
	return a, b, set
}

func TestTickets_ResumeAtAnotherEdgeAndAfterRotation(t *testing.T) {
	bothVersions(t, func(t *testing.T, v *visitor) {
		a, b, set := startFleet(t)
		set(1)
		v.want(a, testHost, false)
		v.want(b, testHost, true)
		v.want(a, strings.ToUpper(testHost), false) // another session for the client's cache
		set(2, 1)
		v.want(a, testHost, true)
		set(3, 2) // what was sealed under 1 is gone, but the last visit renewed it
		v.want(b, testHost, true)
		set(5, 4)
		v.want(b, testHost, false)
		v.want(a, testHost, true)
	})
}

func TestTickets_OwnKeysWithoutAFleet(t *testing.T) {
	bothVersions(t, func(t *testing.T, v *visitor) {
		te := startEdge(t, helloOrigin(t))
		v.want(te, testHost, false)
		v.want(te, testHost, true)
	})
}

func TestTickets_NoResumptionUnderAnotherHost(t *testing.T) {
	bothVersions(t, func(t *testing.T, v *visitor) {
		te := startEdge(t, helloOrigin(t))
		v.want(te, testHost, false)
		v.want(te, testHost, true)
		v.cache = forger{v.cache}
		v.want(te, "other.customer.test", false) // its certificate is valid for both names
	})
}

func TestTickets_NoResumptionForADomainThatWent(t *testing.T) {
	bothVersions(t, func(t *testing.T, v *visitor) {
		for name, change := range map[string]func(*testEdge){
			"deleted": func(te *testEdge) { te.table.remove(testHost) },
			"paused":  func(te *testEdge) { te.table.set(&shingle.Domain{Host: testHost, Paused: true}) },
		} {
			te := startEdge(t, helloOrigin(t))
			v.cache = tls.NewLRUClientSessionCache(1)
			v.want(te, testHost, false)
			v.want(te, testHost, true)
			change(te)
			if _, err := v.visit(te, testHost); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// BenchmarkHandshake measures full handshakes with and without the binding of
// sessions to hosts, and resumed ones.
func BenchmarkHandshake(b *testing.B) {
	certs := newTestCerts(b)
	g := newGate(nil, certs)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for _, x := range []struct {
		name          string
		bound, resume bool
	}{{"full", true, false}, {"full-unbound", false, false}, {"resumed", true, true}, {"resumed-unbound", false, true}} {
		b.Run(x.name, func(b *testing.B) {
			server := &tls.Config{GetCertificate: g.base.GetCertificate}
			if x.bound {
				bindSessions(server)
			}
			client := &tls.Config{ServerName: testHost, RootCAs: certs.roots, ClientSessionCache: noSessions{}}
			if x.resume {
				client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				handshake(b, l, server, client)
			}
			for b.Loop() {
				if handshake(b, l, server, client) != x.resume {
					b.Fatal("not as wanted")
				}
			}
		})
	}
}

// noSessions makes a client ask for tickets that it never uses.
type noSessions struct{}

func (noSessions) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (noSessions) Put(string, *tls.ClientSessionState)        {}

// handshake reports whether it resumed a session.
func handshake(b *testing.B, l net.Listener, server, client *tls.Config) bool {
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		srv := tls.Server(s, server)
		_, _ = srv.Write([]byte("x"))
		_ = srv.Close()
	}()
	conn := tls.Client(c, client)
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil { // with it comes the ticket
		b.Fatal(err)
	}
	_ = c.(*net.TCPConn).SetLinger(0) // thousands of ports in TIME_WAIT are no part of it
	return conn.ConnectionState().DidResume
}
