package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/shingle-proxy/shingle/internal/certtest"
)

// served is a running `shingle serve` that serves one host with a certificate of its own.
type served struct {
	t                    *testing.T
	cmd                  *exec.Cmd
	https, http, control string
	data, host           string
	ca                   *certtest.CA
}

var servesText = regexp.MustCompile(`HTTPS on (\S+), HTTP on (\S+) and the API on (\S+);`)

func startServe(t *testing.T, target string, args ...string) *served {
	t.Helper()
	s := &served{t: t, data: t.TempDir(), host: "shop.customer.test", ca: certtest.New(t, "Own")}
	s.cmd = exec.Command("shingle", append([]string{
		"serve", "--target", target, "--email", "you@example.com", "--agree-terms", "--acme-ca", "https://127.0.0.1:1/dir", "--data", s.data,
		"--edge-https", "127.0.0.1:0", "--edge-http", "127.0.0.1:0", "--control", "127.0.0.1:0",
	}, args...)...)
	s.cmd.Stderr = &logged{t: t}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill(); _ = s.cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	where := servesText.FindStringSubmatch(line)
	if where == nil {
		t.Fatalf("%q, %v", line, err)
	}
	s.https, s.http, s.control = where[1], where[2], where[3]
	s.command("domains", "add", s.host)
	leaf := s.ca.Issue(nil, s.host)
	chain, key := filepath.Join(s.data, "own.crt"), filepath.Join(s.data, "own.key")
	for name, text := range map[string]string{chain: leaf.Chain(), key: leaf.KeyPEM()} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.command("certs", "upload", s.host, "--chain", chain, "--key", key)
	return s
}

// command runs one against the API.
func (s *served) command(args ...string) {
	s.t.Helper()
	token, err := os.ReadFile(filepath.Join(s.data, "token"))
	if err != nil {
		s.t.Fatal(err)
	}
	c := exec.Command("shingle", args...)
	c.Env = append(os.Environ(), "SHINGLE_API=http://"+s.control, "SHINGLE_TOKEN="+strings.TrimSpace(string(token)))
	if out, err := c.CombinedOutput(); err != nil {
		s.t.Fatalf("%q: %v\n%s", args, err, out)
	}
}

func (s *served) tls(protocols ...string) *tls.Config {
	return &tls.Config{RootCAs: s.ca.Pool(), ServerName: s.host, NextProtos: protocols}
}

// client speaks HTTP of a version, by connections of its own.
func (s *served) client(major int) *http.Client {
	c := &http.Client{Timeout: 2 * time.Minute}
	if major == 3 {
		tr := &http3.Transport{TLSClientConfig: s.tls(), DisableCompression: true, Dial: func(ctx context.Context, _ string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, s.https, c, q)
		}}
		s.t.Cleanup(func() { _ = tr.Close() })
		c.Transport = tr
		return c
	}
	tr := &http.Transport{TLSClientConfig: s.tls(), ForceAttemptHTTP2: major == 2, DisableCompression: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.https)
	}}
	s.t.Cleanup(tr.CloseIdleConnections)
	c.Transport = tr
	return c
}

// logged is what a process says, in the log of a test that fails.
type logged struct {
	t  *testing.T
	mu sync.Mutex
}

// Write implements io.Writer.
func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t.Logf("%s", p)
	return len(p), nil
}

// patientOrigin answers in two parts, the second of which it keeps until it is let go.
type patientOrigin struct {
	arrived chan string // paths of requests that are under way
	goOn    chan struct{}
	closed  chan websocket.StatusCode // by which a WebSocket was closed
}

const drainPart = 1 << 20

// ServeHTTP implements http.Handler.
func (o *patientOrigin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/download":
		_, _ = w.Write(make([]byte, drainPart))
		_ = http.NewResponseController(w).Flush()
		o.wait(r)
		_, _ = w.Write(make([]byte, drainPart))
	case "/upload":
		if _, err := io.CopyN(io.Discard, r.Body, drainPart); err != nil {
			panic(http.ErrAbortHandler)
		}
		o.arrived <- r.URL.Path
		rest, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, drainPart+rest, err)
	case "/slow":
		o.wait(r)
		_, _ = io.WriteString(w, "slow")
	case "/ws":
		o.echo(w, r)
	default:
		_, _ = io.WriteString(w, "hello")
	}
}

