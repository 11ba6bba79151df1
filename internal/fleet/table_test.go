package fleet

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/devenv"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// programs is a fleet of the real program, with the rest of the world played.
type programs struct {
	t      *testing.T
	binary string
	env    []string
	ca     *devenv.CA
	root   string // PEM file of the CA
	key    string // the sealing key that all share
	client *api.Client
}

// program is a process of the fleet.
type program struct {
	data, said string // its folder, and the line that it printed when it was ready
	cmd        *exec.Cmd
	log        *lockedBuffer
}

// newPrograms makes a fleet over one DynamoDB table, which it creates.
func newPrograms(t *testing.T, httpPort, tlsPort int) *programs {
	t.Helper()
	endpoint := storetest.Endpoint(t, storetest.DynamoDB)
	p := playWorld(t, httpPort, tlsPort)
	p.env = append(p.env, "AWS_ACCESS_KEY_ID=fleet", "AWS_SECRET_ACCESS_KEY=fleet",
		"SHINGLE_DYNAMODB_ENDPOINT="+endpoint, "SHINGLE_TABLE=fleet-"+strings.ToLower(rand.Text()), "SHINGLE_TABLE_REGION=eu-central-1")
	p.run("store", "create")
	return p
}

// built is the program, which is built once for all tests.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func buildProgram(t *testing.T) (path string) {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "shingle-fleet-"); built.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", built.dir, "github.com/shingle-proxy/shingle/cmd/shingle").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	check(t, built.err)
	return filepath.Join(built.dir, "shingle")
}

// removeProgram removes what was built, if anything was.
func removeProgram() {
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
}

// playWorld builds the program and plays a CA that validates at the given ports,
// and a product.
func playWorld(t *testing.T, httpPort, tlsPort int) *programs {
	t.Helper()
	dir := t.TempDir()
	p := &programs{t: t, binary: buildProgram(t), key: filepath.Join(dir, "seal.key")}
	quiet := slog.New(slog.DiscardHandler)
	dns, err := devenv.NewDNS(devenv.DNSConfig{ZoneFile: filepath.Join(dir, "zone"), Logger: quiet})
	check(t, err)
	t.Cleanup(func() { check(t, dns.Close()) })
	ca, err := devenv.NewCA(devenv.CAConfig{Dir: filepath.Join(dir, "ca"), HTTPPort: httpPort, TLSPort: tlsPort, DNSAddr: dns.Addr(), Logger: quiet})
	check(t, err)
	t.Cleanup(func() { check(t, ca.Close()) })
	origin, err := devenv.NewOrigin(devenv.OriginConfig{Logger: quiet})
	check(t, err)
	t.Cleanup(func() { check(t, origin.Close()) })
	p.ca, p.root = ca, ca.RootPath()
	p.env = append(os.Environ(),
		"AWS_EC2_METADATA_DISABLED=true", "SHINGLE_ACME_CA="+ca.DirectoryURL(), "SHINGLE_ACME_ROOT="+p.root, "SHINGLE_AGREE_TERMS=true",
		"SHINGLE_TARGET=http://"+origin.Addr(), "SHINGLE_CONTROL=127.0.0.1:0")
	return p
}

// run runs a command to its end.
func (p *programs) run(args ...string) {
	p.t.Helper()
	if out, err := p.try(args...); err != nil {
		p.t.Fatalf("shingle %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// try runs a command to its end, and returns all that it printed.
func (p *programs) try(args ...string) (string, error) {
	cmd := exec.CommandContext(p.t.Context(), p.binary, args...)
	cmd.Env = p.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// start starts a process in a folder of its own and waits until it is ready.
func (p *programs) start(data string, args ...string) *program {
	p.t.Helper()
	if key, err := os.ReadFile(p.key); err == nil {
		check(p.t, os.WriteFile(filepath.Join(data, "seal.key"), key, 0o600))
	}
	x := &program{data: data, cmd: exec.CommandContext(p.t.Context(), p.binary, append(args, "--data", data)...), log: &lockedBuffer{}}
	x.cmd.Env, x.cmd.Stderr = p.env, x.log
	out, err := x.cmd.StdoutPipe()
	check(p.t, err)
	check(p.t, x.cmd.Start())
	p.t.Cleanup(func() {
		x.stop()
		if p.t.Failed() {
			p.t.Logf("shingle %s:\n%s", strings.Join(args, " "), x.log)
		}
	})
	line := make([]byte, 1024)
	n, err := out.Read(line)
	if err != nil {
		p.t.Fatalf("shingle %s: %v\n%s", strings.Join(args, " "), err, x.log)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	x.said = string(line[:n])
	return x
}

// stop ends the process as a service manager does.
func (x *program) stop() {
	_ = x.cmd.Process.Signal(os.Interrupt)
	_ = x.cmd.Wait()
}

// kill ends it as a power cut does.
func (x *program) kill() { _ = x.cmd.Process.Kill(); _ = x.cmd.Wait() }

// addr finds an address in what the process said.
func (x *program) addr(what string) string {
	if m := regexp.MustCompile(what + ` on (127\.0\.0\.1:\d+)`).FindStringSubmatch(x.said); m != nil {
		return m[1]
	}
	return ""
}

// startControl starts the process with the API, and makes the client and the
// sealing key of the others from what it made.
func (p *programs) startControl() *program {
	p.t.Helper()
	x := p.start(p.t.TempDir(), "control")
	key, err := os.ReadFile(filepath.Join(x.data, "seal.key"))
	check(p.t, err)
	check(p.t, os.WriteFile(p.key, key, 0o600))
	p.talkTo(x)
	return x
}

// talkTo makes the client of a process with the API.
func (p *programs) talkTo(x *program) {
	p.t.Helper()
	token, err := os.ReadFile(filepath.Join(x.data, "token"))
	check(p.t, err)
	p.client, err = api.NewClient("http://"+x.addr("API"), strings.TrimSpace(string(token)))
	check(p.t, err)
}

// visit asks for host at an edge, and returns the serial of its certificate.
func (p *programs) visit(edge *program, host string) (serial string, err error) {
	pem, err := os.ReadFile(p.root)
	if err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, edge.addr("HTTPS"))
		},
	}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Get("https://" + host + "/?format=json")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var seen struct{ Header http.Header }
	if err := json.NewDecoder(resp.Body).Decode(&seen); err != nil || seen.Header.Get("User-Custom-Domain") != host {
		return "", fmt.Errorf("status %d, the origin saw %v, %w", resp.StatusCode, seen.Header, err)
	}
	return resp.TLS.PeerCertificates[0].SerialNumber.Text(16), nil
}

// await tries something until it is so.
func await(t *testing.T, what string, try func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not %s: %v", what, err)
		}
	}
}

