package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
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
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

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
	d.cmd = exec.Command("shingle", append([]string{"dev", "--data", data, "--edge-https", "127.0.0.1:0", "--edge-http", "127.0.0.1:0", "--control", "127.0.0.1:0"}, args...)...)
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
	d.roots = readRoots(data)
	return d
}

// client has connections of its own.
func (d *dev) client(http2 bool) *http.Client {
	c := clientOf(d.roots, http2)
	d.t.Cleanup(c.CloseIdleConnections)
	return c
}

// url is that of a path below a host.
func (d *dev) url(scheme, host, path string) string {
	return scheme + "://" + host + d.ends.HTTPS[strings.LastIndexByte(d.ends.HTTPS, ':'):] + path
}

// visit fails unless the product answers.
func (d *dev) visit(c *http.Client, host string) error {
	resp, err := c.Get(d.url("https", host, "/"))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// orders is how many orders the CA has seen since the start.
func (d *dev) orders() int {
	d.t.Helper()
	n, err := countOrders(d.ends.CA, d.roots)
	if err != nil {
		d.t.Fatal(err)
	}
	return n
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

func TestDev_FirstVisitorsShareOneOrder(t *testing.T) {
	t.Parallel()
	d := startDev(t, t.TempDir())
	const host = "shop.customer.localhost"
	if err := d.visit(d.client(true), "blog.customer.localhost"); err != nil { // has an order of its own
		t.Fatal(err)
	}
	if out, err := exec.Command("shingle", "domains", "add", host, "--data", d.data).CombinedOutput(); err != nil {
		t.Fatalf("add: %v\n%s", err, out)
	}
	var visitors sync.WaitGroup
	for range 50 {
		visitors.Go(func() {
			if err := d.visit(d.client(true), host); err != nil {
				t.Errorf("first visitor: %v", err)
			}
		})
	}
	visitors.Wait()
	if n := d.orders() - 1; n != 1 {
		t.Errorf("50 first visitors cost %d orders, want 1", n)
	}
	d.stop()
}

func TestDev_KilledWhileIssuing(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	d := startDev(t, data)
	go func() { _ = d.visit(d.client(true), "blog.customer.localhost") }()
	for deadline := time.Now().Add(time.Minute); d.orders() == 0; { // the order is there, the certificate is not
		if time.Now().After(deadline) {
			t.Fatal("no order")
		}
	}
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = d.cmd.Wait()
	d = startDev(t, data)
	if err := d.visit(d.client(true), "blog.customer.localhost"); err != nil {
		t.Errorf("after a kill: %v", err)
	}
}

func TestDev_WebSocket(t *testing.T) {
	t.Parallel()
	d := startDev(t, t.TempDir())
	c := d.client(false)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, d.url("wss", "blog.customer.localhost", "/ws"), &websocket.DialOptions{HTTPClient: c})
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

// bulkSize is what is sent each way: 1 GiB by HTTP/2, and by the others a part unless
// SHINGLE_TEST_WHOLE is set: under the race detector that takes minutes.
func bulkSize(major int) int64 {
	if major != 2 && os.Getenv("SHINGLE_TEST_WHOLE") == "" {
		return 128 << 20
	}
	return 1 << 30
}

// TestDev_GibibyteBothWays sends 1 GiB through the edge and back, and looks at
// the memory that the whole process has ever used.
func TestDev_GibibyteBothWays(t *testing.T) {
	t.Parallel()
	for major := 1; major <= 3; major++ {
		t.Run(fmt.Sprint("HTTP/", major), func(t *testing.T) {
			t.Parallel()
			d, size := startDev(t, t.TempDir()), bulkSize(major)
			c := d.client(major == 2)
			if major == 3 {
				c = d.clientHTTP3()
			}
			c.Timeout = 15 * time.Minute
			if err := d.visit(c, "blog.customer.localhost"); err != nil {
				t.Fatal(err)
			}
			before := d.peak()
			resp, err := c.Post(d.url("https", "blog.customer.localhost", "/echo"), "application/octet-stream", io.LimitReader(zeros{}, size))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != size || resp.ProtoMajor != major {
				t.Fatalf("%d bytes came back by %s, %v", n, resp.Proto, err)
			}
			after := d.peak() // race detector and CA included
			t.Logf("peak memory %d MiB, %d MiB before", after>>20, before>>20)
			if after-before > size*3/4 || after > 480<<20 {
				t.Errorf("peak memory %d MiB, %d MiB before, for a streamed body of %d MiB", after>>20, before>>20, size>>20)
			}
		})
	}
}

// clientHTTP3 is client for HTTP/3.
func (d *dev) clientHTTP3() *http.Client {
	tr := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: d.roots}, DisableCompression: true, Dial: func(ctx context.Context, _ string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
		return quic.DialAddr(ctx, d.ends.HTTPS, c, q)
	}}
	d.t.Cleanup(func() { _ = tr.Close() })
	return &http.Client{Transport: tr}
}

// peak is how much memory the process has used at most, in bytes; 0 where that cannot be
// learned.
func (d *dev) peak() int64 {
	d.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		return 0 // no such place on this system
	}
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	if _, err := fmt.Sscan(peak, &kib); err != nil {
		d.t.Fatal(err)
	}
	return kib << 10
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
