//go:build unix

package check

import (
	"bufio"
	"context"
	"fmt"
	"iter"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/shingle-proxy/shingle"
)

// serverVariable has this test binary play a DNS server, in a process of its own
// so that its work does not count as the checker's.
const serverVariable = "SHINGLE_TEST_DNS_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(serverVariable) != "" {
		playResolver()
		return
	}
	goleak.VerifyTestMain(m)
}

// playResolver answers for any number of customers: hN.customerN.com is an alias
// of the edge, and has no CAA records. It ends with its standard input.
func playResolver() {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(conn.LocalAddr())
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		os.Exit(0)
	}()
	soa, _ := dns.NewRR("com. 900 SOA a. b. 1 1 1 1 900")
	edge4, _ := dns.NewRR("edge.operator.net. 300 A 11.1.0.1")
	edge6, _ := dns.NewRR("edge.operator.net. 300 AAAA 2a0a:1::1")
	_ = (&dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		name := strings.ToLower(q.Question[0].Name)
		if strings.HasPrefix(name, "h") && q.Question[0].Qtype != dns.TypeCAA {
			m.Answer = append(m.Answer, &dns.CNAME{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 300}, Target: "edge.operator.net.",
			})
		}
		switch q.Question[0].Qtype {
		case dns.TypeA:
			m.Answer = append(m.Answer, edge4)
		case dns.TypeAAAA:
			m.Answer = append(m.Answer, edge6)
		default:
			m.Ns = append(m.Ns, soa)
		}
		_ = w.WriteMsg(m)
	})}).ActivateAndServe()
}

func startResolver(t testing.TB) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverVariable+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func sweepChecker(t testing.TB) *Checker {
	t.Helper()
	c, err := New(Config{
		Targets: []string{"edge.operator.net"}, Resolvers: []string{startResolver(t)}, RootServers: []string{"127.0.0.1:1"},
		CAs: []CA{{Identities: []string{"letsencrypt.org"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func customers(n int) iter.Seq[Request] {
	return func(yield func(Request) bool) {
		for i := range n {
			if !yield(Request{Host: fmt.Sprintf("h%d.customer%d.com", i, i)}) {
				return
			}
		}
	}
}

// sweep checks the hosts that requests yields, at most atOnce at a time.
func sweep(ctx context.Context, requests iter.Seq[Request], atOnce int, check func(Request)) error {
	work := make(chan Request)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for req := range work {
				check(req)
			}
		})
	}
	defer workers.Wait()
	defer close(work)
	for req := range requests {
		select {
		case work <- req:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// sweepDNS checks the DNS of n customers, and returns how many point here.
func sweepDNS(ctx context.Context, c *Checker, n int) (here int64, err error) {
	var good atomic.Int64
	err = sweep(ctx, customers(n), 64, func(req Request) {
		r, err := c.CheckDNS(ctx, req)
		if err == nil && r.Reason == shingle.ReasonPointsHere && r.CAA.Reason == shingle.ReasonCAAAllows {
			good.Add(1)
		}
	})
	return good.Load(), err
}

// TestSweep checks every customer once, and its memory does not grow with them.
func TestSweep(t *testing.T) {
	c := sweepChecker(t)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	if here, err := sweepDNS(t.Context(), c, 200); err != nil || here != 200 {
		t.Fatalf("%d, %v", here, err)
	}
	before := heap()
	const n = 3000
	if here, err := sweepDNS(t.Context(), c, n); err != nil || here != n {
		t.Fatalf("%d, %v", here, err)
	}
	if after := heap(); after > before+2<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sweepDNS(ctx, c, n); err == nil {
		t.Error("an ended sweep says that it is complete")
	}
}

// BenchmarkSweep measures the DNS checks of customers that are well: A, AAAA and
// two CAA questions each, by the resolver. The resolver is another process.
func BenchmarkSweep(b *testing.B) {
	c := sweepChecker(b)
	if _, err := sweepDNS(b.Context(), c, 100); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	used, _ := usage(b)
	start := time.Now()
	here, err := sweepDNS(b.Context(), c, b.N)
	if err != nil || here != int64(b.N) {
		b.Fatalf("%d of %d, %v", here, b.N, err)
	}
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "domains/s")
	after, most := usage(b)
	b.ReportMetric(float64(b.N)/(after-used).Seconds(), "domains/cpu-s")
	b.ReportMetric(float64(most)/1024, "max-rss-MB")
}

// usage is the CPU time that this process has used, and the most memory that it
// had, in KB on Linux.
func usage(b *testing.B) (cpu time.Duration, most int64) {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), int64(u.Maxrss)
}
