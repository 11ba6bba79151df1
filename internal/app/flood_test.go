package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestFlood_AskServiceAndCA floods a whole Shingle, whose ask service says yes to
// everything, with names below one domain and with invented ones.
func TestFlood_AskServiceAndCA(t *testing.T) {
	var questions atomic.Int64
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		questions.Add(1)
		if !strings.HasSuffix(r.URL.Query().Get("domain"), ".customer.localhost") {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer service.Close()
	r := runDev(t, Config{AskURL: service.URL})
	visit(t, r.client(true), ExampleHost, 2)
	before := runtime.NumGoroutine()

	start := time.Now()
	flood := func(n int, name string) {
		var next atomic.Int64
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				for i := next.Add(1); i <= int64(n); i = next.Add(1) {
					greetWith(t, r.HTTPS, fmt.Sprintf(name, i))
				}
			})
		}
		all.Wait()
	}
	flood(400, "n%d.customer.localhost")
	below := questions.Load()
	if most := askBurst + 1 + int64(time.Since(start)/askEvery); below > most {
		t.Errorf("%d questions about names below one domain, at most %d wanted", below, most)
	}
	flood(400, "www.invented%d.test")
	// The edge lets 100 look-ups pass at once and 50 a second: two for a name.
	if most := below + 100 + 50*int64(time.Since(start)/time.Second+1); questions.Load() > most {
		t.Errorf("%d questions, at most %d wanted", questions.Load(), most)
	}
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before+64; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) { // the idle connections to the service stay for a while
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
	visit(t, r.client(true), ExampleHost, 2)
}

// greetWith begins a handshake and leaves: what matters is what it sets off.
func greetWith(t *testing.T, addr, name string) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	_ = tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: true}).HandshakeContext(ctx)
}
