// Fleet measures what a fleet over DynamoDB does with many domains: how an edge
// starts, its memory and its reads at rest (scale), and how long a domain that was
// added takes to be on every edge (delay); and how long pages of the list of domains take,
// over DynamoDB and SQLite (lists); and how the control plane starts and answers as a function
// of AWS Lambda (function).
//
//	go run ./scripts/servers -only dynamodb go run ./bench/fleet -domains 100000
//
// It runs the real program, built from this tree, over AWS's own DynamoDB Local.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

type options struct {
	domains int
	rest    time.Duration
	changes int
	edges   int
	pages   int

	instances int
	over      string
	what      string
}

func main() {
	var o options
	flag.IntVar(&o.domains, "domains", 20_000, "scale, lists: how many domains; a million takes seven minutes, and half an hour for lists")
	flag.DurationVar(&o.rest, "rest", 30*time.Second, "scale: how long reads at rest are counted")
	flag.IntVar(&o.changes, "changes", 100, "delay: how many domains are added")
	flag.IntVar(&o.edges, "edges", 3, "delay: how many edges there are")
	flag.IntVar(&o.pages, "pages", 30, "lists: how often each page is asked for")
	flag.StringVar(&o.over, "over", "", "lists: sqlite or dynamodb; both unless set")
	flag.IntVar(&o.instances, "instances", 11, "function: how many instances are started")
	flag.StringVar(&o.what, "what", "scale,delay", "what to measure: scale, delay, lists, function")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	endpoint := os.Getenv("SHINGLE_TEST_DYNAMODB")
	if endpoint == "" {
		return errors.New("there is no DynamoDB: go run ./scripts/servers -only dynamodb go run ./bench/fleet")
	}
	dir, err := os.MkdirTemp("", "fleet-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{options: o, dir: dir, endpoint: endpoint, binary: filepath.Join(dir, "shingle")}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", b.binary, "./cmd/shingle")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	defer b.stopAll()
	for _, part := range []struct {
		name    string
		measure func(context.Context) error
	}{{"scale", b.scale}, {"delay", b.delay}, {"lists", b.lists}, {"function", b.function}} {
		if !strings.Contains(o.what, part.name) {
			continue
		}
		if err := part.measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// bench is one run.
type bench struct {
	options
	dir, endpoint, binary string
	direct                bool // requests to DynamoDB are not counted
	processes             []*process
}
