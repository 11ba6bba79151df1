package edge

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// echoTunnels is an origin that answers an upgrade and then sends back what it gets.
func echoTunnels(t *testing.T) string {
	return origin(t, func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
		_, _ = io.Copy(c, rw)
	})
}

// openTunnel returns the client's end of a tunnel.
func openTunnel(t *testing.T, te *testEdge, host string) io.ReadWriter {
	t.Helper()
	c, err := tls.Dial("tcp", te.https, &tls.Config{ServerName: host, RootCAs: te.certs.roots, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\n")
	in := bufio.NewReader(c)
	if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v, %v", resp, err)
	}
	return struct {
		io.Reader
		io.Writer
	}{in, c}
}

func echoes(tunnel io.ReadWriter) error {
	if _, err := io.WriteString(tunnel, "ping"); err != nil {
		return err
	}
	_, err := io.ReadFull(tunnel, make([]byte, 4))
	return err
}

// TestTunnels_EndWithWhatAllowedThem changes domains under open tunnels.
func TestTunnels_EndWithWhatAllowedThem(t *testing.T) {
	hosts := []string{"deleted.customer.test", "paused.customer.test", "denied.customer.test", "certificates.customer.test", "below.customer.test", "kept.customer.test", "moved.customer.test"}
	l := newLonely(t, "deleted.customer.test", "paused.customer.test", "denied.customer.test", "certificates.customer.test", "*.customer.test", "kept.customer.test", "moved.customer.test")
	l.origin = echoTunnels(t)
	te, stop := l.start()
	defer stop()
	awaitHealthy(t, te)
	open := map[string]io.ReadWriter{}
	for _, host := range hosts {
		if open[host] = openTunnel(t, te, host); echoes(open[host]) != nil {
			t.Fatalf("%s: no echo", host)
		}
	}
	change := func(host string, edit func(*shingle.Domain)) {
		d, err := l.rows.Domain(t.Context(), host)
		if err != nil {
			t.Fatal(err)
		}
		edit(&d)
		if err := d.Validate(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.rows.UpdateDomain(t.Context(), d, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	l.remove("deleted.customer.test")
	change("paused.customer.test", func(d *shingle.Domain) { d.Paused = true })
	change("denied.customer.test", func(d *shingle.Domain) { d.Settings = `{"access":{"deny":["127.0.0.1"]}}` })
	change("certificates.customer.test", func(d *shingle.Domain) { d.Settings = shingle.SettingsText(newClientCA(t).settings()) })
	change("kept.customer.test", func(d *shingle.Domain) { d.Settings = `{"hsts":{"max_age":1},"access":{"allow":["127.0.0.0/8"]}}` })
	change("moved.customer.test", func(d *shingle.Domain) { d.Redirect = "www.customer.test" })
	l.poll <- struct{}{}
	for _, host := range hosts[1:4] {
		if _, err := open[host].Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("%s: %v", host, err)
		}
	}
	for _, host := range []string{"deleted.customer.test", "below.customer.test", "kept.customer.test", "moved.customer.test"} { // the first is covered by the wildcard
		if err := echoes(open[host]); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	l.remove("*.customer.test")
	l.poll <- struct{}{}
	for _, host := range []string{"deleted.customer.test", "below.customer.test"} {
		if _, err := open[host].Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// TestTunnels_ChangeWhileOneOpens deletes a domain when its origin has agreed to a tunnel
// that is not open yet.
func TestTunnels_ChangeWhileOneOpens(t *testing.T) {
	te := startEdge(t, echoTunnels(t))
	client, server := net.Pipe()
	defer client.Close()
	w := &opening{conn: server, hijacked: func() {
		te.table.remove(testHost)
		te.review()
		time.Sleep(20 * time.Millisecond) // what ends the request has done what it can
	}}
	r := &Request{Method: "GET", Target: "/", Authority: testHost, TLS: true, Major: 1, Upgrade: "test"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		te.proxy(t.Context(), w, r, errand{to: te.table.plain.target, host: testHost, target: "/"})
	}()
	_ = client.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(client)
	if _, err := http.ReadResponse(in, nil); err == nil {
		if err := echoes(struct {
			io.Reader
			io.Writer
		}{in, client}); err == nil {
			t.Error("there is a tunnel to a domain that is gone")
		}
	}
	_ = client.Close()
	<-done
}

// opening is a ResponseWriter whose connection is taken over.
type opening struct {
	notedAnswer
	conn     net.Conn
	hijacked func()
}

func (w *opening) Hijack() (net.Conn, io.Reader, error) {
	w.hijacked()
	return w.conn, w.conn, nil
}

func TestEdge_UpgradeIsATunnel(t *testing.T) {
	url := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "test" || r.Header.Get("Connection") != "Upgrade" {
			w.WriteHeader(400)
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\nwelcome ")
		_, _ = io.Copy(c, rw)
	})
	te := startEdge(t, url)
	c, err := tls.Dial("tcp", te.https, &tls.Config{ServerName: testHost, RootCAs: te.certs.roots})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+testHost+"\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\nearly ")
	br := bufio.NewReader(c)
	head, err := textproto.NewReader(br).ReadLine()
	if err != nil || !strings.HasPrefix(head, "HTTP/1.1 101") {
		t.Fatalf("got %q, %v", head, err)
	}
	for line := head; line != ""; {
		if line, err = textproto.NewReader(br).ReadLine(); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = io.WriteString(c, "late")
	_ = c.CloseWrite()
	all, err := io.ReadAll(br)
	if err != nil || string(all) != "welcome early late" {
		t.Errorf("got %q, %v", all, err)
	}
}
