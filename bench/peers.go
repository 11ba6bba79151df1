package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// caddyVersion is the Caddy that is compared with.
const caddyVersion = "v2.11.9"

// The peers with which the others are compared in the report.
var references = []string{"caddy", "nginx"}

// allPeers, the one that is ours first. How each is configured is in peers/.
var allPeers = []*peer{
	{
		name:  "shingle",
		http3: true,
		ours:  true,
		build: buildShingle,
		args: []string{
			"dev", "--target", "http://{{.Origin}}", "--data", "{{.Dir}}/data",
			"--edge-https", "127.0.0.1:{{.Port}}",
			"--edge-http", "127.0.0.1:{{index .Spare 0}}",
			"--control", "127.0.0.1:{{index .Spare 1}}",
		},
		domain: shingleDomain,
		roots:  "{{.Dir}}/data/ca/root.pem",
	},
	{
		name:  "caddy",
		http3: true,
		build: buildCaddy,
		files: []string{"Caddyfile"},
		args:  []string{"run", "--adapter", "caddyfile", "--config", "{{.Dir}}/Caddyfile"},
	},
	{
		name:  "nginx",
		build: buildNginx,
		files: []string{"nginx.conf"},
		args:  []string{"-p", "{{.Dir}}", "-e", "{{.Dir}}/error.log", "-c", "{{.Dir}}/nginx.conf"},
	},
	{
		name:  "haproxy",
		build: buildHAProxy,
		files: []string{"haproxy.cfg"},
		args:  []string{"-db", "-f", "{{.Dir}}/haproxy.cfg"},
	},
	{
		name:  "go-reverseproxy",
		build: buildBaseline,
		args: []string{
			"-listen", "127.0.0.1:{{.Port}}", "-target", "{{.Origin}}", "-cert", "{{.Chain}}", "-key", "{{.Key}}",
		},
	},
}

// shingleDomain is the example domain that `shingle dev` allows from the start.
const shingleDomain = "blog.customer.localhost"

func buildShingle(ctx context.Context, p *peer, cache string) error {
	return buildHere(ctx, p, cache, "./cmd/shingle")
}

func buildBaseline(ctx context.Context, p *peer, cache string) error {
	return buildHere(ctx, p, cache, "./bench/baseline")
}

// buildHere builds a package of this module.
func buildHere(ctx context.Context, p *peer, cache, pkg string) error {
	p.program = filepath.Join(cache, "bin", p.name)
	if _, err := output(ctx, nil, "go", "build", "-trimpath", "-o", p.program, pkg); err != nil {
		return err
	}
	toolchain, err := output(ctx, nil, "go", "env", "GOVERSION")
	p.version = "this checkout, " + toolchain
	return err
}

func buildCaddy(ctx context.Context, p *peer, cache string) error {
	dir := filepath.Join(cache, "caddy-"+caddyVersion)
	p.program = filepath.Join(dir, "caddy")
	if _, err := os.Stat(p.program); errors.Is(err, os.ErrNotExist) {
		env := []string{"GOBIN=" + dir, "GOFLAGS="}
		if _, err := output(ctx, env, "go", "install", "github.com/caddyserver/caddy/v2/cmd/caddy@"+caddyVersion); err != nil {
			return err
		}
	}
	toolchain, err := output(ctx, nil, "go", "version", p.program)
	if err != nil {
		return err
	}
	p.version = caddyVersion + ", " + toolchain[strings.LastIndexByte(toolchain, ' ')+1:]
	return nil
}

func buildNginx(ctx context.Context, p *peer, cache string) error {
	if err := debianProgram(ctx, p, cache, "sbin/nginx", "nginx"); err != nil {
		return err
	}
	return p.askVersion(ctx, "-v")
}

func buildHAProxy(ctx context.Context, p *peer, cache string) error {
	err := debianProgram(ctx, p, cache, "sbin/haproxy", "haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1")
	if err != nil {
		return err
	}
	return p.askVersion(ctx, "-v")
}

// askVersion keeps the first line of what the program says of itself.
func (p *peer) askVersion(ctx context.Context, flag string) error {
	text, err := output(ctx, p.env, p.program, flag)
	p.version, _, _ = strings.Cut(text, "\n")
	return err
}

// output runs a command and returns what it prints, without the space around.
func output(ctx context.Context, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	text, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(name), err, strings.TrimSpace(string(text)))
	}
	return strings.TrimSpace(string(text)), nil
}
