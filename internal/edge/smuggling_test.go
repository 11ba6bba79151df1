package edge

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestEdge_MethodIsOneWord sends methods over HTTP/2 that would be a request line of their
// own for an origin, and some that are only unusual.
func TestEdge_MethodIsOneWord(t *testing.T) {
	seen := make(chan string, 10)
	te := startEdge(t, origin(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r.Method + " " + r.RequestURI }))
	for method, want := range map[string]string{
		"GET /admin HTTP/1.1": "400", "GET /admin": "400", "GET\t/admin": "400", "G(T": "400", "PROPFIND": "200", "M-SEARCH": "200",
	} {
		if got := te.askHTTP2(t, method); got != want {
			t.Errorf("%q: status %s, want %s", method, got, want)
		}
	}
	close(seen)
	for line := range seen {
		if line != "PROPFIND /public" && line != "M-SEARCH /public" {
			t.Errorf("the origin saw %q", line)
		}
	}
}

// askHTTP2 sends a request with any method, frame by frame, and returns the status.
func (te *testEdge) askHTTP2(t *testing.T, method string) (status string) {
	t.Helper()
	c, err := tls.Dial("tcp", te.https, &tls.Config{ServerName: testHost, RootCAs: te.certs.roots, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, h := range [][2]string{{":method", method}, {":scheme", "https"}, {":authority", testHost}, {":path", "/public"}} {
		_ = e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	if err := errors.Join(f.WriteSettings(), f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch is := frame.(type) {
		case *http2.MetaHeadersFrame:
			return is.PseudoValue("status")
		case *http2.RSTStreamFrame:
			return is.ErrCode.String()
		}
	}
}

// TestEdge_NoUpgradeToHTTP2 asks for h2c in lists and in several fields: behind it no
// request would be looked at any more.
func TestEdge_NoUpgradeToHTTP2(t *testing.T) {
	seen := make(chan []string, 1)
	te := startEdge(t, origin(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header.Values("Upgrade") }))
	for _, x := range []struct {
		asked []string
		want  string
	}{
		{[]string{"h2c"}, ""}, {[]string{"websocket, h2c"}, ""}, {[]string{"H2C , websocket"}, ""}, {[]string{"websocket", "h2c"}, ""},
		{[]string{"websocket"}, "websocket"}, {[]string{"a", "b"}, "a, b"},
	} {
		req, _ := http.NewRequest("GET", "https://"+testHost+"/", nil)
		req.Header["Connection"] = []string{"keep-alive", "Upgrade"}
		req.Header["Upgrade"] = x.asked
		resp, err := te.client(t, 1).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		got := <-seen
		if len(got) > 1 || (x.want == "") != (len(got) == 0) || len(got) == 1 && got[0] != x.want {
			t.Errorf("%q: the origin saw %q", x.asked, got)
		}
	}
}
