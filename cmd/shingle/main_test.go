package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestMain lets the test binary be the real binary.
func TestMain(m *testing.M) {
	if os.Getenv("SHINGLE_TEST_BINARY") == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

func command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "SHINGLE_TEST_BINARY=1")
	return cmd
}

// shingle runs a command to its end.
func shingle(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := command(args...).CombinedOutput()
	return string(out), err
}

// dev is a running `shingle dev`.
type dev struct {
	t     *testing.T
	data  string
	cmd   *exec.Cmd
	roots *x509.CertPool
	ends  struct{ HTTPS, HTTP, Control, DNS, Origin, CA string }
}

func startDev(t *testing.T, data string, args ...string) *dev {
	t.Helper()
	d := &dev{t: t, data: data}
	d.cmd = command(append([]string{"dev", "--data", data, "--edge-https", "127.0.0.1:0", "--edge-http", "127.0.0.1:0", "--control", "127.0.0.1:0"}, args...)...)
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	d.cmd.Stderr = &stderr
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.cmd.Process.Kill(); _ = d.cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "domains add") {
	}
	if lines.Text() == "" {
		t.Fatalf("shingle dev ended: %s", stderr.String())
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	file, err := os.ReadFile(filepath.Join(data, "endpoints.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(file, &d.ends); err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(data, "ca", "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	d.roots = x509.NewCertPool()
	d.roots.AppendCertsFromPEM(pem)
	return d
}

// client has connections of its own.
func (d *dev) client(http2 bool) *http.Client {
	tr := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: d.roots},
		ForceAttemptHTTP2: http2,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, d.ends.HTTPS)
		},
	}
	d.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// visit returns what the origin saw of a request.
func (d *dev) visit(c *http.Client, host string) (map[string][]string, error) {
	resp, err := c.Get("https://" + host + "/?format=json")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var seen struct{ Header map[string][]string }
	if err := json.NewDecoder(resp.Body).Decode(&seen); err != nil {
		return nil, fmt.Errorf("status %d: %w", resp.StatusCode, err)
	}
	return seen.Header, nil
}

// orders is how many orders the CA has seen since the start.
func (d *dev) orders() int {
	d.t.Helper()
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: d.roots}, DisableKeepAlives: true}}
	resp, err := c.Get(strings.TrimSuffix(d.ends.CA, "/dir") + "/stats")
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	var stats struct{ Orders int }
	if err := json.NewDecoder(resp.Body).Decode(&stats); err != nil {
		d.t.Fatal(err)
	}
	return stats.Orders
}

func (d *dev) stop() {
	d.t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
		d.t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		d.t.Errorf("shingle dev after an interrupt: %v", err)
	}
}

func refused(err error) bool {
	return err != nil && strings.Contains(err.Error(), "tls: unrecognized name")
}

func TestDev_MainJob(t *testing.T) {
	d := startDev(t, t.TempDir())
	for _, http2 := range []bool{false, true} {
		seen, err := d.visit(d.client(http2), "blog.customer.localhost")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(d.ends.HTTPS)
		for name, want := range map[string]string{
			"User-Custom-Domain": "blog.customer.localhost", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https",
			"X-Forwarded-Host": "blog.customer.localhost", "X-Forwarded-Port": port,
		} {
			if got := strings.Join(seen[name], "|"); got != want {
				t.Errorf("http2 %v: %s is %q, want %q", http2, name, got, want)
			}
		}
	}
	before := d.orders()
	if _, err := d.visit(d.client(true), "never.customer.localhost"); !refused(err) {
		t.Errorf("a name that was never added: %v", err)
	}
	if n := d.orders(); n != before {
		t.Errorf("a refused name cost %d orders", n-before)
	}

	const host = "shop.customer.localhost"
	if out, err := shingle(t, "domains", "add", "Shop.Customer.localhost.", "--tenant", "acme", "--data", d.data); err != nil || !strings.Contains(out, host) {
		t.Fatalf("add: %v\n%s", err, out)
	}
	var visitors sync.WaitGroup
	for range 50 {
		visitors.Go(func() {
			if _, err := d.visit(d.client(true), host); err != nil {
				t.Errorf("first visitor: %v", err)
			}
		})
	}
	visitors.Wait()
	if n := d.orders() - before; n != 1 {
		t.Errorf("50 first visitors cost %d orders, want 1", n)
	}
	if out, err := shingle(t, "domains", "rm", host, "--data", d.data); err != nil {
		t.Fatalf("rm: %v\n%s", err, out)
	}
	gone := false
	for deadline := time.Now().Add(5 * time.Second); !gone && time.Now().Before(deadline); {
		_, err := d.visit(d.client(true), host)
		gone = refused(err)
	}
	if !gone {
		t.Error("a deleted domain is still served")
	}
	d.stop()
}

