package edge

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// withSettings has the edge know a domain with settings, which must be acceptable.
func withSettings(t testing.TB, host, text string) func(*Config) {
	t.Helper()
	d := shingle.Domain{Host: host, Settings: shingle.SettingsText(text)}
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	return func(c *Config) {
		s := c.Store.(*testStore)
		s.domains = append(s.domains, d)
	}
}

// counted is an origin that counts what reaches it.
func countedOrigin(t testing.TB, h http.HandlerFunc) (string, *atomic.Int64) {
	var n atomic.Int64
	return origin(t, func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		if h != nil {
			h(w, r)
		}
	}), &n
}

const ruledHost = "ruled.customer.test"

func TestRules_Redirect(t *testing.T) {
	for _, x := range []struct {
		settings, path string
		status         int
		location       string
	}{
		{`{"to":"www.customer.test"}`, "/a%2Fb?q=1", 308, "https://www.customer.test:PORT/a%2Fb?q=1"},
		{`{"to":"https://www.elsewhere.test","status":301}`, "/a?q", 301, "https://www.elsewhere.test/a?q"},
		{`{"to":"http://www.elsewhere.test:8080/shop/","status":302}`, "/a", 302, "http://www.elsewhere.test:8080/shop/a"},
		{`{"to":"https://www.elsewhere.test/shop","status":307,"drop_path":true}`, "/a?q=1", 307, "https://www.elsewhere.test/shop/"},
	} {
		allProtocols(t, func(t *testing.T, major int) {
			url, asked := countedOrigin(t, nil)
			te := startEdge(t, url, withSettings(t, ruledHost, `{"redirect":`+x.settings+`}`))
			_, port, _ := net.SplitHostPort(te.https)
			resp, _ := get(t, te.client(t, major), "https://"+ruledHost+x.path)
			if want := strings.ReplaceAll(x.location, "PORT", port); resp.StatusCode != x.status || resp.Header.Get("Location") != want {
				t.Errorf("%s: %d to %q, want %q", x.settings, resp.StatusCode, resp.Header.Get("Location"), want)
			}
			if asked.Load() != 0 {
				t.Error("the origin was asked")
			}
		})
	}
}

// TestRules_WildcardRedirectsAllButItsTarget would go in a circle otherwise.
func TestRules_WildcardRedirectsAllButItsTarget(t *testing.T) {
	url, asked := countedOrigin(t, nil)
	te := startEdge(t, url, withSettings(t, "*.customer.test", `{"redirect":{"to":"www.customer.test"}}`))
	c := te.client(t, 2)
	if resp, _ := get(t, c, "https://any.customer.test/"); resp.StatusCode != 308 {
		t.Errorf("got %d", resp.StatusCode)
	}
	if resp, _ := get(t, c, "https://www.customer.test/"); resp.StatusCode != 200 || asked.Load() != 1 {
		t.Errorf("got %d", resp.StatusCode)
	}
}

func TestRules_HSTS(t *testing.T) {
	allProtocols(t, func(t *testing.T, major int) {
		url, _ := countedOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Strict-Transport-Security", "max-age=1")
			w.Header().Set("X-Kept", "yes")
		})
		te := startEdge(t, url,
			withSettings(t, ruledHost, `{"hsts":{"max_age":31536000,"include_subdomains":true,"preload":true}}`),
			withSettings(t, "short.customer.test", `{"hsts":{"max_age":0},"redirect":{"to":"www.customer.test"}}`))
		c := te.client(t, major)
		for host, want := range map[string]string{
			ruledHost: "max-age=31536000; includeSubDomains; preload", "short.customer.test": "max-age=0", testHost: "max-age=1",
		} {
			resp, _ := get(t, c, "https://"+host+"/")
			if got := strings.Join(resp.Header.Values("Strict-Transport-Security"), "|"); got != want {
				t.Errorf("%s: %q, want %q", host, got, want)
			}
		}
		if resp, _ := get(t, c, "http://"+ruledHost+"/"); resp.Header.Get("Strict-Transport-Security") != "" || resp.StatusCode != 308 {
			t.Errorf("plain HTTP: %d %v", resp.StatusCode, resp.Header)
		}
		if resp, _ := get(t, c, "https://"+ruledHost+"/"); resp.Header.Get("X-Kept") != "yes" {
			t.Error("a field of the origin is lost")
		}
	})
}

