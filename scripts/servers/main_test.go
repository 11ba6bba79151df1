package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain is, with a port in its environment, the server that the tests start.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		_ = http.ListenAndServe("127.0.0.1:"+os.Args[2], http.NotFoundHandler()) // ends with the process
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// withServer has run know one server alone, which tells its port.
func withServer(t *testing.T, install func(context.Context, string) error) (cache string) {
	t.Helper()
	before := servers
	t.Cleanup(func() { servers = before })
	servers = []*server{{name: "fake", version: "1", install: install, command: func(_, _, port string) (arguments, environment []string) {
		return []string{os.Args[0], "serve", port}, []string{"FAKE_PORT=" + port}
	}}}
	return t.TempDir()
}

func TestRun_EndsServersHoweverTheCommandEnds(t *testing.T) {
	installs := 0
	cache := withServer(t, func(context.Context, string) error { installs++; return nil })
	for script, want := range map[string]int{"exit 0": 0, "exit 3": 3, "kill -9 $$": 1} {
		file := filepath.Join(t.TempDir(), "port")
		code, err := run(cache, []string{"fake"}, []string{"sh", "-c", "echo $FAKE_PORT >" + file + "; " + script})
		if code != want || err != nil {
			t.Errorf("%s: code %d, %v; want %d", script, code, err, want)
		}
		port, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := net.Dial("tcp", "127.0.0.1:"+strings.TrimSpace(string(port))); err == nil {
			c.Close()
			t.Errorf("%s: the server still runs", script)
		}
	}
	if installs != 1 {
		t.Errorf("installed %d times", installs)
	}
	left, err := filepath.Glob(filepath.Join(cache, "run-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestRun_InstallsAnewWhatDidNotComeToItsEnd(t *testing.T) {
	var seen []string
	cache := withServer(t, func(_ context.Context, dir string) error {
		seen, _ = filepath.Glob(filepath.Join(dir, "*"))
		if err := os.WriteFile(filepath.Join(dir, "half"), nil, 0o644); err != nil {
			return err
		}
		return errors.New("no network")
	})
	for range 2 {
		code, err := run(cache, []string{"fake"}, []string{"true"})
		if code == 0 || err == nil || !strings.Contains(err.Error(), "install fake 1: no network") {
			t.Errorf("code %d, %v", code, err)
		}
	}
	if len(seen) != 0 {
		t.Errorf("the second installation found %q", seen)
	}
}

func TestProcess_SaysWhyItEnded(t *testing.T) {
	p, err := startProcess([]string{"sh", "-c", "echo no such option; exit 1"}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer p.end()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.await(ctx, "http://127.0.0.1:1/"); err == nil || !strings.Contains(err.Error(), "no such option") {
		t.Errorf("got %v", err)
	}
}

func TestChoose_RefusesUnknownNames(t *testing.T) {
	if _, err := choose([]string{"dynamodb", "nothing"}); err == nil {
		t.Error("no error")
	}
}
