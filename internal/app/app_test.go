package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

// endBound is how long everything may take to end.
const endBound = 10 * time.Second

// running is a Dev in this process.
type running struct {
	Endpoints
	roots *x509.CertPool
	stop  func() error // ends it and returns what Dev returned
}

func runDev(t *testing.T, cfg Config) *running {
	t.Helper()
	cfg.EdgeHTTPS, cfg.EdgeHTTP, cfg.Control = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Data, cfg.Logger = t.TempDir(), slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan Endpoints, 1), make(chan error, 1)
	go func() { ended <- Dev(ctx, cfg, func(e Endpoints) { ready <- e }) }()
	r := &running{stop: sync.OnceValue(func() error { cancel(); return <-ended })}
	t.Cleanup(func() { _ = r.stop() })
	select {
	case r.Endpoints = <-ready:
	case err := <-ended:
		ended <- err
		t.Fatalf("Dev ended: %v", err)
	}
	pem, err := os.ReadFile(r.RootPath)
	if err != nil {
		t.Fatal(err)
	}
	r.roots = x509.NewCertPool()
	r.roots.AppendCertsFromPEM(pem)
	return r
}

// client visits every host at the edge.
func (r *running) client(http2 bool) *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: r.roots}, ForceAttemptHTTP2: http2,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, r.HTTPS)
		},
	}}
}

func visit(t *testing.T, c *http.Client, host string, major int) {
	t.Helper()
	resp, err := c.Get("https://" + host + "/?format=json")
	if err != nil {
		t.Error(err)
		return
	}
	defer resp.Body.Close()
	var seen struct{ Header http.Header }
	if err := json.NewDecoder(resp.Body).Decode(&seen); err != nil || seen.Header.Get("User-Custom-Domain") != host {
		t.Errorf("the origin saw %v, %v", seen.Header, err)
	}
	if resp.ProtoMajor != major {
		t.Errorf("answered by %s", resp.Proto)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
}

// TestDev_EveryGoroutineEnds leaves connections open, of HTTP/2 and of a
// WebSocket, and looks for what outlives the end.
func TestDev_EveryGoroutineEnds(t *testing.T) {
	before := goleak.IgnoreCurrent()
	// Pebble has no way to end its validator's loop; `shingle dev` has one CA
	// for the life of the process.
	pebbles := goleak.IgnoreTopFunction("github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks")
	r := runDev(t, Config{})
	h2, h1 := r.client(true), r.client(false)
	visit(t, h2, ExampleHost, 2)
	ws, _, err := websocket.Dial(t.Context(), "wss://"+ExampleHost+"/ws", &websocket.DialOptions{HTTPClient: h1})
	if err != nil {
		t.Fatal(err)
	}
	if err := ws.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, message, err := ws.Read(t.Context()); err != nil || string(message) != "hello" {
		t.Fatalf("got %q, %v", message, err)
	}

	start := time.Now()
	if err := r.stop(); err != nil {
		t.Errorf("Dev: %v", err)
	}
	if took := time.Since(start); took > endBound {
		t.Errorf("the end took %s", took)
	}
	if _, _, err := ws.Read(t.Context()); err == nil {
		t.Error("the WebSocket is still open")
	}
	h1.CloseIdleConnections()
	h2.CloseIdleConnections()
	for deadline := start.Add(endBound); ; {
		err := goleak.Find(before, pebbles) // itself waits a little for goroutines that are ending
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestDev_AsksAboutUnknownDomains lets 50 first visitors come for a name that
// only the ask service knows.
func TestDev_AsksAboutUnknownDomains(t *testing.T) {
	const host = "asked.customer.localhost"
	var questions atomic.Int32
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("domain") != host {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		questions.Add(1)
	}))
	defer service.Close()
	r := runDev(t, Config{AskURL: service.URL})

	c := r.client(true)
	defer c.CloseIdleConnections()
	if resp, err := c.Get("https://never.customer.localhost/"); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("a name that is not allowed: %v, %v", resp, err)
	}
	var visitors sync.WaitGroup
	for range 50 {
		visitors.Go(func() {
			own := r.client(true)
			defer own.CloseIdleConnections()
			visit(t, own, host, 2)
		})
	}
	visitors.Wait()
	if n := questions.Load(); n != 1 {
		t.Errorf("%d questions, want 1", n)
	}
}
