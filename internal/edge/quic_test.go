package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/shingle-proxy/shingle"
)

// clientHTTP3 returns an HTTP client that reaches the edge under any name. Without a
// ServerName in c it is the host asked for.
func (te *testEdge) clientHTTP3(t testing.TB, c *tls.Config) *http.Client {
	t.Helper()
	tr := &http3.Transport{
		TLSClientConfig: c, DisableCompression: true,
		Dial: func(ctx context.Context, _ string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
			return te.dialQUIC(ctx, t, c, q)
		},
	}
	t.Cleanup(func() { _ = tr.Close() })
	return &http.Client{Transport: bySchemes{https: tr, http: te.client(t, 1).Transport}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// bySchemes asks for http:// by TCP.
type bySchemes struct{ https, http http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bySchemes) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "http" {
		return b.http.RoundTrip(r)
	}
	return b.https.RoundTrip(r)
}

// dialQUIC opens a connection from a socket of its own.
func (te *testEdge) dialQUIC(ctx context.Context, t testing.TB, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	tr := &quic.Transport{Conn: socket}
	t.Cleanup(func() { _ = tr.Close(); _ = socket.Close() })
	to, err := net.ResolveUDPAddr("udp", te.https)
	if err != nil {
		return nil, err
	}
	conn, err := tr.Dial(ctx, to, c, q)
	if err == nil {
		t.Cleanup(func() { _ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "") })
	}
	return conn, err
}

// quicAlert returns the TLS alert that ended a handshake, 0 for another end.
func quicAlert(err error) uint64 {
	if te, ok := errors.AsType[*quic.TransportError](err); ok && te.Remote && te.ErrorCode.IsCryptoError() {
		return uint64(te.ErrorCode) - 0x100
	}
	return 0
}

// ungreeted waits until no handshake is under way. A client may know before the edge.
func (te *testEdge) ungreeted(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); te.quic.greeted.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d handshakes are under way", te.quic.greeted.Load())
		}
	}
}

func TestHTTP3_RefusesNamesInTheHandshake(t *testing.T) {
	te := startEdge(t, "http://127.0.0.1:1", withSettings(t, ruledHost, `{"http3":"off"}`))
	for name, want := range map[string]uint64{
		"unknown.customer.test": alertUnrecognizedName, "paused.customer.test": alertUnrecognizedName, "single": alertUnrecognizedName,
		ruledHost: alertNoApplicationProtocol,
	} {
		c, err := te.dialQUIC(t.Context(), t, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"h3"}}, nil)
		if got := quicAlert(err); got != want {
			t.Errorf("%s: %v, %v, want alert %d", name, c, err, want)
		}
	}
	if n := te.certs.asked.Load(); n != 0 {
		t.Errorf("%d certificates were asked for", n)
	}
	te.ungreeted(t)
	for _, o := range []outcome{refusedName, refusedUnknown, refusedPaused, refusedHTTP3} {
		if te.gate.counts[overQUIC][o].Load() != 1 {
			t.Errorf("%s was not counted", outcomeNames[o])
		}
	}
}

