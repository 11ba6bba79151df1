package deploy

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle/internal/certtest"
)

// TestKubernetes_EdgeWithoutItsStore: a new pod that cannot read its domains is given no
// visitors, and is not killed for it: that would help nobody, and each time later.
func TestKubernetes_EdgeWithoutItsStore(t *testing.T) {
	t.Parallel()
	m := readManifest(t)
	p := newPlace(t, m, m.workloads["edge"], newSecrets())
	p.env["SHINGLE_DYNAMODB_ENDPOINT"] = "http://127.0.0.1:1"
	r := start(t, p.c.Args, p.env)
	r.await("liveness", func() error { return p.ask(p.c.Liveness) })
	if err := p.ask(p.c.Readiness); err == nil {
		t.Error("it is ready")
	}
	if p.c.Startup != nil && p.ask(p.c.Startup) != nil {
		t.Error("it is killed for not having started")
	}
	p.endsInTime(r, m.workloads["edge"])
}

// endsInTime ends a process at once, after it has said how long it may take by itself.
func (p *place) endsInTime(r *running, w *workload) {
	p.t.Helper()
	most := r.terminate()
	if grace := time.Duration(w.Spec.Template.Spec.GraceSeconds) * time.Second; most >= grace {
		p.t.Errorf("it may take %s to end, and is killed after %s", most, grace)
	}
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	_ = r.ends()
}

// TestKubernetes_FleetServesAndEnds runs what the manifest runs, over a real table.
func TestKubernetes_FleetServesAndEnds(t *testing.T) {
	t.Parallel()
	endpoint := os.Getenv("SHINGLE_TEST_DYNAMODB")
	if endpoint == "" {
		t.Skip("SHINGLE_TEST_DYNAMODB is not set: run `make test`, or `go run ./scripts/servers -only dynamodb go test ./deploy`")
	}
	m, secrets := readManifest(t), newSecrets()
	product := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("User-Custom-Domain"))
	}))
	t.Cleanup(product.Close)
	control, edge := newPlace(t, m, m.workloads["control"], secrets), newPlace(t, m, m.workloads["edge"], secrets)
	for _, p := range []*place{control, edge} {
		maps.Copy(p.env, map[string]string{"SHINGLE_DYNAMODB_ENDPOINT": endpoint, "SHINGLE_TARGET": product.URL, "SHINGLE_ORIGINS": "127.0.0.0/8", "SHINGLE_ACME_CA": "https://127.0.0.1:1/dir"})
	}
	control.runs(m.headCommand(t, "store create")...)

	api := start(t, control.c.Args, control.env)
	api.await("the API's liveness", func() error { return control.ask(control.c.Liveness) })
	api.await("the API's readiness", func() error { return control.ask(control.c.Readiness) })
	token, err := os.ReadFile(filepath.Join(control.dirs[m.settings.Data["SHINGLE_DATA"]], "token"))
	if err != nil {
		t.Fatal(err)
	}
	control.env["SHINGLE_API"], control.env["SHINGLE_TOKEN"] = "http://"+control.address("api"), strings.TrimSpace(string(token))
	host, ca := "shop.customer.test", certtest.New(t, "Own")
	leaf, dir := ca.Issue(nil, host), t.TempDir()
	for name, text := range map[string]string{"chain": leaf.Chain(), "key": leaf.KeyPEM()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	control.runs("domains", "add", host)
	control.runs("certs", "upload", host, "--chain", filepath.Join(dir, "chain"), "--key", filepath.Join(dir, "key"))

	// Its own delay is told by EdgeWithoutItsStore; this one lasts until the test is done.
	args := append([]string{}, edge.c.Args...)
	for i := range args {
		if strings.HasPrefix(args[i], "--shutdown-delay=") {
			args[i] = "--shutdown-delay=1h"
		}
	}
	e := start(t, args, edge.env)
	e.await("readiness", func() error { return edge.ask(edge.c.Readiness) })
	visits := visitor(edge, ca, host)
	e.await("a visit", visits)
	edge.redirects(host, m.settings.Data["SHINGLE_PUBLIC_PORT"])
	if err := get("http://" + edge.address("metrics") + "/metrics"); err != nil {
		t.Errorf("metrics: %v", err)
	}

	e.terminate()
	if err := edge.ask(edge.c.Readiness); err == nil {
		t.Error("an edge that ends is ready")
	}
	for what, ask := range map[string]func() error{"liveness": func() error { return edge.ask(edge.c.Liveness) }, "a visit": visits} {
		if err := ask(); err != nil {
			t.Errorf("%s of an edge that ends: %v", what, err)
		}
	}
	_ = e.cmd.Process.Signal(syscall.SIGTERM)
	_ = e.ends()
	control.endsInTime(api, m.workloads["control"])
	control.wrote()
	edge.wrote()
}

// TestKubernetes_DelayOutlastsTheProbe: who leads visitors by the readiness has noticed
// before the edge lets nobody in.
func TestKubernetes_DelayOutlastsTheProbe(t *testing.T) {
	t.Parallel()
	c := readManifest(t).workloads["edge"].only(t)
	for _, arg := range c.Args {
		if text, ok := strings.CutPrefix(arg, "--shutdown-delay="); ok {
			delay, err := time.ParseDuration(text)
			if err != nil || delay <= c.Readiness.notices() {
				t.Errorf("readiness is believed after %s, the delay is %s (%v)", c.Readiness.notices(), text, err)
			}
			return
		}
	}
	t.Error("there is no delay")
}

// runs runs a command that has to succeed, in the environment of the place.
func (p *place) runs(args ...string) {
	p.t.Helper()
	if err := p.tries(args...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) tries(args ...string) error {
	p.t.Helper()
	cmd := exec.Command(program(p.t), args...)
	for name, value := range p.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("shingle %q: %w\n%s", args, err, out)
	}
	return nil
}

// visitor returns what visits the host on a connection of its own.
func visitor(p *place, ca *certtest.CA, host string) func() error {
	to := p.address("https")
	return func() error {
		return visit(to, &tls.Config{RootCAs: ca.Pool(), ServerName: host}, host)
	}
}

func (p *place) redirects(host, publicPort string) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://"+p.address("http")+"/path", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Host = host
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	want := "https://" + host + "/path"
	if publicPort != "443" {
		want = "https://" + net.JoinHostPort(host, publicPort) + "/path"
	}
	if got := answer.Header.Get("Location"); got != want {
		p.t.Errorf("redirected to %q, want %q", got, want)
	}
}

// visit fails unless the product answers for the host.
func visit(address string, how *tls.Config, host string) error {
	tr := &http.Transport{TLSClientConfig: how, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	defer tr.CloseIdleConnections()
	answer, err := (&http.Client{Transport: tr, Timeout: patience}).Get("https://" + host + "/")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && (answer.StatusCode != http.StatusOK || string(text) != host) {
		err = fmt.Errorf("%s %s", answer.Status, text)
	}
	return err
}
