package edge

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
)

// rawOrigin answers each connection with what answer writes after one request
// head was read; it counts the heads.
func rawOrigin(t *testing.T, answer func(c net.Conn, request string)) (url string, heads *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	heads = new(atomic.Int64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				br := bufio.NewReader(c)
				for {
					var head strings.Builder
					for {
						line, err := br.ReadString('\n')
						if err != nil {
							return
						}
						head.WriteString(line)
						if line == "\r\n" {
							break
						}
					}
					heads.Add(1)
					answer(c, head.String())
				}
			}()
		}
	}()
	return "http://" + l.Addr().String(), heads
}

func TestEdge_BadFramingNeverReachesAVisitor(t *testing.T) {
	for name, answer := range map[string]string{
		"both framings":     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":       "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
		"signed length":     "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
		"unknown coding":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"folded field":      "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
		"space before":      "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
		"bare line feed":    "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
		"not HTTP":          "SSH-2.0-OpenSSH_9\r\n\r\n",
		"switch unasked":    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
		"head without end":  "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", maxHeadSize) + "\r\n",
		"too many fields":   "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", maxHeadFields+1) + "\r\n",
		"endless interim":   strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", maxInterim+2),
		"closes at once":    "",
		"control character": "HTTP/1.1 200 OK\r\nA: b\x00c\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			url, heads := rawOrigin(t, func(c net.Conn, _ string) {
				_, _ = io.WriteString(c, answer)
				_ = c.Close()
			})
			te := startEdge(t, url)
			resp, body := get(t, te.client(t, 2), "https://"+testHost+"/")
			if resp.StatusCode != 502 || strings.Contains(body, "127.0.0.1") {
				t.Errorf("got %d %q, want a plain 502", resp.StatusCode, body)
			}
			if n := heads.Load(); n != 1 {
				t.Errorf("the origin saw %d requests, want 1: it had seen the first", n)
			}
		})
	}
}

func TestEdge_CutResponseIsNotComplete(t *testing.T) {
	for name, answer := range map[string]string{
		"short length": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
		"short chunk":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhello",
		"bad chunk":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
		"bad size":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			allProtocols(t, func(t *testing.T, major int) {
				url, _ := rawOrigin(t, func(c net.Conn, _ string) {
					_, _ = io.WriteString(c, answer)
					_ = c.Close()
				})
				te := startEdge(t, url)
				resp, err := te.client(t, major).Get("https://" + testHost + "/")
				if err != nil {
					return // the connection broke before the head was out
				}
				defer resp.Body.Close()
				if b, err := io.ReadAll(resp.Body); err == nil {
					t.Errorf("read %q without an error", b)
				}
			})
		})
	}
}

func TestEdge_ResponseSmugglingEndsTheConnection(t *testing.T) {
	url, heads := rawOrigin(t, func(c net.Conn, _ string) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
	})
	te := startEdge(t, url)
	for range 3 {
		if _, body := get(t, te.client(t, 2), "https://"+testHost+"/"); body != "ok" {
			t.Fatalf("got %q", body)
		}
	}
	if n := heads.Load(); n != 3 {
		t.Errorf("%d requests", n)
	}
}

func TestEdge_InterimResponsesAndExpect(t *testing.T) {
	allProtocols(t, func(t *testing.T, major int) {
		url := origin(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</a.css>")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
			b, _ := io.ReadAll(r.Body)
			_, _ = w.Write(b)
		})
		te := startEdge(t, url)
		var early atomic.Bool
		req, _ := http.NewRequest("POST", "https://"+testHost+"/", strings.NewReader("body"))
		req.Header.Set("Expect", "100-continue")
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				if code == 103 && h.Get("Link") == "</a.css>" {
					early.Store(true)
				}
				return nil
			},
		}))
		resp, err := te.client(t, major).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		if string(b) != "body" || !early.Load() || resp.Header.Get("Link") != "" {
			t.Errorf("got %q, early hints %v, %v", b, early.Load(), resp.Header)
		}
	})
}

func TestEdge_HeadAndNoContent(t *testing.T) {
	allProtocols(t, func(t *testing.T, major int) {
		url, _ := rawOrigin(t, func(c net.Conn, request string) {
			if strings.HasPrefix(request, "HEAD") {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n")
		})
		te := startEdge(t, url)
		c := te.client(t, major)
		resp, err := c.Head("https://" + testHost + "/")
		if err != nil || resp.ContentLength != 1000 {
			t.Fatalf("HEAD: %v, %v", resp, err)
		}
		_ = resp.Body.Close()
		if resp, body := get(t, c, "https://"+testHost+"/"); resp.StatusCode != 304 || body != "" || resp.Header.Get("Etag") != `"x"` {
			t.Errorf("304: %v %q", resp, body)
		}
	})
}
