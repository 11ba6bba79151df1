package main

import (
	"context"
	"crypto/rand"
	_ "embed" // of moto.py and ministack.py
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The versions that the tests are known to agree with.
const (
	dynamoVersion    = "3.1.0"
	motoVersion      = "5.2.1"
	cfnLintVersion   = "1.51.0" // beside moto
	ministackVersion = "1.5.33"
	s3Version        = "v1.8.0"

	schemathesisVersion = "4.32.5"
	axeVersion          = "4.14.1" // beside Debian's Chromium, whichever that is

	debianSuite = "bookworm"
	nfpmVersion = "v2.41.3"
)

const (
	startWait = 90 * time.Second // for a server's first answer; a JVM on a busy machine takes its time
	endWait   = 10 * time.Second // for one to end by itself
	attempts  = 3                // to start one: a free port may be taken meanwhile
)

// server is a program that the tests talk to.
type server struct {
	name, version string
	programs      []program
	root          bool // who is not root neither installs it nor can use it
	install       func(ctx context.Context, dir string) error
	// command returns how to start what is in dir on a port of the loopback
	// interface, with a folder for its data, and what to tell the tests. One without
	// arguments is a program that the tests start themselves.
	command func(dir, data, port string) (arguments, environment []string)
}

func (s *server) folder() string { return s.name + "-" + s.version }

var servers = []*server{
	{name: "dynamodb", version: dynamoVersion, programs: []program{java, maven}, install: installDynamoDB, command: dynamoDB},
	{name: "moto", version: motoVersion + "-" + cfnLintVersion, programs: []program{python}, install: installMoto, command: moto},
	{name: "ministack", version: ministackVersion, programs: []program{python}, install: installMinistack, command: ministack},
	{name: "s3", version: s3Version, install: installS3, command: s3},
	{name: "schemathesis", version: schemathesisVersion, programs: []program{python}, install: installSchemathesis, command: schemathesis},
	{name: "chromium", version: axeVersion, programs: []program{browser, fonts, npm}, install: installAxe, command: chromium},
	{name: "debian", version: debianSuite + "-1", programs: []program{mmdebstrap}, root: true, install: installDebian, command: debian},
	{name: "nfpm", version: nfpmVersion, install: installNFPM, command: nfpm},
	{name: "runc", version: debianSuite, programs: []program{runc}, root: true, install: installNothing, command: containers},
}

func dynamoDB(dir, _, port string) (arguments, environment []string) {
	return []string{"java", "-Xmx1g", "-Djava.library.path=" + dir, "-cp", filepath.Join(dir, "*"),
		"software.amazon.dynamodb.services.local.main.ServerRunner",
		"-inMemory", "-disableTelemetry", "-port", port}, []string{"SHINGLE_TEST_DYNAMODB=http://127.0.0.1:" + port}
}

func schemathesis(dir, _, _ string) (arguments, environment []string) {
	return nil, []string{"SHINGLE_TEST_SCHEMATHESIS=" + filepath.Join(dir, "bin", "st")}
}

func chromium(dir, _, _ string) (arguments, environment []string) {
	path, err := exec.LookPath(browser.check[0])
	if err != nil { // it is gone since axe was installed
		path = browser.check[0]
	}
	return nil, []string{"SHINGLE_TEST_CHROMIUM=" + path, "SHINGLE_TEST_AXE=" + filepath.Join(dir, "node_modules", "axe-core", "axe.min.js")}
}

func debian(dir, _, _ string) (arguments, environment []string) {
	return nil, []string{"SHINGLE_TEST_DEBIAN=" + filepath.Join(dir, "root")}
}

func nfpm(dir, _, _ string) (arguments, environment []string) {
	return nil, []string{"SHINGLE_TEST_NFPM=" + filepath.Join(dir, executable("nfpm"))}
}

func containers(string, string, string) (arguments, environment []string) {
	path, err := exec.LookPath(runc.check[0])
	if err != nil { // it is gone since it was installed
		path = runc.check[0]
	}
	return nil, []string{"SHINGLE_TEST_RUNC=" + path}
}

//go:embed moto.py
var motoScript string

func moto(dir, _, port string) (arguments, environment []string) {
	return []string{filepath.Join(dir, "bin", "python"), "-c", motoScript, port},
		[]string{"SHINGLE_TEST_MOTO=http://127.0.0.1:" + port, "SHINGLE_TEST_CFNLINT=" + filepath.Join(dir, "bin", "cfn-lint"), "SHINGLE_TEST_BOTO=" + filepath.Join(dir, "bin", "python")}
}

//go:embed ministack.py
var ministackScript string

// ministack has settings in its environment alone: without them it listens on all
// addresses, and on a second port.
func ministack(dir, _, port string) (arguments, environment []string) {
	return []string{"env", "BIND_HOST=127.0.0.1", "GATEWAY_PORT=" + port, "IOT_MTLS_ENABLED=0", "LAMBDA_EXECUTOR=local",
			filepath.Join(dir, "bin", "python"), "-c", ministackScript},
		[]string{"SHINGLE_TEST_MINISTACK=http://127.0.0.1:" + port}
}

func s3(dir, data, port string) (arguments, environment []string) {
	key, secret := "test"+strings.ToLower(rand.Text()[:12]), rand.Text()
	return []string{filepath.Join(dir, executable("versitygw")), "--quiet", "--port", "127.0.0.1:" + port,
			"--access", key, "--secret", secret, "posix", filepath.Join(data, "buckets")},
		[]string{"SHINGLE_TEST_S3=http://127.0.0.1:" + port, "SHINGLE_TEST_S3_KEY=" + key, "SHINGLE_TEST_S3_SECRET=" + secret}
}

// start starts the server and waits until it answers.
func (s *server) start(ctx context.Context, dir, scratch string) (p *process, environment []string, err error) {
	for _, folder := range []string{"meta", "buckets"} {
		if err := os.MkdirAll(filepath.Join(scratch, folder), 0o755); err != nil {
			return nil, nil, err
		}
	}
	for range attempts {
		var port string
		if port, err = freePort(); err != nil {
			return nil, nil, err
		}
		arguments, environment := s.command(dir, scratch, port)
		if arguments == nil {
			return nil, environment, nil
		}
		if p, err = startProcess(arguments, scratch); err != nil {
			return nil, nil, err
		}
		if err = p.await(ctx, "http://127.0.0.1:"+port+"/"); err == nil {
			return p, environment, nil
		}
		p.end()
		if ctx.Err() != nil {
			break
		}
	}
	return nil, nil, err
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// process is a server that runs, in a process group of its own: Ctrl-C must not
// end it before the tests.
type process struct {
	cmd   *exec.Cmd
	log   string        // file with what it printed
	ended chan struct{} // closed when it has
	once  sync.Once
}

func startProcess(arguments []string, dir string) (*process, error) {
	p := &process{cmd: exec.Command(arguments[0], arguments[1:]...), log: filepath.Join(dir, "log"), ended: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the process has its own
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, log, log
	ownGroup(p.cmd)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in the log
		close(p.ended)
	}()
	return p, nil
}

// await waits for the first answer of the server, whatever it says.
func (p *process) await(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(r); err == nil {
			return resp.Body.Close()
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-p.ended:
			return fmt.Errorf("it ended at once:\n%s", p.tail())
		case <-ctx.Done():
			return fmt.Errorf("it did not answer (%w):\n%s", ctx.Err(), p.tail())
		}
	}
}

// tail returns the end of what it printed.
func (p *process) tail() []byte {
	b, _ := os.ReadFile(p.log) // it only explains an error
	return last(b, 4<<10)
}

// end ends the server and all that it started.
func (p *process) end() {
	p.once.Do(func() {
		signalGroup(p.cmd, syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(endWait):
		}
		signalGroup(p.cmd, syscall.SIGKILL)
		<-p.ended
	})
}
