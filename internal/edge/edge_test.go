package edge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

const testHost = "blog.customer.test"

// testStore is a store with domains that never change.
type testStore struct {
	shingle.DomainStore
	domains []shingle.Domain
	reads   atomic.Int64
}

func (s *testStore) Head(context.Context) (shingle.Cursor, error) { return "0", nil }

func (s *testStore) Domains(_ context.Context, after string, _ int) ([]shingle.Domain, error) {
	if after != "" {
		return nil, nil
	}
	return s.domains, nil
}

func (s *testStore) Changes(_ context.Context, after shingle.Cursor, _ int) ([]shingle.Change, shingle.Cursor, error) {
	return nil, after, nil
}

func (s *testStore) Domain(context.Context, string) (shingle.Domain, error) {
	s.reads.Add(1)
	return shingle.Domain{}, shingle.ErrNotFound
}

// testCerts has one certificate, good for every name under test.
type testCerts struct {
	cert  tls.Certificate
	roots *x509.CertPool
	asked atomic.Int64

	readiness atomic.Pointer[shingle.Readiness] // nil: ready

	degraded  string
	forgotten sync.Map // by domain
}

func newTestCerts(t testing.TB) *testCerts {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"*.customer.test", "customer.test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	c := &testCerts{cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots: x509.NewCertPool()}
	c.roots.AddCert(leaf)
	return c
}

func (c *testCerts) Certificate(context.Context, string) (*tls.Certificate, error) {
	c.asked.Add(1)
	return &c.cert, nil
}

func (c *testCerts) ChallengeCertificate(context.Context, string) (*tls.Certificate, error) {
	return &c.cert, nil
}

func (c *testCerts) Forget(domain string) { c.forgotten.Store(domain, true) }

func (c *testCerts) Degraded() string { return c.degraded }

func (c *testCerts) KeyAuthorization(_ context.Context, token string) (string, error) {
	if token != "known" {
		return "", shingle.ErrNotFound
	}
	return "known.thumbprint", nil
}

func (c *testCerts) Readiness(context.Context, string) shingle.Readiness {
	if r := c.readiness.Load(); r != nil {
		return *r
	}
	return shingle.Readiness{State: shingle.CertificateValid}
}

// testEdge is a running edge and a way to reach it.
type testEdge struct {
	*Edge
	https, http string
	certs       *testCerts
	store       *testStore
	stop        func() // ends it, and waits until it has; called at the test's end anyhow
}

