package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/shingle-proxy/shingle/internal/certtest"
)

// TestMain puts a `shingle` on the PATH that is this test binary: scripts and
// tests run it as a process of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"shingle": main})
}

// TestScripts runs testdata/*.txtar. Beyond the commands of testscript they
// have those of scriptCommands, and an environment in which every `shingle dev`
// takes free ports and keeps its data in $WORK/data.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                scriptCommands,
		Setup: func(e *testscript.Env) error {
			for _, name := range []string{"SHINGLE_EDGE_HTTPS", "SHINGLE_EDGE_HTTP", "SHINGLE_CONTROL"} {
				e.Setenv(name, "127.0.0.1:0")
			}
			e.Setenv("GORACE", "atexit_sleep_ms=10") // not the second that each command would take to end
			e.Setenv("SHINGLE_DATA", filepath.Join(e.WorkDir, "data"))
			return nil
		},
	})
}

// scriptPatience bounds what a script waits for. It is long: a machine may be
// busy with other tests.
const scriptPatience = 60 * time.Second

var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"await-dev": awaitDev,
	"await":     awaitText,
	"visit":     visit,
	"within":    within,
	"exits":     exits,
	"orders":    orders,
	"own-cert":  ownCert,
	"serves":    serves,
}

// awaitDev is `await-dev`: it waits until the `shingle dev` that keeps its data
// in $SHINGLE_DATA can be visited, and sets $HTTPS, $HTTP, $CONTROL, $ORIGIN
// (host:port each), $PORT and $HTTPPORT (of the first two), $CA (the URL of the
// directory) and $TOKEN.
func awaitDev(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: await-dev")
	}
	dir := ts.Getenv("SHINGLE_DATA")
	var file []byte
	poll(ts, scriptPatience, func() (err error) {
		file, err = os.ReadFile(filepath.Join(dir, "endpoints.json"))
		return err
	})
	var ends map[string]string
	ts.Check(json.Unmarshal(file, &ends))
	for name, value := range ends {
		ts.Setenv(strings.ToUpper(name), value)
	}
	for name, addr := range map[string]string{"PORT": ends["https"], "HTTPPORT": ends["http"]} {
		_, port, err := net.SplitHostPort(addr)
		ts.Check(err)
		ts.Setenv(name, port)
	}
	ts.Setenv("TOKEN", strings.TrimSpace(ts.ReadFile(filepath.Join(dir, "token"))))
}

// awaitText is `await FILE REGEXP`: it waits until the file matches. Each named
// group sets the variable of its name.
func awaitText(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await FILE REGEXP")
	}
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	poll(ts, scriptPatience, func() error {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err != nil {
			return err
		}
		found := re.FindSubmatch(text)
		if found == nil {
			return fmt.Errorf("%s has no %s:\n%s", args[0], re, text)
		}
		for i, name := range re.SubexpNames() {
			if name != "" {
				ts.Setenv(name, string(found[i]))
			}
		}
		return nil
	})
}

// visit is `[!] visit [--http1] [-H 'NAME: VALUE'] URL`: one GET on a connection
// of its own, to 127.0.0.1 whatever the host, which trusts the CA of the
// `shingle dev` in $SHINGLE_DATA. The answer, whatever its status, goes to
// stdout, and the reason why there was none to stderr.
func visit(ts *testscript.TestScript, neg bool, args []string) {
	text, err := fetch(ts, args)
	if err != nil {
		fmt.Fprintln(ts.Stderr(), err)
	}
	_, _ = io.WriteString(ts.Stdout(), text)
	if (err != nil) != neg {
		ts.Fatalf("visit %s: %v\n%s", strings.Join(args, " "), err, text)
	}
}

// within is `within DURATION REGEXP visit|exec ...`: visits or commands follow one
// another until the answer, or the reason why there was none, matches. None
// begins when the time is up.
func within(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 || args[2] != "visit" && args[2] != "exec" {
		ts.Fatalf("usage: within DURATION REGEXP visit|exec ARGUMENTS")
	}
	bound, err := time.ParseDuration(args[0])
	ts.Check(err)
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	poll(ts, bound, func() error {
		text, err := "", error(nil)
		if args[2] == "visit" {
			text, err = fetch(ts, args[3:])
		} else if err = ts.Exec(args[3], args[4:]...); err == nil {
			text = ts.ReadFile("stdout")
		}
		if err != nil {
			text = err.Error()
		}
		if !re.MatchString(text) {
			return fmt.Errorf("%s is not in the last answer:\n%s", re, text)
		}
		_, _ = io.WriteString(ts.Stdout(), text)
		return nil
	})
}

// exits is `exits CODE PROGRAM ARGUMENTS`: it runs the program as exec does, and wants
// this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGUMENTS")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		ended, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = ended.ExitCode()
	}
	stdout, stderr := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	_, _ = io.WriteString(ts.Stdout(), stdout) // which makes them what this command has said
	_, _ = io.WriteString(ts.Stderr(), stderr)
	if code != want {
		ts.Fatalf("the exit code is %d, not %d", code, want)
	}
}

