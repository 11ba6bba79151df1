package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/certtest"
)

// keeper is an [api.Certificates] that keeps what is uploaded.
type keeper struct {
	api.Certificates

	mu      sync.Mutex
	certs   map[string]shingle.Certificate
	uploads map[string]int
}

func (k *keeper) Info(_ context.Context, host string) (shingle.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c, ok := k.certs[host]
	if !ok {
		return c, shingle.ErrNotFound
	}
	return c, nil
}

func (k *keeper) Upload(_ context.Context, host string, u shingle.Upload) (shingle.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	block, _ := pem.Decode([]byte(u.Chain))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return shingle.Certificate{}, err
	}
	c := shingle.Certificate{Host: host, Uploaded: true, State: shingle.CertificateValid, Serial: hex.EncodeToString(leaf.SerialNumber.Bytes()), NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter}
	k.certs[host] = c
	k.uploads[host]++
	return c, nil
}

// pemFiles writes n certificates for h0.example.com, h1.example.com and so on.
func pemFiles(t *testing.T, n int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	ca, issued := certtest.New(t, "Example"), time.Now()
	for i := range n {
		leaf := ca.Issue(func(c *x509.Certificate) { c.NotBefore = issued }, fmt.Sprintf("h%d.example.com", i))
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d.pem", i)), []byte(leaf.Chain()+leaf.KeyPEM()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func (x *terminal) importsCerts(args ...string) (out, errs string, code int) {
	var o, e bytes.Buffer
	code = run(x.t.Context(), append([]string{"certs", "import"}, args...), streams{In: strings.NewReader(""), Out: &o, Err: &e})
	return o.String(), e.String(), code
}

func TestCertsImport_ReportsInOrderAndResumesAfterTheAPIWasGone(t *testing.T) {
	k := &keeper{certs: map[string]shingle.Certificate{}, uploads: map[string]int{}}
	x := newTerminal(t, func(cfg *api.Config) { cfg.Certificates = k })
	x.login()
	const n = 60
	dir := pemFiles(t, n)

	x.through(func(r *http.Request) bool { return numberOf(r.URL.Path) >= n/3 })
	out, errs, code := x.importsCerts(dir)
	if code != 1 || !strings.Contains(errs, "20 certificates done; run it again to go on") {
		t.Fatalf("exit code %d, %s", code, errs)
	}
	for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if !strings.HasPrefix(line, fmt.Sprintf("%03d.pem  h%d.example.com  imported: valid until", i, i)) {
			t.Fatalf("line %d: %s", i+1, line)
		}
	}
	x.login()
	out, errs, code = x.importsCerts(dir)
	if code != 0 || strings.Count(out, "\n") != n || !strings.Contains(out, "h0.example.com  unchanged") || !strings.Contains(errs, "unchanged") {
		t.Errorf("exit code %d, %s\n%s", code, errs, out)
	}
	for host, times := range k.uploads {
		if times != 1 {
			t.Errorf("%s was uploaded %d times", host, times)
		}
	}
	if len(k.uploads) != n {
		t.Errorf("%d hosts, want %d", len(k.uploads), n)
	}
}

// TestInOrder_EndsWithWhoeverReadsIt leaves no goroutine behind: the ones that it
// starts are waited for.
func TestInOrder_EndsWithWhoeverReadsIt(t *testing.T) {
	list := make([]int, 1000)
	var began atomic.Int64
	for i, r := range inOrder(t.Context(), 4, list, func(context.Context, int) int64 { return began.Add(1) }) {
		if r < 1 {
			t.Fatal("no result")
		}
		if i == 10 {
			break
		}
	}
	if n := began.Load(); n > 100 {
		t.Errorf("%d were begun for 11 that were wanted", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range inOrder(ctx, 4, list, func(context.Context, int) int { return 1 }) {
	}
	if list := inOrder(t.Context(), 4, nil, func(context.Context, int) int { return 1 }); list != nil {
		for range list {
			t.Error("something out of nothing")
		}
	}
}
