package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

type healthCmd struct {
	EdgeHTTP string        `name:"edge-http" default:":80" placeholder:"ADDRESS" env:"SHINGLE_EDGE_HTTP" help:"Where the edge listens for HTTP."`
	API      string        `name:"api" placeholder:"ADDRESS" help:"Ask the API there, not the edge: for a process that runs control."`
	Timeout  time.Duration `default:"3s" placeholder:"TIME" help:"How long an answer may take."`
}

// Help is what --help adds.
func (healthCmd) Help() string {
	return "For what looks after processes, such as a container's health check. The exit code is 0 when the process on this machine can serve."
}

// Run asks for /health.
func (c healthCmd) Run(ctx context.Context, s streams) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	address := c.EdgeHTTP
	if c.API != "" {
		address = c.API
	}
	url, err := healthURL(address)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r) // no proxy: it is this machine
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("read %s: %w", url, err)
	}
	said := strings.TrimSpace(string(text))
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("not healthy: %d %s", answer.StatusCode, said)
	}
	_, err = fmt.Fprintln(s.Out, said)
	return err
}

// healthURL is where a process that listens on an address can be asked from its
// own machine.
func healthURL(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("%q is no address to listen on, such as :80", address)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1" // no name: in an image without /etc/hosts even localhost is none
	}
	return "http://" + net.JoinHostPort(host, port) + "/health", nil
}