func TestDev_RestartNeedsNoOrder(t *testing.T) {
	data := t.TempDir()
	d := startDev(t, data)
	if _, err := d.visit(d.client(true), "blog.customer.localhost"); err != nil {
		t.Fatal(err)
	}
	d.stop()
	d = startDev(t, data)
	if _, err := d.visit(d.client(true), "blog.customer.localhost"); err != nil {
		t.Fatal(err)
	}
	if n := d.orders(); n != 0 {
		t.Errorf("%d orders after a restart", n)
	}
}

func TestDev_KilledWhileIssuing(t *testing.T) {
	data := t.TempDir()
	d := startDev(t, data)
	go func() { _, _ = d.visit(d.client(true), "blog.customer.localhost") }()
	for d.orders() == 0 { // the order is there, the certificate is not
	}
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = d.cmd.Wait()
	d = startDev(t, data)
	if _, err := d.visit(d.client(true), "blog.customer.localhost"); err != nil {
		t.Errorf("after a kill: %v", err)
	}
}

func TestDev_WebSocketAndEvents(t *testing.T) {
	d := startDev(t, t.TempDir())
	c := d.client(false)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "wss://blog.customer.localhost/ws", &websocket.DialOptions{HTTPClient: c})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	if err := ws.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, message, err := ws.Read(ctx); err != nil || string(message) != "hello" {
		t.Errorf("got %q, %v", message, err)
	}
}

// TestDev_GibibyteBothWays sends 1 GiB through the edge and back, and looks at
// the memory that the whole process has ever used.
func TestDev_GibibyteBothWays(t *testing.T) {
	d := startDev(t, t.TempDir())
	const size = 1 << 30
	c := d.client(true)
	c.Timeout = 5 * time.Minute
	resp, err := c.Post("https://blog.customer.localhost/echo", "application/octet-stream", io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != size {
		t.Fatalf("%d bytes came back, %v", n, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		return // no such place on this system
	}
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	var kib int
	if _, err := fmt.Sscan(peak, &kib); err != nil {
		t.Fatal(err)
	}
	t.Logf("peak memory %d MiB", kib>>10)
	if kib > 512<<10 { // race detector and CA included; the body is twice that
		t.Errorf("peak memory %d MiB for a streamed body", kib>>10)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestCLI_Errors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	data := t.TempDir()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"dev", "--data", data, "--edge-https", "127.0.0.1:0", "--control", taken.Addr().String(), "--edge-http", "127.0.0.1:0"}, "choose another address with --control"},
		{[]string{"domains", "list", "--data", filepath.Join(data, "none")}, "no shingle dev has run"},
		{[]string{"domains", "list", "--api", "http://" + taken.Addr().String()}, "--token"},
		{[]string{"domains", "list", "--api", "nonsense", "--token", "t"}, "the URL of the API must look like"},
		{[]string{"serve", "--target", "app.example.com", "--data", data}, "--agree-terms"},
		{[]string{"serve", "--target", "ftp://x", "--agree-terms", "--data", data}, "--target"},
		{[]string{"serve"}, "--target"},
		{[]string{"nonsense"}, "unexpected argument nonsense"},
	} {
		out, err := shingle(t, tt.args...)
		if err == nil || !strings.Contains(out, tt.want) {
			t.Errorf("shingle %s: %v\n%s\nwant %q", strings.Join(tt.args, " "), err, out, tt.want)
		}
	}
	if out, err := shingle(t, "version"); err != nil || !strings.HasPrefix(out, "shingle ") {
		t.Errorf("version: %v %s", err, out)
	}
}
