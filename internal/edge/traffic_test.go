package edge

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// counted takes the traffic until there are that many requests, which count when they
// end: shortly after their client has the answer.
func (te *testEdge) counted(t *testing.T, requests uint64) map[string]shingle.Traffic {
	t.Helper()
	sum, all := map[string]shingle.Traffic{}, uint64(0)
	for end := time.Now().Add(10 * time.Second); all < requests; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d requests, not %d: %v", all, requests, sum)
		}
		te.TakeTraffic(time.Now(), func(domain string, n shingle.Traffic) {
			is := sum[domain]
			is.Add(&n)
			sum[domain], all = is, all+n.Requests()
		})
	}
	return sum
}

func TestTraffic_CountsByDomain(t *testing.T) {
	down := "http://127.0.0.1:1"
	url := origin(t, func(w http.ResponseWriter, r *http.Request) {
		switch _, _ = io.Copy(io.Discard, r.Body); r.URL.Path {
		case "/missing":
			http.NotFound(w, r)
		case "/broken":
			http.Error(w, "broken", http.StatusServiceUnavailable)
		case "/cut":
			panic(http.ErrAbortHandler)
		default:
			_, _ = io.WriteString(w, "hello")
		}
	})
	allProtocols(t, func(t *testing.T, major int) {
		te := startEdge(t, url, func(c *Config) {
			c.Store.(*testStore).domains = []shingle.Domain{
				{Host: testHost}, {Host: "*.customer.test"}, {Host: "down.customer.test", Origin: down}, {Host: "customer.test", Redirect: "www.customer.test"},
				{Host: "closed.customer.test", Settings: `{"maintenance":{"on":true}}`}, {Host: "denied.customer.test", Settings: `{"access":{"allow":["192.0.2.1"]}}`},
			}
		})
		c := te.client(t, major)
		for _, path := range []string{"/", "/missing", "/broken", "/broken", "/cut", shingle.ProofPath} {
			get(t, c, "https://"+testHost+path)
		}
		resp, err := c.Post("https://"+testHost, "text/plain", strings.NewReader("a body of some bytes"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		for _, host := range []string{"down", "any", "other", "closed", "denied"} {
			get(t, c, "https://"+host+".customer.test/")
		}
		get(t, c, "https://customer.test/")
		get(t, te.client(t, 1), "http://"+testHost+"/") // not over TLS
		if _, err := c.Get("https://never.test/"); err == nil {
			t.Fatal("an unknown name was answered")
		}
		sum := te.counted(t, 12)
		page := func(p page) uint64 { return uint64(len(p.text)) }
		want := map[string]shingle.Traffic{
			testHost: {
				Answers: [6]uint64{2: 2, 4: 1, 5: 3}, Origin5xx: 2, OriginErrors: 1,
				BytesIn: 20, BytesOut: 2*5 + uint64(len("404 page not found\n")) + 2*uint64(len("broken\n")) + page(pageBadGateway),
			},
			"*.customer.test":      {Answers: [6]uint64{2: 2}, BytesOut: 10},
			"down.customer.test":   {Answers: [6]uint64{5: 1}, OriginErrors: 1, BytesOut: page(pageBadGateway)},
			"closed.customer.test": {Answers: [6]uint64{5: 1}, BytesOut: page(pageMaintenance)},
			"denied.customer.test": {Answers: [6]uint64{4: 1}, Refused: 1, BytesOut: page(pageForbidden)},
			"customer.test":        {Answers: [6]uint64{3: 1}, BytesOut: page(pageMoved)},
		}
		for domain, n := range want {
			if sum[domain] != n {
				t.Errorf("%s: %+v, not %+v", domain, sum[domain], n)
			}
		}
		if len(sum) != len(want) {
			t.Errorf("also %v", sum)
		}
	})
}

func TestTraffic_CountsTunnelsAsTheyPass(t *testing.T) {
	te := startEdge(t, echoTunnels(t))
	if err := echoes(openTunnel(t, te, testHost)); err != nil {
		t.Fatal(err)
	}
	var n shingle.Traffic
	te.TakeTraffic(time.Now(), func(_ string, more shingle.Traffic) { n.Add(&more) })
	if n != (shingle.Traffic{BytesIn: 4, BytesOut: 4}) {
		t.Errorf("an open tunnel: %+v", n)
	}
	te.stop()
	if is := te.counted(t, 1)[testHost]; is.Answers[1] != 1 {
		t.Errorf("one that has ended: %+v", is)
	}
}

func TestTraffic_IdleAndDeletedDomainsGo(t *testing.T) {
	var tr traffic
	now := time.Now()
	take := func(after time.Duration) (n uint64) {
		tr.take(now.Add(after), func(_ string, is shingle.Traffic) { n += is.Requests() })
		return n
	}
	request := &Request{domain: testHost}
	tr.add(request, 200, 0, 1)
	late := tr.of(testHost) // of a request that ends only now and then
	if n := take(0); n != 1 {
		t.Errorf("%d", n)
	}
	if take(time.Minute); tr.count.Load() != 1 {
		t.Error("the counters were gone at once")
	}
	if take(forgetAfter); tr.count.Load() != 0 {
		t.Error("the counters stay")
	}
	late.answers[2].Add(1)
	if n := take(2*forgetAfter - 1); n != 1 {
		t.Errorf("what came late counts %d", n)
	}
	if take(2 * forgetAfter); len(tr.forgotten) != 0 {
		t.Error("forgotten counters stay")
	}
	tr.add(request, 200, 0, 1)
	tr.forget(testHost)
	if n := take(0); n != 0 || tr.count.Load() != 0 {
		t.Errorf("a deleted domain has %d", n)
	}
}

func TestTraffic_IsBounded(t *testing.T) {
	var tr traffic
	for i := range maxCounted + 10 {
		tr.add(&Request{domain: fmt.Sprint("h", i, ".customer.test")}, 200, 0, 0)
	}
	if n, left := tr.count.Load(), tr.left.Load(); n != maxCounted || left != 10 {
		t.Errorf("%d domains are counted, %d requests left out", n, left)
	}
}

func TestTraffic_LosesNothing(t *testing.T) {
	var tr traffic
	const each, workers = 2000, 8
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := range each {
				tr.add(&Request{domain: fmt.Sprint("h", i%7)}, 200, 0, 1)
			}
		})
	}
	var n, bytes uint64
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
		}
		tr.take(time.Now(), func(_ string, is shingle.Traffic) { n += is.Requests(); bytes += is.BytesOut })
	}
	tr.take(time.Now(), func(_ string, is shingle.Traffic) { n += is.Requests(); bytes += is.BytesOut })
	if n != each*workers || bytes != n {
		t.Errorf("%d requests with %d bytes", n, bytes)
	}
}

// BenchmarkTraffic is what counting adds to a request.
func BenchmarkTraffic(b *testing.B) {
	var tr traffic
	requests := make([]Request, 1<<16)
	for i := range requests {
		requests[i].domain = host(i)
		tr.of(host(i))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 1) % len(requests)
		tr.add(&requests[i], 200, 100, 1000)
	}
}