func TestRules_Access(t *testing.T) {
	for settings, served := range map[string]bool{
		`{"allow":["127.0.0.1"]}`:                        true,
		`{"allow":["127.0.0.0/8"],"deny":["127.0.0.2"]}`: true,
		`{"allow":["127.0.0.0/8"],"deny":["127.0.0.1"]}`: false,
		`{"allow":["::ffff:127.0.0.0/104"]}`:             true,
		`{"allow":["192.0.2.0/24","::/0"]}`:              false,
		`{"deny":["127.0.0.1/32"]}`:                      false,
		`{"deny":["10.0.0.0/8","2001:db8::/32"]}`:        true,
	} {
		allProtocols(t, func(t *testing.T, major int) {
			url, asked := countedOrigin(t, nil)
			te := startEdge(t, url, withSettings(t, ruledHost, `{"access":`+settings+`}`))
			want := map[bool]int{true: 200, false: 403}[served]
			if resp, _ := get(t, te.client(t, major), "https://"+ruledHost+"/"); resp.StatusCode != want {
				t.Errorf("%s: got %d, want %d", settings, resp.StatusCode, want)
			}
			if served != (asked.Load() == 1) {
				t.Errorf("%s: the origin was asked %d times", settings, asked.Load())
			}
			if resp, _ := get(t, te.client(t, major), "http://"+ruledHost+"/"); resp.StatusCode != 308 {
				t.Errorf("%s: port 80 answers %d", settings, resp.StatusCode)
			}
		})
	}
}

// TestRules_AccessHoldsForUpgrades: a WebSocket is refused like a page.
func TestRules_AccessHoldsForUpgrades(t *testing.T) {
	url, asked := countedOrigin(t, nil)
	te := startEdge(t, url, withSettings(t, ruledHost, `{"access":{"deny":["127.0.0.1"]}}`))
	c, err := tls.Dial("tcp", te.https, &tls.Config{ServerName: ruledHost, RootCAs: te.certs.roots, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", ruledHost)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 403 || asked.Load() != 0 {
		t.Errorf("got %v, %v", resp, err)
	}
}

func TestRules_AdmitIsWhatTheListsSay(t *testing.T) {
	u := newRules(`{"access":{"allow":["10.0.0.0/8","2001:db8::/32"],"deny":["10.9.0.0/16"]}}`, 443)
	for addr, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "10.9.0.1": false, "::ffff:10.9.0.1": false, "11.0.0.1": false,
		"2001:db8::1": true, "2001:db9::1": false, "2001:db8::1%eth0": true,
	} {
		if u.admits(netip.MustParseAddr(addr)) != want {
			t.Errorf("%s: admitted is not %v", addr, want)
		}
	}
	if u.admits(netip.Addr{}) {
		t.Error("a client without an address is admitted")
	}
}

func TestRules_Maintenance(t *testing.T) {
	allProtocols(t, func(t *testing.T, major int) {
		url, asked := countedOrigin(t, nil)
		te := startEdge(t, url,
			withSettings(t, ruledHost, `{"maintenance":{"on":true,"page":"<h1>Back soon</h1>","retry_after":120},"redirect":{"to":"www.customer.test"}}`),
			withSettings(t, "plain.customer.test", `{"maintenance":{"on":true}}`),
			withSettings(t, "off.customer.test", `{"maintenance":{"page":"<h1>Back soon</h1>"}}`))
		c := te.client(t, major)
		resp, body := get(t, c, "https://"+ruledHost+"/")
		if resp.StatusCode != 503 || body != "<h1>Back soon</h1>" || resp.Header.Get("Retry-After") != "120" || resp.Header.Get("Content-Type") != htmlType {
			t.Errorf("%d %v %q", resp.StatusCode, resp.Header, body)
		}
		if resp, body := get(t, c, "https://plain.customer.test/"); resp.StatusCode != 503 || body != pageMaintenance.text || resp.Header.Get("Retry-After") != "" {
			t.Errorf("%d %v %q", resp.StatusCode, resp.Header, body)
		}
		if asked.Load() != 0 {
			t.Error("the origin was asked")
		}
		if resp, _ := get(t, c, "https://off.customer.test/"); resp.StatusCode != 200 {
			t.Errorf("got %d", resp.StatusCode)
		}
	})
}

