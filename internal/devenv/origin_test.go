package devenv

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func newTestOrigin(t *testing.T) *Origin {
	t.Helper()
	o, err := NewOrigin(OriginConfig{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

// get returns the answer's content type and body.
func (o *Origin) get(t *testing.T, path string, header http.Header) (kind, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+o.Addr()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Get("Content-Type"), string(data)
}

func TestOrigin_PageShowsTheRequest(t *testing.T) {
	o := newTestOrigin(t)
	kind, body := o.get(t, "/a/b?c=<d>", http.Header{"User-Custom-Domain": {"blog.customer.test"}, "X-Evil": {"<script>"}})
	if kind != "text/html; charset=utf-8" {
		t.Errorf("content type is %q", kind)
	}
	for _, want := range []string{"<title>Hello, blog.customer.test</title>", "/a/b?c=", `class="mark"`, "&lt;script&gt;"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(body, "<script>") {
		t.Error("the page has a header field's HTML")
	}
}

func TestOrigin_JSONShowsTheRequest(t *testing.T) {
	o := newTestOrigin(t)
	for path, header := range map[string]http.Header{
		"/x?format=json": {"X-One": {"1", "2"}},
		"/x":             {"X-One": {"1", "2"}, "Accept": {"application/json; charset=utf-8, text/plain, */*"}},
	} {
		kind, body := o.get(t, path, header)
		var seen request
		if err := json.Unmarshal([]byte(body), &seen); err != nil || kind != "application/json" {
			t.Fatalf("%s: %q: %v", path, kind, err)
		}
		if seen.Method != http.MethodGet || seen.Path != path || seen.Host != o.Addr() || len(seen.Header["X-One"]) != 2 {
			t.Errorf("%s: saw %+v", path, seen)
		}
	}
}

func TestOrigin_Accept(t *testing.T) {
	for accept, want := range map[string]bool{
		"":                                  false,
		"*/*":                               false,
		"application/json":                  true,
		"Application/JSON;q=0.5":            true,
		"application/*":                     true,
		"application/json, text/plain, */*": true,
		"application/json;q=0":              false,
		"text/html, application/json":       false,
		"application/json, text/html;q=0.9": true,
		"application/json;q=0.8, text/html": false,
		"text/html,application/xhtml+xml,*/*;q=.8": false,
		"*/*, text/html;q=0":                       true,
		"application/json;q=2, text/html;q=0.1":    false,
		"application/jsonp, nonsense, ;":           false,
		"text/*, application/json;q=0.9, */*;q=0":  false,
	} {
		if got := prefersJSON([]string{accept}); got != want {
			t.Errorf("%q: got %v", accept, got)
		}
	}
	if !prefersJSON([]string{"text/html;q=0.1", "application/json"}) {
		t.Error("of two fields only one was read")
	}
}

func TestOrigin_Status(t *testing.T) {
	o := newTestOrigin(t)
	for code, want := range map[string]int{"204": 204, "503": 503, "99": 400, "x": 400} {
		resp, err := http.Get("http://" + o.Addr() + "/status/" + code)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: status %d, want %d", code, resp.StatusCode, want)
		}
	}
}

func TestOrigin_Events(t *testing.T) {
	o := newTestOrigin(t)
	if kind, body := o.get(t, "/events?n=2", nil); kind != "text/event-stream" || body != "data: 0\n\ndata: 1\n\n" {
		t.Errorf("got %s %q", kind, body)
	}
}

func TestOrigin_EchoIsImmediate(t *testing.T) {
	o := newTestOrigin(t)
	body, in := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+o.Addr()+"/echo", body)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(in, "one\n") }()
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	if line, err := lines.ReadString('\n'); line != "one\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	go func() { _, _ = io.WriteString(in, "two\n"); _ = in.Close() }()
	if rest, err := io.ReadAll(lines); string(rest) != "two\n" || err != nil {
		t.Errorf("got %q, %v", rest, err)
	}
}

func (o *Origin) dial(t *testing.T) *websocket.Conn {
	t.Helper()
	c, resp, err := websocket.Dial(t.Context(), "ws://"+o.Addr()+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body != nil {
		_ = resp.Body.Close()
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

func TestOrigin_WebSocketEchoes(t *testing.T) {
	o := newTestOrigin(t)
	c := o.dial(t)
	for _, message := range []string{"one", "", strings.Repeat("x", 20_000)} {
		if err := c.Write(t.Context(), websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
		kind, got, err := c.Read(t.Context())
		if err != nil || kind != websocket.MessageText || string(got) != message {
			t.Fatalf("sent %d bytes, got %d of kind %v, %v", len(message), len(got), kind, err)
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("closing: %v", err)
	}
}

func TestOrigin_CloseTellsWebSockets(t *testing.T) {
	o := newTestOrigin(t)
	c := o.dial(t)
	told := make(chan error, 1)
	go func() { _, _, err := c.Read(context.Background()); told <- err }()
	start := time.Now()
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took >= originGrace {
		t.Errorf("Close took %v with a WebSocket that answers", took)
	}
	if err := <-told; websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the client was told %v, want 1001", err)
	}
	noGoroutine(t, "devenv.(*Origin)", "devenv.NewOrigin")
}

// TestOrigin_CloseCutsTheSilent has clients that do not react.
func TestOrigin_CloseCutsTheSilent(t *testing.T) {
	o := newTestOrigin(t)
	c := o.dial(t) // and nobody reads
	conn, err := net.Dial("tcp", o.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\none"); err != nil {
		t.Fatal(err)
	}
	answer := bufio.NewReader(conn)
	if line, err := answer.ReadString('\n'); !strings.Contains(line, "200") {
		t.Fatalf("got %q, %v", line, err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	noGoroutine(t, "devenv.(*Origin)", "devenv.NewOrigin", "devenv.echo")
	if rest, _ := io.ReadAll(answer); strings.HasSuffix(string(rest), "\r\n0\r\n\r\n") {
		t.Error("the answer ended as if it were whole")
	}
	if _, _, err := c.Read(t.Context()); err == nil {
		t.Error("the WebSocket is still open")
	}
	if err := o.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}
