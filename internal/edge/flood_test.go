package edge

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// crowd is a listener whose connections come from all over the world: the first
// four bytes that a client sends say from where.
type crowd struct{ net.Listener }

func (l crowd) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	from := make([]byte, 4)
	if _, err := io.ReadFull(c, from); err != nil {
		from = []byte{203, 0, 113, 255}
	}
	return crowdConn{c, &net.TCPAddr{IP: from, Port: 40000}}, nil
}

type crowdConn struct {
	net.Conn
	from net.Addr
}

func (c crowdConn) RemoteAddr() net.Addr { return c.from }

// startCrowded starts an edge whose budgets earn nothing while the test runs.
func startCrowded(t *testing.T, edit ...func(*Config)) *testEdge {
	te := startEdge(t, "http://127.0.0.1:1", append(edit, func(c *Config) {
		_ = c.HTTP3.Close() // one whose server comes up at its own time would be taken for a leak
		c.HTTPS, c.HTTP3 = crowd{c.HTTPS}, nil
	})...)
	l := te.sites.lookups
	l.all = rate.NewLimiter(0, missReadBurst)
	l.networks = shingle.NewLimiter[netip.Prefix](networkMissBurst, time.Hour)
	l.domains = shingle.NewLimiter[string](domainMissBurst, time.Hour)
	return te
}

// dialFrom connects as a client with that address.
func (te *testEdge) dialFrom(t *testing.T, from string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", te.https)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(netip.MustParseAddr(from).AsSlice()); err != nil {
		t.Fatal(err)
	}
	return c
}

// shake makes a handshake for name and closes the connection.
func (te *testEdge) shake(t *testing.T, from, name string) error {
	t.Helper()
	c := te.dialFrom(t, from)
	defer c.Close()
	return tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
}

// flood makes n handshakes, 16 at a time, and wants each refused.
func (te *testEdge) flood(t *testing.T, n int, visit func(i int) (from, name string)) {
	t.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				from, name := visit(i)
				if err := te.shake(t, from, name); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	all.Wait()
}