func (o *patientOrigin) wait(r *http.Request) {
	o.arrived <- r.URL.Path
	<-o.goOn
}

func (o *patientOrigin) echo(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil {
			o.closed <- websocket.CloseStatus(err)
			return
		}
		if c.Write(r.Context(), kind, message) != nil {
			return
		}
	}
}

// underWay is a request that ends after the listeners have.
type underWay struct {
	name, want string
	got        chan string
}

func (s *served) begin(name, want string, do func() (string, error)) underWay {
	u := underWay{name, want, make(chan string, 1)}
	go func() {
		got, err := do()
		if err != nil {
			got = err.Error()
		}
		u.got <- got
	}()
	return u
}

// beginAll begins a download and an upload by each version of HTTP, and an answer that
// has not begun.
func (s *served) beginAll(goOn <-chan struct{}) []underWay {
	var list []underWay
	for major := 1; major <= 3; major++ {
		c := s.client(major)
		list = append(list, s.begin(fmt.Sprint("download by HTTP/", major), fmt.Sprint(2*drainPart), func() (string, error) {
			resp, err := c.Get("https://" + s.host + "/download")
			if err != nil {
				return "", err
			}
			defer resp.Body.Close()
			n, err := io.Copy(io.Discard, resp.Body)
			return fmt.Sprint(n), err
		}), s.begin(fmt.Sprint("upload by HTTP/", major), fmt.Sprint(2*drainPart, nil), func() (string, error) {
			body, in := io.Pipe()
			go func() {
				_, _ = in.Write(make([]byte, drainPart))
				<-goOn
				_, _ = in.Write(make([]byte, drainPart))
				_ = in.Close()
			}()
			resp, err := c.Post("https://"+s.host+"/upload", "application/octet-stream", body)
			if err != nil {
				return "", err
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			return string(text), err
		}))
	}
	return append(list, s.begin("answer by HTTP/1.1 that begins later", "true slow", func() (string, error) {
		resp, err := s.client(1).Get("https://" + s.host + "/slow")
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return fmt.Sprint(resp.Close, " ", string(text)), err
	}), s.begin("stream by HTTP/2 behind GOAWAY", "GOAWAY 1 NO_ERROR, slow", func() (string, error) { return s.rawHTTP2("/slow") }))
}

// rawHTTP2 opens a connection, asks for a path unless it is empty, and returns what came
// until GOAWAY and the end of the answer.
func (s *served) rawHTTP2(path string) (string, error) {
	c, err := tls.Dial("tcp", s.https, s.tls("h2"))
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	_, _ = io.WriteString(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	_, _ = f.WriteSettings(), f.WriteSettingsAck()
	if path != "" {
		var head strings.Builder
		e := hpack.NewEncoder(&head)
		for _, h := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", s.host}, {":path", path}} {
			_ = e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
		}
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(head.String()), EndStream: true, EndHeaders: true}); err != nil {
			return "", err
		}
	}
	said, text := "", ""
	for ended := path == ""; said == "" || !ended; {
		frame, err := f.ReadFrame()
		if err != nil {
			return said + text, err
		}
		switch x := frame.(type) {
		case *http2.GoAwayFrame:
			said = fmt.Sprintf("GOAWAY %d %s", x.LastStreamID, x.ErrCode)
		case *http2.DataFrame:
			text += ", " + string(x.Data())
			ended = x.StreamEnded()
		}
	}
	return said + text, nil
}

// rawHTTP3 opens a connection and returns the types of the frames on the control stream
// until GOAWAY (RFC 9114 section 7.2).
func (s *served) rawHTTP3() (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	c, err := quic.DialAddr(ctx, s.https, s.tls("h3"), nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "") }()
	stream, err := c.AcceptUniStream(ctx) // QPACK's are opened when they are needed, which is never
	if err != nil {
		return "", err
	}
	in := quicvarint.NewReader(stream)
	if kind, err := quicvarint.Read(in); err != nil || kind != 0 {
		return fmt.Sprint("stream of type ", kind), err
	}
	for said := ""; ; {
		kind, err := quicvarint.Read(in)
		if err != nil {
			return said, err
		}
		size, err := quicvarint.Read(in)
		if err == nil {
			_, err = io.CopyN(io.Discard, in, int64(size))
		}
		if said += fmt.Sprintf("%#x ", kind); err != nil || kind == 7 {
			return said, err
		}
	}
}