func TestHTTP3_IsOfferedWhereItIsServed(t *testing.T) {
	url := origin(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Alt-Svc", `h3=":1"`) })
	te := startEdge(t, url, withSettings(t, ruledHost, `{"http3":"off"}`))
	offer := fmt.Sprintf(`h3=":%s"; ma=86400`, port(te.https))
	for _, x := range []struct {
		major      int
		host, want string
	}{{1, testHost, offer}, {2, testHost, offer}, {3, testHost, offer}, {1, ruledHost, "clear"}, {2, ruledHost, "clear"}} {
		resp, _ := get(t, te.client(t, x.major), "https://"+x.host+"/")
		if got := strings.Join(resp.Header.Values("Alt-Svc"), "|"); got != x.want || resp.StatusCode != 200 {
			t.Errorf("HTTP/%d %s: %d %q, want %q", x.major, x.host, resp.StatusCode, got, x.want)
		}
	}
	without := startEdge(t, url, func(c *Config) { _ = c.HTTP3.Close(); c.HTTP3 = nil })
	if resp, _ := get(t, without.client(t, 2), "https://"+testHost+"/"); resp.Header.Get("Alt-Svc") != "clear" {
		t.Errorf("an edge without HTTP/3 offers %q", resp.Header.Get("Alt-Svc"))
	}
}

// TestHTTP3_OffHoldsOnConnectionsThatAreOlder: one more request is answered by 421.
func TestHTTP3_OffHoldsOnConnectionsThatAreOlder(t *testing.T) {
	te := startEdge(t, helloOrigin(t))
	c := te.client(t, 3)
	if resp, _ := get(t, c, "https://"+testHost+"/"); resp.StatusCode != 200 {
		t.Fatalf("got %d", resp.StatusCode)
	}
	te.table.set(&shingle.Domain{Host: testHost, Settings: `{"http3":"off"}`})
	resp, err := c.Get("https://" + testHost + "/")
	for err == nil && resp.StatusCode == 421 {
		resp, err = c.Get("https://" + testHost + "/")
	}
	if quicAlert(err) != alertNoApplicationProtocol {
		t.Errorf("got %v, %v, want a refused handshake in the end", resp, err)
	}
}

// TestHTTP3_BodiesAsTheyAre: whether there is one is told by the stream's end alone.
func TestHTTP3_BodiesAsTheyAre(t *testing.T) {
	te := startEdge(t, origin(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%q %v %q %v", b, r.ContentLength, r.TransferEncoding, err)
	}))
	c := te.client(t, 3)
	for _, x := range []struct {
		method string
		body   io.Reader
		want   string
	}{
		{"GET", nil, `"" 0 [] <nil>`},
		{"DELETE", nil, `"" 0 [] <nil>`},
		{"POST", nil, `"" 0 [] <nil>`},
		{"POST", io.MultiReader(), `"" -1 ["chunked"] <nil>`},
		{"GET", strings.NewReader("x"), `"x" 1 [] <nil>`},
		{"GET", io.MultiReader(strings.NewReader("abc")), `"abc" -1 ["chunked"] <nil>`},
		{"PUT", io.MultiReader(strings.NewReader("abc")), `"abc" -1 ["chunked"] <nil>`},
		{"PUT", http.NoBody, `"" 0 [] <nil>`},
	} {
		req, _ := http.NewRequest(x.method, "https://"+testHost+"/", x.body)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if _ = resp.Body.Close(); err != nil || string(got) != x.want {
			t.Errorf("%s: %s, %v, want %s", x.method, got, err, x.want)
		}
	}
}

// TestHTTP3_ShutdownLetsRequestsFinish wants no request to be cut, no other to begin, and
// nothing to run afterwards.
func TestHTTP3_ShutdownLetsRequestsFinish(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() { calm(t, before) })
	arrived, end := make(chan struct{}), make(chan struct{})
	te := startEdge(t, origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(arrived)
			<-end
		}
		_, _ = io.WriteString(w, "done")
	}))
	busy, idle := te.client(t, 3), te.client(t, 3)
	get(t, idle, "https://"+testHost+"/")
	slow := make(chan string, 1)
	go func() {
		resp, err := busy.Get("https://" + testHost + "/slow")
		if err != nil {
			slow <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		slow <- fmt.Sprint(string(b), err)
	}()
	<-arrived
	stopped := make(chan struct{})
	go func() { te.stop(); close(stopped) }()
	for {
		resp, err := busy.Get("https://" + testHost + "/")
		if err != nil {
			break // GOAWAY was here, and a new connection finds nobody
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	close(end)
	if got := <-slow; got != "done<nil>" {
		t.Errorf("the request under way got %s", got)
	}
	<-stopped
	if n := len(te.quic.slots); n != 0 || len(te.quic.shares.held) != 0 || te.quic.greeted.Load() != 0 {
		t.Errorf("%d places, %v and %d handshakes are held", n, te.quic.shares.held, te.quic.greeted.Load())
	}
}