// calm waits until no more goroutines run than before.
func calm(t *testing.T, before int) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func heap() int64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// TestFlood_InventedNamesFromOneNetwork leaves most of the budget to others.
func TestFlood_InventedNamesFromOneNetwork(t *testing.T) {
	te := startCrowded(t)
	_ = te.shake(t, "192.0.2.1", testHost) // whatever is made once is there
	goroutines, bytes, reads := runtime.NumGoroutine(), heap(), te.store.reads.Load()
	te.flood(t, 2000, func(i int) (string, string) {
		return fmt.Sprintf("203.0.113.%d", i%250), fmt.Sprintf("www.invented%d.test", i)
	})
	if n := te.store.reads.Load() - reads; n != networkMissBurst {
		t.Errorf("%d reads of the store, want %d", n, networkMissBurst)
	}
	if n := te.certs.asked.Load(); n != 1 {
		t.Errorf("%d certificates were asked for", n)
	}
	if n := te.sites.lookups.counts[lookupNetworkLimited].Load(); n < 1900 {
		t.Errorf("%d refusals are counted", n)
	}
	reads = te.store.reads.Load()
	if err := te.shake(t, "198.51.100.1", "www.added-just-now.test"); err == nil || te.store.reads.Load() == reads {
		t.Errorf("another network's look-up: %v, %d reads", err, te.store.reads.Load()-reads)
	}
	calm(t, goroutines)
	if grown := heap() - bytes; grown > 4<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

// TestFlood_SubdomainsOfOneDomain come from everywhere.
func TestFlood_SubdomainsOfOneDomain(t *testing.T) {
	te := startCrowded(t)
	te.flood(t, 1000, func(i int) (string, string) {
		return fmt.Sprintf("198.51.%d.1", i%256), fmt.Sprintf("n%d.victim.test", i)
	})
	if n := te.store.reads.Load(); n > domainMissBurst {
		t.Errorf("%d reads of the store, want at most %d", n, domainMissBurst)
	}
	reads := te.store.reads.Load()
	if _ = te.shake(t, "198.51.7.1", "www.other.test"); te.store.reads.Load() == reads {
		t.Error("another domain cannot be looked up")
	}
}

// TestFlood_LogStaysShort comes while the store is away.
func TestFlood_LogStaysShort(t *testing.T) {
	store := &storetest.FaultyDomainStore{Store: &memory.Store{}}
	store.Inject(storetest.Refuse(shingle.ErrUnavailable))
	var log strings.Builder
	f := newFollower(&Config{Store: store, Logger: slog.New(slog.NewTextHandler(&log, nil))}, newTable(shingle.Origin{Host: "127.0.0.1", Port: 80}, 443, nil))
	for i := range 30 {
		f.find(t.Context(), fmt.Sprintf("www.invented%d.test", i))
	}
	if n := strings.Count(log.String(), "could not be looked up"); n != 1 || f.lookups.counts[lookupFailed].Load() != 30 {
		t.Errorf("%d lines about %d failures", n, f.lookups.counts[lookupFailed].Load())
	}
}

// TestFlood_FromEverywhere meets the bound of all.
func TestFlood_FromEverywhere(t *testing.T) {
	te := startCrowded(t)
	te.flood(t, 1000, func(i int) (string, string) {
		return fmt.Sprintf("%d.%d.1.1", 20+i%100, i/100), fmt.Sprintf("www.invented%d.test", i)
	})
	if n := te.store.reads.Load(); n != missReadBurst {
		t.Errorf("%d reads of the store, want %d", n, missReadBurst)
	}
	if n := len(te.sites.misses); n > missReadBurst {
		t.Errorf("%d names are remembered", n)
	}
	if err := te.shake(t, "203.0.113.1", testHost); err != nil {
		t.Errorf("a domain that is known: %v", err)
	}
}

// TestFlood_SilenceAndGarbage has one network open all connections that it can
// get, say nothing on some, nonsense on others and too little on the rest.
func TestFlood_SilenceAndGarbage(t *testing.T) {
	const places = 32
	te := startCrowded(t, func(c *Config) { c.MaxConns, c.HandshakeTimeout = places, 2*time.Second })
	_ = te.shake(t, "192.0.2.1", testHost) // whatever is made once is there
	goroutines := runtime.NumGoroutine()
	var conns []net.Conn
	for i := range 4 * places {
		c := te.dialFrom(t, fmt.Sprintf("203.0.113.%d", i))
		switch i % 4 {
		case 0:
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		case 1:
			_, _ = c.Write([]byte{22, 3, 1, 0, 200, 1}) // the beginning of a ClientHello
		case 2:
			go func() { _ = tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: "192.0.2.7"}).Handshake() }()
		}
		conns = append(conns, c)
	}
	if err := te.shake(t, "198.51.100.1", testHost); err != nil {
		t.Errorf("a visitor meanwhile: %v", err)
	}
	if n := len(te.Edge.https.slots); n > places/2+2 { // the visitor's, and one for the next connection
		t.Errorf("one network holds %d of %d places", n, places)
	}
	if te.Edge.https.refused.Load() == 0 {
		t.Error("no connection was refused")
	}
	for _, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := io.Copy(io.Discard, c); isTimeout(err) {
			t.Fatalf("a connection is still open: %v", err)
		}
		_ = c.Close()
	}
	calm(t, goroutines)
	for _, o := range []outcome{failedGarbage, failedTimeout, refusedName} {
		if te.gate.counts[overTCP][o].Load() == 0 {
			t.Errorf("%s is not counted", outcomeNames[o])
		}
	}
	held := func() int {
		te.Edge.https.shares.mu.Lock()
		defer te.Edge.https.shares.mu.Unlock()
		return len(te.Edge.https.shares.held)
	}
	for deadline := time.Now().Add(time.Minute); held() > 0; time.Sleep(time.Millisecond) { // the first visitor's may be of before the count of goroutines
		if time.Now().After(deadline) {
			t.Fatalf("%d networks hold places", held())
		}
	}
}

// TestShares_RoomForTheNext has network after network take all it can get.
func TestShares_RoomForTheNext(t *testing.T) {
	const places = 120
	var s shares[netip.Prefix]
	total := 0
	for i, want := range []int{60, 30, 15, 8, 4} { // each half of what is left
		network := netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i), 0, 0}), 24)
		held := 0
		for s.take(network, places-total) {
			held++
			total++
		}
		if held != want && held != want-1 {
			t.Errorf("network %d holds %d", i, held)
		}
	}
	if places-total < 2 {
		t.Errorf("%d places are left", places-total)
	}
}

// BenchmarkGate is what a handshake for a name that is allowed and has its
// certificate in memory costs outside of crypto/tls.
func BenchmarkGate(b *testing.B) {
	te := startEdge(b, "http://127.0.0.1:1")
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	hello := &tls.ClientHelloInfo{ServerName: testHost, SupportedProtos: []string{"h2", "http/1.1"}, Conn: &clientConn{Conn: ours}}
	b.ReportAllocs()
	for range b.N {
		if _, err := te.gate.admit(hello); err != nil {
			b.Fatal(err)
		}
		if _, err := te.gate.base.GetCertificate(hello); err != nil {
			b.Fatal(err)
		}
	}
}
