package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestDocs_Integration runs what docs/integration.md says, against a whole shingle dev
// with the product of example/product behind it.
func TestDocs_Integration(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed: the commands of docs/integration.md are not run")
	}
	page, err := os.ReadFile("../../docs/integration.md")
	if err != nil {
		t.Fatal(err)
	}
	var product atomic.Pointer[httputil.ReverseProxy] // it needs the token, and shingle dev its address
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := product.Load(); p != nil {
			p.ServeHTTP(w, r)
			return
		}
		http.Error(w, "not there yet", http.StatusServiceUnavailable)
	}))
	t.Cleanup(target.Close)
	d := startDev(t, t.TempDir(), "--target", target.URL)
	text, err := os.ReadFile(filepath.Join(d.data, "token"))
	if err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(string(text))
	address := startProduct(t, "http://"+d.ends.Control, token)
	product.Store(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address}))
	_, port, _ := net.SplitHostPort(d.ends.HTTPS)
	env := append(os.Environ(), "API=http://"+d.ends.Control, "TOKEN="+token, "PORT="+port, "ROOT="+filepath.Join(d.data, "ca", "root.pem"))
	n := 0
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		for _, part := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, want, _ := strings.Cut(part, "\n")
			n++
			runConsole(t, env, command, strings.TrimSpace(want))
		}
	}
	if n < 9 {
		t.Errorf("the page has %d commands only", n)
	}
	form := func(method, host string) string {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+"/settings/domain?host="+host, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	for _, tt := range []struct{ method, host, want string }{
		{"POST", "Bücher.customer.localhost", "Set a CNAME record for xn--bcher-kva.customer.localhost to "},
		{"POST", "Bücher.customer.localhost", "This domain is in use."},
		{"POST", "192.0.2.1", "an IP address cannot be a custom domain"},
		{"GET", "none.customer.localhost", "404 page not found"},
		{"GET", "blog.customer.localhost", "404 page not found"}, // another tenant's
		{"GET", "Bücher.customer.localhost", ": "},
	} {
		if got := form(tt.method, url.QueryEscape(tt.host)); !strings.Contains(got, tt.want) {
			t.Errorf("%s %s: %q, want %q", tt.method, tt.host, got, tt.want)
		}
	}
}

// TestDocs_IntegrationShowsTheProduct keeps the program on the page in step.
func TestDocs_IntegrationShowsTheProduct(t *testing.T) {
	page, err := os.ReadFile("../../docs/integration.md")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("../../example/product/main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(program), "type product struct")
	if !strings.Contains(string(page), "```go\ntype product struct"+shown+"```") {
		t.Error("docs/integration.md does not show example/product/main.go from `type product struct` on: copy it there")
	}
}

// startProduct builds and starts the product, and returns its address.
func startProduct(t *testing.T, api, token string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "product")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../example/product").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	cmd := exec.Command(program, "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "SHINGLE_URL="+api, "SHINGLE_TOKEN="+token)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(stderr)
	if !lines.Scan() {
		t.Fatal("the product did not start")
	}
	go func() { _, _ = io.Copy(io.Discard, stderr) }()
	return lines.Text()[strings.LastIndexByte(lines.Text(), '=')+1:]
}

// runConsole runs a command of a page and compares its output with what the page has:
// an ellipsis stands for anything.
func runConsole(t *testing.T, env []string, command, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Env, cmd.WaitDelay = env, time.Second
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	rest := strings.TrimSpace(string(out))
	parts := strings.Split(want, "…")
	for i, part := range parts {
		at := strings.Index(rest, part)
		if i > 0 && i == len(parts)-1 {
			at = len(rest) - len(part)
		}
		if at < 0 || !strings.HasPrefix(rest[at:], part) || i == 0 && at != 0 {
			t.Errorf("%s\nanswered %s\nand not %s: %q is missing", command, out, want, part)
			return
		}
		rest = rest[at+len(part):]
	}
	if rest != "" {
		t.Errorf("%s\nanswered %q more than %s", command, rest, want)
	}
}
