package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// startServer serves over TLS as a proxy would, and returns its client's view.
func startServer(t *testing.T, handler http.HandlerFunc) *peer {
	t.Helper()
	certs, err := newCertificates(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13}}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(l, certs.chain, certs.key) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	serveHTTP3(t, l.Addr().String(), certs, handler)
	text, err := os.ReadFile(certs.chain)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := pem.Decode(text)
	return &peer{target: target{addr: l.Addr().String(), domain: benchDomain, leaf: leaf.Bytes}}
}

// serveHTTP3 serves on the same port by UDP.
func serveHTTP3(t *testing.T, addr string, certs certificates, handler http.HandlerFunc) {
	cert, err := tls.LoadX509KeyPair(certs.chain, certs.key)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	server := &http3.Server{Handler: handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(socket) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		_ = socket.Close()
	})
}

// runUntil loads p until n requests are complete.
func runUntil(t *testing.T, p *peer, c loadCase, every time.Duration, n int64) (*load, error) {
	t.Helper()
	l := newLoad(c, every)
	return l, l.run(t.Context(), p, c, 10*time.Second, func(wait func(time.Duration) error) error {
		for l.done() < n {
			if err := wait(time.Millisecond); err != nil {
				return err
			}
		}
		return nil
	})
}

func serveBodies(w http.ResponseWriter, r *http.Request) {
	_, _ = w.Write(bodies[r.URL.Path]) // the client checks what arrives
}

func TestLoad_EveryCaseCompletes(t *testing.T) {
	p := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", map[string]string{"/small": "200", "/large": "65536"}[r.URL.Path])
		serveBodies(w, r)
	})
	for _, c := range allCases {
		t.Run(c.name, func(t *testing.T) {
			n := int64(4 * c.conns * c.streams)
			if c.path == "/large" && c.proto == "h2" {
				n = (connectionWindow/(64<<10) + 1) * int64(c.conns) // more than the first windows hold
			}
			if _, err := runUntil(t, p, c, 0, n); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestLoad_TimesRequestsAtARate(t *testing.T) {
	p := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "200")
		serveBodies(w, r)
	})
	for _, c := range allCases[:2] {
		c.streams = 1
		l, err := runUntil(t, p, c, time.Millisecond, 50)
		if err != nil {
			t.Fatal(err)
		}
		var times int64
		for _, w := range l.workers {
			times += int64(len(w.times))
		}
		if times != l.done() {
			t.Errorf("%s: %d times for %d requests", c.name, times, l.done())
		}
	}
}

func TestLoad_WrongAnswerEndsTheRun(t *testing.T) {
	wrong := bytes.Clone(bodies["/small"])
	wrong[100]++
	handlers := map[string]http.HandlerFunc{
		"body":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(wrong) },
		"short":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(wrong[:50]) },
		"long":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(append(bodies["/small"], 'x')) },
		"status": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusCreated); serveBodies(w, r) },
	}
	for name, handler := range handlers {
		p := startServer(t, handler)
		for _, c := range allCases[:2] {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				if _, err := runUntil(t, p, c, 0, 1<<40); err == nil || strings.Contains(err.Error(), "deadline") {
					t.Errorf("the run ended with %v", err)
				}
			})
		}
	}
}

func TestLoad_OtherCertificateIsRefused(t *testing.T) {
	p, other := startServer(t, serveBodies), startServer(t, serveBodies)
	p.target.leaf = other.target.leaf
	if _, err := p.target.dial(t.Context(), "h2"); err == nil {
		t.Error("the connection was made")
	}
}

func TestOrigin_AnswersPipelinedRequests(t *testing.T) {
	o, err := startOrigin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.close)
	conn, err := net.Dial("tcp", o.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	requests := "GET /large HTTP/1.1\r\nHost: a\r\n\r\nGET /head HTTP/1.1\r\nHost: b\r\n\r\nGET /no HTTP/1.1\r\n\r\n"
	if _, err := io.WriteString(conn, requests); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	for _, want := range []string{string(bodies["/large"]), "GET /head HTTP/1.1\r\nHost: b\r\n\r\n", ""} {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		if err != nil || string(got) != want {
			t.Errorf("%d bytes, error %v; want %d bytes", len(got), err, len(want))
		}
	}
}

func TestCheckForwarding_EveryFieldCounts(t *testing.T) {
	place := placement{Origin: "127.0.0.1:9", Domain: benchDomain, Port: 8443}
	fields := []string{
		"Host: 127.0.0.1:9", "User-Custom-Domain: " + benchDomain,
		"X-Forwarded-For: 127.1.1.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: " + benchDomain, "X-Forwarded-Port: 8443",
		"User-Agent: " + field("user-agent"), "Cookie: " + field("cookie"),
	}
	check := func(fields []string) error {
		head := "GET /head HTTP/1.1\r\n" + strings.Join(fields, "\r\n") + "\r\n\r\n"
		return checkForwarding([]byte(head), place, "127.1.1.1")
	}
	if err := check(fields); err != nil {
		t.Fatal(err)
	}
	for i := range fields {
		if err := check(append(append([]string{}, fields[:i]...), fields[i+1:]...)); err == nil {
			t.Errorf("without %q nothing was said", fields[i])
		}
	}
}

func TestParseStat_NameMayHoldAnything(t *testing.T) {
	got, err := parseStat("7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 13 14 20")
	if want := 2 * time.Second; err != nil || got != want {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if _, err := parseStat("7 (a) S 1 2"); err == nil {
		t.Error("a short line was taken")
	}
}

func TestResult_RatioIsTheMedianOfRounds(t *testing.T) {
	second := func(done int64) sample { return sample{done: done, cpu: time.Second, wall: time.Second} }
	res := &result{samples: map[string][]sample{
		"a": {second(100), second(300), second(80)},
		"b": {second(50), second(100), second(80)},
	}}
	if got, ok := res.ratio("a", "b"); !ok || got != 2 {
		t.Errorf("ratio %v, %t; want 2", got, ok)
	}
	if _, ok := res.ratio("a", "c"); ok {
		t.Error("a ratio to a peer that was not measured")
	}
}

func TestPeers_ConfigurationsCanBeFilled(t *testing.T) {
	for _, p := range allPeers {
		place := placement{Dir: t.TempDir(), Port: 8443, Origin: "127.0.0.1:9", Domain: benchDomain}
		if err := p.configure(place); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
		for _, a := range p.args {
			if _, err := fill(a, place); err != nil {
				t.Errorf("%s: %v", p.name, err)
			}
		}
	}
}

func TestChoose_RefusesUnknownNames(t *testing.T) {
	name := func(s string) string { return s }
	if got, err := choose([]string{"a", "b", "c"}, "c,a", name); err != nil || strings.Join(got, "") != "ca" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := choose([]string{"a"}, "b", name); err == nil {
		t.Error("an unknown name was taken")
	}
}

func TestReport_NamesWhatIsMissing(t *testing.T) {
	r := &report{missing: []string{"nginx: not here"}, peers: []*peer{{name: "a"}}}
	r.add(allCases[0], r.peers[0], sample{done: 1000, cpu: time.Second, wall: 2 * time.Second})
	r.addLatency(allCases[0], r.peers[0], []time.Duration{time.Millisecond})
	text := r.markdown(context.Background())
	for _, want := range []string{"**not measured**: nginx: not here", "| a | 1000 | 1000 to 1000 | - | - | 50 % | 1ms | 1ms |"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
