package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestDomainsImport_ReportsInOrderAndResumesAfterTheAPIWasGone(t *testing.T) {
	x := newTerminal(t)
	x.login()
	const lines = 500
	var file strings.Builder
	for i := range lines {
		fmt.Fprintf(&file, "h%d.example.com\n", i)
	}
	name := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(name, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}

	const known = 100
	x.through(func(r *http.Request) bool {
		body, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		return err != nil || numberOf(string(body)) >= known
	})
	out, errs, code := x.imports(name)
	if code != 1 || !strings.Contains(errs, "100 lines done; run it again to go on") {
		t.Fatalf("exit code %d, %s", code, errs)
	}
	for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if line != fmt.Sprintf("line %d  h%d.example.com  created", i+1, i) {
			t.Fatalf("line %d: %s", i+1, line)
		}
	}

	x.login()
	out, errs, code = x.imports(name)
	if code != 0 || strings.Count(out, "\n") != lines || !strings.HasPrefix(out, "line 1  h0.example.com  unchanged\n") || !strings.Contains(errs, "400 created, 100 unchanged") {
		t.Errorf("exit code %d, %s\n%s", code, errs, out)
	}
}

// through puts a proxy in front of the API, which takes the token from requests that
// refused names: as many are done, whichever comes first.
func (x *terminal) through(refused func(*http.Request) bool) {
	target, err := url.Parse(x.url)
	if err != nil {
		x.t.Fatal(err)
	}
	srv := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		if refused(r.Out) {
			r.Out.Header.Del("Authorization")
		}
	}})
	x.t.Cleanup(srv.Close)
	x.t.Setenv("SHINGLE_API", srv.URL)
}

// numberOf returns the number of the first host such as h7.example.com in a text; -1
// without one.
func numberOf(text string) int {
	found := numbered.FindStringSubmatch(text)
	if found == nil {
		return -1
	}
	n, _ := strconv.Atoi(found[1])
	return n
}

var numbered = regexp.MustCompile(`h([0-9]+)\.example\.com`)

func (x *terminal) imports(args ...string) (out, errs string, code int) {
	var o, e bytes.Buffer
	code = run(x.t.Context(), append([]string{"domains", "import"}, args...), streams{In: strings.NewReader(""), Out: &o, Err: &e})
	return o.String(), e.String(), code
}

func TestReadDomains(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{"empty", "", ""},
		{"mark of UTF-8", "\ufeffhost,tenant\na.example.com,x\n", "2 a.example.com x"},
		{"columns in any order and case", "Tenant , HOST\nx,a.example.com\n", "2 a.example.com x"},
		{"quotes across lines", "host,tenant\n\"a.example.com\",\"x\ny\"\nb.example.com\n", "2 a.example.com x\ny|4 b.example.com "},
		{"a quote that does not belong", "host\na\"b\nc.example.com\n", "2 error|3 c.example.com "},
		{"too many fields", "host\na.example.com,b\n", "2 error"},
		{"JSON lines", "\n{\"host\":\"a.example.com\"}\n{\"host\":1}\n[]\n{} {}\n", "2 a.example.com |3 error|4 error|5 error"},
		{"a JSON line without end", "{\"host\":\"" + strings.Repeat("a", 2*maxLine), "0 error"},
	} {
		var got []string
		for r := range readDomains(strings.NewReader(tt.file)) {
			if r.err != nil {
				got = append(got, fmt.Sprintf("%d error", r.line))
			} else {
				got = append(got, fmt.Sprintf("%d %s %s", r.line, r.domain.Host, r.domain.Tenant))
			}
		}
		if text := strings.Join(got, "|"); text != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, text, tt.want)
		}
	}
}

func TestProgress_Line(t *testing.T) {
	p := &progress{what: "importing"}
	if got, want := p.line(50, 0.5, 10*time.Second), "importing  [###############               ]  50 %  50 done, 5/s, 10s left"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got, want := p.line(50, -1, 10*time.Second), "importing  50 done, 5/s"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
