package edge

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
)

// FuzzRequestHead checks the header policy against net/http's reader: whatever
// a client sends, the origin sees one request, with our fields once and only
// ours.
func FuzzRequestHead(f *testing.F) {
	f.Add("User_Custom-Domain", "forged", "Connection", "close, X-Forwarded-For", "/a?b")
	f.Add("X-Forwarded-Port", "1", "TE", "trailers", "*")
	f.Add("transfer-encoding", "chunked", "CONTENT-LENGTH", "5", "/")
	f.Add("Upgrade", "h2c", "http2-settings", "x", "/")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2, path string) {
		in := "GET / HTTP/1.1\r\nHost: " + testHost + "\r\n" + name1 + ": " + value1 + "\r\n" + name2 + ": " + value2 + "\r\n\r\n"
		parsed, err := http.ReadRequest(bufio.NewReader(strings.NewReader(in)))
		if err != nil || parsed.Host != testHost || strings.ContainsAny(path, " \r\n") || !strings.HasPrefix(path, "/") {
			return
		}
		r := &Request{Method: "GET", Target: path, Authority: parsed.Host, TLS: true, Client: netip.MustParseAddrPort("192.0.2.7:4444")}
		for name, values := range parsed.Header {
			for _, v := range values {
				if strings.ContainsAny(v, "\r\n\x00") || !validName(name) {
					return // net/http's server refuses these
				}
				r.Header = append(r.Header, Field{name, v})
			}
		}
		to := newTarget(shingle.Origin{Host: "origin.test", Port: 80}, 443)
		out := appendRequestHead(nil, r, &errand{to: to, host: testHost, target: r.Target})
		br := bufio.NewReader(bytes.NewReader(out))
		got, err := http.ReadRequest(br)
		if err != nil {
			if strings.Contains(err.Error(), "invalid URI") || strings.Contains(err.Error(), "parse") {
				return // a target that net/http's server refuses
			}
			t.Fatalf("%v\n%q", err, out)
		}
		if rest, _ := io.ReadAll(br); len(rest) > 0 || got.Host != "origin.test" || got.ContentLength != 0 || len(got.TransferEncoding) > 0 {
			t.Errorf("rest %q, host %q, length %d, coding %v\n%q", rest, got.Host, got.ContentLength, got.TransferEncoding, out)
		}
		want := map[string]string{
			"User-Custom-Domain": testHost, "X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https",
			"X-Forwarded-Host": testHost, "X-Forwarded-Port": "443",
		}
		for name, values := range got.Header {
			canonical := http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
			if value, ours := want[canonical]; ours && (len(values) != 1 || values[0] != value || name != canonical) {
				t.Errorf("%s: %q", name, values)
			}
		}
		for name := range want {
			if len(got.Header[name]) != 1 {
				t.Errorf("%s is missing", name)
			}
		}
	})
}

func validName(s string) bool {
	for i := range len(s) {
		if !isTokenByte[s[i]] {
			return false
		}
	}
	return s != ""
}

// FuzzResponseHead checks that a head that the edge takes is one that net/http
// takes too, with the same status and framing.
func FuzzResponseHead(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n")
	f.Add("HTTP/1.0 404 Not Found\r\nA: b\r\n\r\n")
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	f.Add("HTTP/1.1 200\r\nContent-Length: 5, 5\r\n\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		b := buffer{src: strings.NewReader(s)}
		text, err := b.head()
		if err != nil {
			return
		}
		h, err := parseResponseHead(text, nil)
		if err != nil {
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(s)), nil)
		if err != nil {
			return // stricter than we are in what does not frame a message
		}
		if resp.StatusCode != h.status {
			t.Errorf("status %d, want %d", h.status, resp.StatusCode)
		}
		if h.bodyless("GET") {
			return
		}
		if coded := len(resp.TransferEncoding) > 0; coded != h.coded || !coded && resp.ContentLength != h.length {
			t.Errorf("coded %v length %d, net/http has %v %d", h.coded, h.length, resp.TransferEncoding, resp.ContentLength)
		}
	})
}