// TestServe_DrainsOnSIGTERM: nobody notices that an edge ends.
func TestServe_DrainsOnSIGTERM(t *testing.T) {
	t.Parallel()
	o := &patientOrigin{arrived: make(chan string), goOn: make(chan struct{}), closed: make(chan websocket.StatusCode, 1)}
	product := httptest.NewServer(o)
	t.Cleanup(product.Close)
	goOn := sync.OnceFunc(func() { close(o.goOn) })
	t.Cleanup(goOn) // before the product's end, which waits
	s := startServe(t, product.URL, "--origins", "127.0.0.0/8", "--shutdown-delay", "8s", "--grace-period", "2m")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	ws, _, err := websocket.Dial(ctx, "wss://"+s.host+"/ws", &websocket.DialOptions{HTTPClient: s.client(1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	list := s.beginAll(o.goOn)
	for range len(list) {
		<-o.arrived
	}
	idle := []underWay{
		s.begin("idle connection of HTTP/2", "GOAWAY 0 NO_ERROR", func() (string, error) { return s.rawHTTP2("") }),
		s.begin("idle connection of HTTP/3", "0x4 0x7 ", s.rawHTTP3),
	}
	if s.healthy(t) != http.StatusOK {
		t.Fatal("it is not healthy")
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.await("/health says 503", func() bool { return s.healthy(t) == http.StatusServiceUnavailable })
	for major := 1; major <= 3; major++ {
		if _, err := s.hello(s.client(major)); err != nil {
			t.Errorf("a visitor by HTTP/%d during the delay: %v", major, err)
		}
	}
	if err := ws.Write(ctx, websocket.MessageText, []byte("still here?")); err != nil {
		t.Error(err)
	}
	if _, message, err := ws.Read(ctx); err != nil || string(message) != "still here?" {
		t.Errorf("a WebSocket during the delay: %q, %v", message, err)
	}
	kept := s.client(1)
	s.await("answers send clients away", func() bool {
		ends, err := s.hello(kept)
		if err != nil {
			t.Fatal(err)
		}
		return ends
	})
	if _, _, err := ws.Read(ctx); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the WebSocket ended by %v, want 1001", err)
	}
	if status := <-o.closed; status != websocket.StatusGoingAway {
		t.Errorf("the origin's WebSocket ended by %d, want 1001", status)
	}
	for _, addr := range []string{s.https, s.http} {
		if c, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a connection to %s after the listeners: %v, %v", addr, c, err)
		}
	}
	if c, err := quic.DialAddr(ctx, s.https, s.tls("h3"), nil); err == nil {
		t.Errorf("a connection by QUIC after the listeners: %v", c.RemoteAddr())
	}
	s.ends(idle)
	goOn()
	s.ends(list)
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func (s *served) ends(list []underWay) {
	s.t.Helper()
	for _, u := range list {
		if got := <-u.got; got != u.want {
			s.t.Errorf("%s: %s, want %s", u.name, got, u.want)
		}
	}
}

// await waits until something is so.
func (s *served) await(what string, so func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(scriptPatience); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("not so: %s", what)
		}
	}
}

// healthy returns the status of /health.
func (s *served) healthy(t *testing.T) int {
	t.Helper()
	resp, err := http.Get("http://" + s.http + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// hello fails unless the product answers. It reports whether the answer ends the connection.
func (s *served) hello(c *http.Client) (bool, error) {
	resp, err := c.Get("https://" + s.host + "/hello")
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && string(text) != "hello" {
		err = fmt.Errorf("%d %s", resp.StatusCode, text)
	}
	return resp.Close, err
}

// TestServe_SecondSignalEndsAtOnce: whoever is in a hurry does not wait for downloads.
func TestServe_SecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := startServe(t, "http://127.0.0.1:1", "--origins", "127.0.0.0/8", "--shutdown-delay", "1h")
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	s.await("/health says 503", func() bool { return s.healthy(t) == http.StatusServiceUnavailable })
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
	if status, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v", s.cmd.ProcessState)
	}
}