// orders is `orders N`: the CA of the last `await-dev` has seen N orders.
func orders(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: orders N")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	poll(ts, scriptPatience, func() error {
		got, err := countOrders(ts.Getenv("CA"), readRoots(ts.Getenv("SHINGLE_DATA")))
		ts.Check(err)
		if got > want {
			ts.Fatalf("the CA has seen %d orders, want %d", got, want)
		}
		if got < want {
			return fmt.Errorf("the CA has seen %d orders, want %d", got, want)
		}
		return nil
	})
}

// scriptT is a script for what needs a test.
type scriptT struct{ *testscript.TestScript }

func (scriptT) Helper() {}

func (s scriptT) Fatal(args ...any) { s.Fatalf("%s", fmt.Sprint(args...)) }

// ownCert is `own-cert NAME DAYS HOST...`: it writes NAME.crt, a chain for the
// hosts that a CA of its own has signed, which ends in so many days, and NAME.key.
func ownCert(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: own-cert NAME DAYS HOST...")
	}
	days, err := strconv.Atoi(args[1])
	ts.Check(err)
	leaf := certtest.New(scriptT{ts}, "Own").Issue(func(c *x509.Certificate) {
		c.NotAfter = time.Now().AddDate(0, 0, days).Add(time.Hour)
		c.NotBefore = c.NotAfter.AddDate(0, 0, -90)
	}, args[2:]...)
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o700))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".crt"), []byte(leaf.Chain()), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".key"), []byte(leaf.KeyPEM()), 0o600))
}

// serves is `serves HOST FILE`: it waits until visitors of the host get the
// certificate that is the first in the file.
func serves(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: serves HOST FILE")
	}
	block, _ := pem.Decode([]byte(ts.ReadFile(args[1])))
	poll(ts, scriptPatience, func() error {
		c, err := tls.Dial("tcp", ts.Getenv("HTTPS"), &tls.Config{ServerName: args[0], InsecureSkipVerify: true})
		if err != nil {
			return err
		}
		defer c.Close()
		if leaf := c.ConnectionState().PeerCertificates[0]; !bytes.Equal(leaf.Raw, block.Bytes) {
			return fmt.Errorf("the certificate that is served was issued by %s", leaf.Issuer)
		}
		return nil
	})
}

// poll calls f until it returns nil, and ends the script when that takes longer
// than bound.
func poll(ts *testscript.TestScript, bound time.Duration, f func() error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(bound); ; <-tick.C {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("after %s: %v", bound, err)
		}
	}
}

// fetch makes the request of `visit` and returns the answer as text.
func fetch(ts *testscript.TestScript, args []string) (string, error) {
	r, http2 := visitRequest(ts, args)
	c := clientOf(readRoots(ts.Getenv("SHINGLE_DATA")), http2)
	defer c.CloseIdleConnections()
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	return answerText(resp)
}

func visitRequest(ts *testscript.TestScript, args []string) (r *http.Request, http2 bool) {
	header, http2 := http.Header{}, true
	for len(args) > 1 {
		switch args[0] {
		case "--http1":
			http2 = false
		case "-H":
			name, value, _ := strings.Cut(args[1], ":")
			header.Add(name, strings.TrimSpace(value))
			args = args[1:]
		default:
			ts.Fatalf("visit does not know %s", args[0])
		}
		args = args[1:]
	}
	if len(args) == 0 {
		ts.Fatalf("usage: visit [--http1] [-H 'NAME: VALUE'] URL")
	}
	r, err := http.NewRequest(http.MethodGet, args[0], nil)
	ts.Check(err)
	r.Header = header
	return r, http2
}

func answerText(resp *http.Response) (string, error) {
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s %s\n", resp.Proto, resp.Status)
	for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
		fmt.Fprintf(&text, "%s: %s\n", name, strings.Join(resp.Header[name], " | "))
	}
	text.WriteString("\n")
	_, err := text.ReadFrom(resp.Body)
	if b := text.Bytes(); b[len(b)-1] != '\n' {
		text.WriteString("\n")
	}
	return text.String(), err
}

// readRoots returns the CA of the `shingle dev` in dir; none when it has not
// run.
func readRoots(dir string) *x509.CertPool {
	roots := x509.NewCertPool()
	if pem, err := os.ReadFile(filepath.Join(dir, "ca", "root.pem")); err == nil {
		roots.AppendCertsFromPEM(pem)
	}
	return roots
}

// clientOf returns a client with connections of its own, which all go to
// 127.0.0.1.
func clientOf(roots *x509.CertPool, http2 bool) *http.Client {
	return &http.Client{Timeout: scriptPatience, Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: http2,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
		},
	}}
}

// countOrders returns how many orders the CA has seen since its start.
func countOrders(directory string, roots *x509.CertPool) (int, error) {
	base, ok := strings.CutSuffix(directory, "/dir")
	if !ok {
		return 0, errors.New("there is no CA to ask")
	}
	c := clientOf(roots, false)
	defer c.CloseIdleConnections()
	resp, err := c.Get(base + "/stats")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var stats struct{ Orders int }
	if err := json.NewDecoder(resp.Body).Decode(&stats); err != nil {
		return 0, fmt.Errorf("read the CA's stats: %w", err)
	}
	return stats.Orders, nil
}