func TestRules_ErrorPage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close() // nobody answers there
	te := startEdge(t, "http://"+l.Addr().String(), withSettings(t, ruledHost, `{"error_page":"<p>Ouch</p>"}`))
	if resp, body := get(t, te.client(t, 2), "https://"+ruledHost+"/"); resp.StatusCode != 502 || body != "<p>Ouch</p>" || resp.Header.Get("Content-Type") != htmlType {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	if resp, body := get(t, te.client(t, 2), "https://"+testHost+"/"); resp.StatusCode != 502 || body != pageBadGateway.text {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
}

func TestRules_MetadataComesFromTheEdgeAlone(t *testing.T) {
	allProtocols(t, func(t *testing.T, major int) {
		seen := make(chan http.Header, 1)
		url := origin(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header })
		te := startEdge(t, url,
			withSettings(t, ruledHost, `{"metadata":{"name":"Bücher <b>","x":1},"metadata_header":true}`),
			withSettings(t, "silent.customer.test", `{"metadata":{"x":1}}`))
		for host, want := range map[string]string{
			ruledHost: `{"name":"B\u00fccher \u003cb\u003e","x":1}`, "silent.customer.test": "", testHost: "",
		} {
			req, _ := http.NewRequest("GET", "https://"+host+"/", nil)
			req.Header.Set("User-Custom-Metadata", `{"forged":1}`)
			req.Header["user_custom-Metadata"] = []string{`{"forged":2}`}
			resp, err := te.client(t, major).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			h := <-seen
			if got := strings.Join(h.Values("User-Custom-Metadata"), "|"); got != want {
				t.Errorf("%s: %q, want %q", host, got, want)
			}
			for name := range h {
				if strings.Contains(strings.ToLower(name), "metadata") && name != "User-Custom-Metadata" {
					t.Errorf("%s came through", name)
				}
			}
		}
	})
}

// TestRules_WhatCannotBeKnownServesNobody has settings of a later version.
func TestRules_WhatCannotBeKnownServesNobody(t *testing.T) {
	url, asked := countedOrigin(t, nil)
	te := startEdge(t, url, func(c *Config) {
		s := c.Store.(*testStore)
		for i, text := range []shingle.SettingsText{`{"later":1}`, `{"access":{"allow":["10.0.0.0/8","x"]}}`, `{`, withheld} {
			s.domains = append(s.domains, shingle.Domain{Host: fmt.Sprintf("h%d.customer.test", i), Settings: text})
		}
	})
	for i := range 4 {
		if resp, _ := get(t, te.client(t, 2), fmt.Sprintf("https://h%d.customer.test/", i)); resp.StatusCode != 503 {
			t.Errorf("%d: got %d", i, resp.StatusCode)
		}
	}
	if asked.Load() != 0 {
		t.Error("the origin was asked")
	}
}

func TestTable_DomainsThatDifferForPeopleAloneStaySmall(t *testing.T) {
	table := testTable()
	table.set(&shingle.Domain{Host: "a.example.com", Settings: `{"tags":["a"],"metadata":{"x":1},"maintenance":{"page":"x"}}`})
	if s := table.lookup("a.example.com"); s != table.plain {
		t.Errorf("got %+v", s)
	}
	table.set(&shingle.Domain{Host: "a.example.com", Settings: `{"tags":["a"],"hsts":{"max_age":1}}`})
	table.set(&shingle.Domain{Host: "b.example.com", Settings: `{"tags":["b"],"hsts":{"max_age":1}}`})
	if a, b := table.lookup("a.example.com"), table.lookup("b.example.com"); a != b || a.rules == nil {
		t.Errorf("got %+v and %+v", a, b)
	}
}

// TestRulebook_IsBounded has more settings than there is room for, and then other
// ones in place of those that went.
func TestRulebook_IsBounded(t *testing.T) {
	text := func(i int) shingle.SettingsText {
		return shingle.SettingsText(fmt.Sprintf(`{"hsts":{"max_age":%d}}`, i))
	}
	book := newRulebook(443, 10*rulesSize(text(100)), slog.New(slog.DiscardHandler))
	table := newTable(shingle.Origin{Host: "app.example.com", Port: 443, TLS: true}, 443, book)
	for i := range 30 {
		table.set(&shingle.Domain{Host: host(i), Settings: text(100 + i)})
	}
	known := 0
	for i := range 30 {
		if s := table.lookup(host(i)); s.rules == nil {
			t.Fatalf("%s is served as if nothing were set", host(i))
		} else if !s.rules.unknown {
			known++
		}
	}
	if bytes, n := book.sizes(); known != 10 || bytes > book.max || n != 20 {
		t.Errorf("%d known, %d bytes, %d withheld", known, bytes, n)
	}
	for i := range 30 {
		table.remove(host(i))
	}
	awaitCollected(t, book)
	table.set(&shingle.Domain{Host: "a.example.com", Settings: text(7)})
	if table.lookup("a.example.com").rules.unknown {
		t.Error("there is no room still")
	}
}