// freePorts returns ports that were free a moment ago. They are below those that
// systems give to connections and to whoever asks for any port, or one of those
// could take them before the program does for which they are meant.
func freePorts(t *testing.T) (httpPort, tlsPort int) {
	t.Helper()
	var ports [2]int
	for i := range ports {
		for tries := 0; ports[i] == 0; tries++ {
			n := 20000 + mathrand.IntN(12000)
			l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", n))
			if err == nil {
				ports[i] = n
				defer l.Close()
			} else if tries == 100 {
				t.Fatal(err)
			}
		}
	}
	return ports[0], ports[1]
}

// TestTable_DomainAddedByTheAPIIsServedByEveryEdge is a fleet of one control
// process and two edges. The second edge goes on when all else is dead, and
// after a restart too.
func TestTable_DomainAddedByTheAPIIsServedByEveryEdge(t *testing.T) {
	httpPort, tlsPort := freePorts(t)
	p := newPrograms(t, httpPort, tlsPort)
	control := p.startControl()
	edges := []*program{
		p.start(t.TempDir(), "edge", "--edge-http", fmt.Sprint("127.0.0.1:", httpPort), "--edge-https", fmt.Sprint("127.0.0.1:", tlsPort)),
		p.start(t.TempDir(), "edge", "--edge-http", "127.0.0.1:0", "--edge-https", "127.0.0.1:0"),
	}
	const host = "shop.customer.localhost"
	if _, err := p.visit(edges[1], host); err == nil {
		t.Error("a domain that was never added is served")
	}
	_, err := p.client.CreateDomain(t.Context(), api.NewDomain{Host: host, Tenant: "acme"})
	check(t, err)
	first, err := p.visit(edges[0], host) // waits for the order, which its neighbour or the worker may have begun
	check(t, err)
	second, err := p.visit(edges[1], host)
	check(t, err)
	if first != second || first == "" {
		t.Errorf("certificates %s and %s for one domain", first, second)
	}

	// Pausing and deleting end it everywhere.
	const other = "other.customer.localhost"
	_, err = p.client.CreateDomain(t.Context(), api.NewDomain{Host: other})
	check(t, err)
	for _, e := range edges {
		await(t, "served", func() error { _, err := p.visit(e, other); return err })
	}
	check(t, p.client.DeleteDomain(t.Context(), other))
	for _, e := range edges {
		await(t, "gone", func() error {
			if _, err := p.visit(e, other); err != nil {
				return nil
			}
			return errors.New("it is served")
		})
	}

	control.kill()
	edges[0].kill()
	if serial, err := p.visit(edges[1], host); serial != second || err != nil {
		t.Errorf("with all others dead: %s, %v", serial, err)
	}
	edges[1].kill()
	again := p.start(edges[1].data, "edge", "--edge-http", "127.0.0.1:0", "--edge-https", "127.0.0.1:0")
	if serial, err := p.visit(again, host); serial != second || err != nil {
		t.Errorf("after a restart: %s, %v", serial, err)
	}
}

func TestTable_SaysWhatIsMissing(t *testing.T) {
	endpoint := storetest.Endpoint(t, storetest.DynamoDB)
	p := newPrograms(t, 1, 1)
	cmd := exec.CommandContext(t.Context(), p.binary, "control", "--table", "nowhere", "--dynamodb-endpoint", endpoint, "--data", t.TempDir())
	cmd.Env = p.env
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "shingle store create --table nowhere --table-region eu-central-1") {
		t.Errorf("%v\n%s", err, out)
	}
}

// lockedBuffer takes what a process prints.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns what was written.
func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