func startEdge(t testing.TB, origin string, edit ...func(*Config)) *testEdge {
	t.Helper()
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	target, err := shingle.ParseOrigin(origin)
	if err != nil {
		t.Fatal(err)
	}
	te := &testEdge{certs: newTestCerts(t), store: &testStore{domains: []shingle.Domain{
		{Host: testHost},
		{Host: "other.customer.test"},
		{Host: "paused.customer.test", Paused: true},
		{Host: "customer.test", Redirect: "www.customer.test"},
	}}}
	https := listen()
	udp, err := net.ListenPacket("udp", https.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{HTTPS: https, HTTP: listen(), HTTP3: udp, Target: target, Store: te.store, Certificates: te.certs, Logger: slog.New(slog.DiscardHandler)}
	if cfg.Origins, err = shingle.ParseOriginPolicy([]string{"127.0.0.0/8"}); err != nil {
		t.Fatal(err)
	}
	for _, f := range edit {
		f(&cfg)
	}
	te.https, te.http = cfg.HTTPS.Addr().String(), cfg.HTTP.Addr().String()
	if te.Edge, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	if err := te.sites.step(ctx); err != nil {
		t.Fatal(err)
	}
	go func() { done <- te.Run(ctx) }()
	te.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(te.stop)
	return te
}

// client returns an HTTP client that reaches the edge under any name, by that major
// version of HTTP.
func (te *testEdge) client(t testing.TB, major int) *http.Client {
	t.Helper()
	if major == 3 {
		return te.clientHTTP3(t, &tls.Config{RootCAs: te.certs.roots})
	}
	tr := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: te.certs.roots},
		ForceAttemptHTTP2: major == 2,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			to := te.https
			if strings.HasSuffix(addr, ":80") {
				to = te.http
			}
			return new(net.Dialer).DialContext(ctx, network, to)
		},
		DisableCompression: true,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func origin(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func allProtocols(t *testing.T, f func(t *testing.T, major int)) {
	for major := 1; major <= 3; major++ {
		t.Run(fmt.Sprintf("http%d", major), func(t *testing.T) { f(t, major) })
	}
}

func get(t *testing.T, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestEdge_HeaderPolicy(t *testing.T) {
	allProtocols(t, func(t *testing.T, major int) {
		seen := make(chan *http.Request, 1)
		url := origin(t, func(w http.ResponseWriter, r *http.Request) {
			seen <- r
			w.Header().Set("Keep-Alive", "timeout=5")
			w.Header().Add("Set-Cookie", "a=1")
			w.Header().Add("Set-Cookie", "b=2")
			_, _ = io.WriteString(w, "hello")
		})
		te := startEdge(t, url)
		req, _ := http.NewRequest("GET", "https://"+testHost+"/a%2Fb?q=1", nil)
		req.Header.Set("User-Custom-Domain", "forged.test")
		req.Header.Set("User_custom_domain", "forged.test")
		req.Header.Set("X-Forwarded-For", "203.0.113.9")
		for _, name := range []string{"By", "Server", "Access_Token", "Client-Cert", "Preferred-Username"} {
			req.Header.Set("X-Forwarded-"+name, "forged")
		}
		req.Header.Set("X-Client-Cert-Serial", "forged")
		req.Header.Set("Forwarded", "for=203.0.113.9")
		req.Header.Set("TE", "trailers")
		req.Header.Set("Accept", "text/x")
		if major == 1 {
			req.Header["Connection"] = []string{"", "X-Drop"}
			req.Header.Set("X-Drop", "1")
			req.Header.Set("TE", "deflate, trailers")
			req.Header.Set("Proxy-Authorization", "secret")
		}
		resp, err := te.client(t, major).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(body) != "hello" || resp.ProtoMajor != major || len(resp.Header["Set-Cookie"]) != 2 || resp.Header.Get("Keep-Alive") != "" {
			t.Fatalf("got %v %q", resp, body)
		}
		r := <-seen
		_, port, _ := net.SplitHostPort(te.https)
		for name, want := range map[string]string{
			"User-Custom-Domain": testHost, "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https",
			"X-Forwarded-Host": testHost, "X-Forwarded-Port": port, "Te": "trailers", "Accept": "text/x",
			"X-Drop": "", "Proxy-Authorization": "", "Forwarded": "", "User_custom_domain": "", "X-Forwarded-Server": "", "Connection": "",
			"X-Forwarded-By": "", "X-Forwarded-Access_token": "", "X-Forwarded-Client-Cert": "", "X-Forwarded-Preferred-Username": "", "X-Client-Cert-Serial": "",
		} {
			if got := strings.Join(r.Header.Values(name), "|"); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if r.Host != strings.TrimPrefix(url, "http://") || r.RequestURI != "/a%2Fb?q=1" {
			t.Errorf("Host %q, target %q", r.Host, r.RequestURI)
		}
	})
}

func TestEdge_RefusesNamesInTheHandshake(t *testing.T) {
	te := startEdge(t, "http://127.0.0.1:1")
	for _, name := range []string{"unknown.customer.test", "paused.customer.test", "", "127.0.0.1", "single"} {
		c, err := net.Dial("tcp", te.https)
		if err != nil {
			t.Fatal(err)
		}
		err = tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
		_ = c.Close()
		if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("%q: got %v, want unrecognized name", name, err)
		}
	}
	if n := te.certs.asked.Load(); n != 0 {
		t.Errorf("%d certificates were asked for", n)
	}
	if n := te.store.reads.Load(); n != 2 { // unknown.customer.test and *.customer.test; paused is in the table
		t.Errorf("%d reads of the store, want 2", n)
	}
}

func TestEdge_HostAndSNIMustAgree(t *testing.T) {
	allProtocols(t, func(t *testing.T, major int) {
		te := startEdge(t, origin(t, func(http.ResponseWriter, *http.Request) { t.Error("reached the origin") }))
		for _, host := range []string{"other.customer.test", "unknown.test"} {
			req, _ := http.NewRequest("GET", "https://"+testHost+"/", nil)
			req.Host = host
			resp, err := te.client(t, major).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != 421 {
				t.Errorf("%s: status %d, want 421", host, resp.StatusCode)
			}
		}
	})
}

func TestEdge_Port80(t *testing.T) {
	te := startEdge(t, "http://127.0.0.1:1")
	c := te.client(t, 1)
	for url, want := range map[string]string{
		"http://anything/health":                                             "200 Im healthy",
		"http://" + testHost + "/a?b":                                        "308 https://" + testHost + ":" + port(te.https) + "/a?b",
		"http://unknown.customer.test/":                                      "404",
		"http://" + testHost + "/.well-known/acme-challenge/known":           "200 known.thumbprint",
		"http://" + testHost + "/.well-known/acme-challenge/unknown":         "404",
		"http://unknown.customer.test/.well-known/acme-challenge/known":      "404",
		"http://paused.customer.test/.well-known/acme-challenge/known?and=x": "404",
	} {
		resp, body := get(t, c, url)
		got := resp.Status[:3] + " " + resp.Header.Get("Location") + body
		if !strings.HasPrefix(strings.Replace(got, "308 "+resp.Header.Get("Location")+body, "308 "+resp.Header.Get("Location"), 1), want) {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
	resp, _ := get(t, te.client(t, 2), "https://customer.test/x?y")
	if got := resp.Header.Get("Location"); resp.StatusCode != 308 || got != "https://www.customer.test:"+port(te.https)+"/x?y" {
		t.Errorf("redirect: %d %q", resp.StatusCode, got)
	}
}

func port(addr string) string { _, p, _ := net.SplitHostPort(addr); return p }

func TestEdge_StreamsBothWays(t *testing.T) {
	allProtocols(t, func(t *testing.T, major int) {
		url := origin(t, func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			_ = rc.EnableFullDuplex()
			w.Header().Set("Trailer", "X-Sum")
			buf := make([]byte, 1024)
			for {
				n, err := r.Body.Read(buf)
				if n > 0 {
					_, _ = w.Write(buf[:n])
					_ = rc.Flush()
				}
				if err != nil {
					break
				}
			}
			w.Header().Set("X-Sum", r.Trailer.Get("X-Client-Sum"))
		})
		te := startEdge(t, url)
		pr, pw := io.Pipe()
		req, _ := http.NewRequest("POST", "https://"+testHost+"/", pr)
		req.Trailer = http.Header{"X-Client-Sum": nil}
		written := make(chan struct{})
		go func() { _, _ = pw.Write([]byte("first")); close(written) }()
		resp, err := te.client(t, major).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		buf := make([]byte, 16)
		n, err := io.ReadAtLeast(resp.Body, buf, 5)
		if err != nil || string(buf[:n]) != "first" {
			t.Fatalf("got %q, %v before the request ended", buf[:n], err)
		}
		<-written
		_, _ = pw.Write([]byte("second"))
		req.Trailer.Set("X-Client-Sum", "42")
		_ = pw.Close()
		rest, err := io.ReadAll(resp.Body)
		if err != nil || string(rest) != "second" || resp.Trailer.Get("X-Sum") != "42" {
			t.Errorf("got %q, %v, trailer %v", rest, err, resp.Trailer)
		}
	})
}

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

func TestEdge_ClientGoneCancelsTheOrigin(t *testing.T) {
	allProtocols(t, func(t *testing.T, major int) {
		began, gone := make(chan struct{}), make(chan struct{})
		url := origin(t, func(_ http.ResponseWriter, r *http.Request) {
			close(began)
			<-r.Context().Done()
			close(gone)
		})
		te := startEdge(t, url)
		ctx, cancel := context.WithCancel(context.Background())
		req, _ := http.NewRequestWithContext(ctx, "GET", "https://"+testHost+"/", nil)
		go func() { <-began; cancel() }()
		if resp, err := te.client(t, major).Do(req); !errors.Is(err, context.Canceled) {
			t.Fatal(resp, err)
		}
		<-gone
	})
}

func TestEdge_RedialsWhenTheOriginClosedAnIdleConnection(t *testing.T) {
	closed := make(chan struct{}, 16)
	url, heads := rawOrigin(t, func(c net.Conn, _ string) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		_ = c.Close()
		closed <- struct{}{}
	})
	te := startEdge(t, url)
	c := te.client(t, 2)
	for range 5 {
		resp, err := c.Post("https://"+testHost+"/", "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("status %d", resp.StatusCode)
		}
		<-closed
	}
	if n := heads.Load(); n != 5 {
		t.Errorf("the origin saw %d requests, want 5", n)
	}
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

func TestEdge_LargeBodies(t *testing.T) {
	const size = 32 << 20
	allProtocols(t, func(t *testing.T, major int) {
		url := origin(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
		te := startEdge(t, url)
		data := bytes.Repeat([]byte("0123456789abcdef"), size/16)
		resp, err := te.client(t, major).Post("https://"+testHost+"/", "application/octet-stream", bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes came back, %v", len(got), err)
		}
	})
}