// TestRulebook_RemembersLittle reads many texts, each twice.
func TestRulebook_RemembersLittle(t *testing.T) {
	book := newRulebook(443, 1<<20, slog.New(slog.DiscardHandler))
	for i := range 3000 {
		text := shingle.SettingsText(fmt.Sprintf(`{"tags":["t%d"],"error_page":"%s"}`, i, strings.Repeat("x", 1000)))
		for range 2 {
			if got := book.part(text); got != forEdge(text) {
				t.Fatalf("got %s", got)
			}
		}
		if book.partBytes > maxParts || len(book.parts) > maxParts/2000 {
			t.Fatalf("%d bytes in %d texts", book.partBytes, len(book.parts))
		}
	}
}

// awaitCollected waits until the collector has taken all rules of a book.
func awaitCollected(t *testing.T, book *rulebook) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		runtime.GC()
		if bytes, _ := book.sizes(); bytes == 0 && len(book.byText) == 0 {
			return
		}
		if time.Now().After(end) {
			bytes, _ := book.sizes()
			t.Fatalf("%d bytes are left", bytes)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestSnapshot_HoldsSettingsOnce has many domains with few settings, all of which
// come back.
func TestSnapshot_HoldsSettingsOnce(t *testing.T) {
	file := snapshotFile{path: filepath.Join(t.TempDir(), "table")}
	before, after := testTable(), testTable()
	page := strings.Repeat("x", 4000)
	for i := range 1000 {
		before.set(&shingle.Domain{Host: host(i), Redirect: []string{"", "www.example.com"}[i%2],
			Settings: shingle.SettingsText(fmt.Sprintf(`{"hsts":{"max_age":%d},"error_page":%q}`, i%3, page))})
	}
	before.set(&shingle.Domain{Host: "later.example.com", Settings: `{"later":1}`})
	size, err := file.write(before.picture(), snapshotHead{})
	if err != nil || size > 60_000 {
		t.Fatalf("%d bytes, %v", size, err)
	}
	p, _, err := file.read(after)
	if err != nil {
		t.Fatal(err)
	}
	after.replace(p)
	for i := range 1000 {
		if was, is := before.settings(before.lookup(host(i))), after.settings(after.lookup(host(i))); was != is || is.more == "" {
			t.Fatalf("%s was %+v and is %+v", host(i), was, is)
		}
	}
	if s := after.lookup("later.example.com"); s == nil || s.rules == nil || !s.rules.unknown || s.rules.text != `{"later":1}` {
		t.Errorf("got %+v", s)
	}
}

// TestSnapshot_WithheldSettingsAreReadAgain restarts with more memory.
func TestSnapshot_WithheldSettingsAreReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "table")
	url, asked := countedOrigin(t, nil)
	with := []func(*Config){
		withSettings(t, ruledHost, `{"access":{"allow":["127.0.0.1"]}}`),
		func(c *Config) { c.Snapshot, c.SettingsBytes = file, 1 },
	}
	t.Run("little", func(t *testing.T) {
		te := startEdge(t, url, with...)
		if resp, _ := get(t, te.client(t, 2), "https://"+ruledHost+"/"); resp.StatusCode != 503 || asked.Load() != 0 {
			t.Errorf("got %d", resp.StatusCode)
		}
	})
	with[1] = func(c *Config) { c.Snapshot = file }
	table := testTable()
	f := &follower{table: table, store: nil, log: slog.New(slog.DiscardHandler), saver: saver{file: snapshotFile{path: file}}}
	f.restore()
	if s := table.lookup(ruledHost); s == nil || s.rules == nil || !s.rules.unknown || !f.reload {
		t.Fatalf("after the restart: %+v, to be read again: %v", s, f.reload)
	}
	te := startEdge(t, url, with...)
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) { // all is being read
		resp, body := get(t, te.client(t, 2), "https://"+ruledHost+"/")
		if resp.StatusCode == 200 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("got %d %s", resp.StatusCode, body)
		}
	}
}

// TestRules_WhatIsNotForEdgesCostsThemNothing has domains that differ in nothing that an
// edge does share one set of rules.
func TestRules_WhatIsNotForEdgesCostsThemNothing(t *testing.T) {
	const text = `{"tags":["eu"],"metadata":{"a":1},"cloudflare_id":"0d89c70d-ad9f-4843-b99f-6cc0252067e9"}`
	if part := forEdge(text); part != "" {
		t.Errorf("an edge keeps %s", part)
	}
}
