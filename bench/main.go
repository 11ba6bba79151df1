// Bench compares the edge, as a reverse proxy, with other proxies.
//
// Every proxy runs at the same time, each confined to one and the same CPU; the
// load generator and the origin have another. All speak TLS 1.3 to the client
// and plain HTTP/1.1 on kept connections to the origin, set the same forwarding
// fields and write no access log. The proxies are measured one after the other,
// in rounds, so that a slow minute of the machine hits all of them.
//
// What is compared is completed requests per second of CPU time that the proxy
// used, which other work on the machine disturbs less than requests per second.
// Every answer is checked to the last byte; one wrong answer ends the run.
//
// It needs Linux and taskset. Peers are built or fetched into a cache folder.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	rounds   int
	seconds  float64
	rate     int
	peers    string
	cases    string
	out      string
	cache    string
	proxyCPU int
	loadCPU  int
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 5, "measurements of each proxy and case")
	flag.Float64Var(&o.seconds, "seconds", 3, "length of one measurement")
	flag.IntVar(&o.rate, "rate", 1000, "requests per second at which latency is measured; 0: not at all")
	flag.StringVar(&o.peers, "peers", "", "comma-separated names; default: all that can be had here")
	flag.StringVar(&o.cases, "cases", "", "comma-separated names; default: all")
	flag.StringVar(&o.out, "out", "bench/results/latest.md", "file for the report")
	flag.StringVar(&o.cache, "cache", ".cache", "folder for the peers' programs")
	flag.IntVar(&o.proxyCPU, "proxy-cpu", 0, "CPU of the proxies")
	flag.IntVar(&o.loadCPU, "load-cpu", 1, "CPU of the load generator and the origin")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.rounds < 1 || o.seconds <= 0 || flag.NArg() > 0 {
		return errors.New("at least one round of some length is needed, and no arguments")
	}
	peers, err := choose(allPeers, o.peers, func(p *peer) string { return p.name })
	if err != nil {
		return fmt.Errorf("choose peers: %w", err)
	}
	cases, err := choose(allCases, o.cases, func(c loadCase) string { return c.name })
	if err != nil {
		return fmt.Errorf("choose cases: %w", err)
	}
	if o.cache, err = filepath.Abs(o.cache); err != nil {
		return fmt.Errorf("find cache: %w", err)
	}
	dir, err := os.MkdirTemp("", "shingle-bench-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a left-over temporary folder harms nothing

	rep := &report{options: o}
	peers, err = build(ctx, o, peers, rep)
	if err != nil {
		return err
	}
	if err := pinSelf(ctx, o.loadCPU); err != nil {
		return err
	}
	stopAll, err := startAll(ctx, o, dir, peers)
	defer stopAll()
	if err != nil {
		return err
	}
	if err := measureAll(ctx, o, peers, cases, rep); err != nil {
		return err
	}
	return rep.publish(ctx, o.out)
}

// choose returns the members of all that are listed in names, or all of them.
func choose[T any](all []T, names string, name func(T) string) ([]T, error) {
	if names == "" {
		return all, nil
	}
	var chosen []T
	for n := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(t T) bool { return name(t) == n })
		if i < 0 {
			return nil, fmt.Errorf("there is no %q", n)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// build gets each peer's program. One that cannot be had is left out, and the
// report says so, unless it is ours or was asked for by name.
func build(ctx context.Context, o options, peers []*peer, rep *report) ([]*peer, error) {
	var built []*peer
	for _, p := range peers {
		progress("building %s", p.name)
		err := p.build(ctx, p, o.cache)
		if err == nil {
			built = append(built, p)
			rep.peers = append(rep.peers, p)
			continue
		}
		if p.ours || o.peers != "" || ctx.Err() != nil {
			return nil, fmt.Errorf("build %s: %w", p.name, err)
		}
		progress("NOT MEASURED: %s: %v", p.name, err)
		rep.missing = append(rep.missing, fmt.Sprintf("%s: %v", p.name, err))
	}
	if len(built) == 0 {
		return nil, errors.New("there is nothing to measure")
	}
	return built, nil
}

// startAll starts the origin and the peers, and returns what stops them, which
// is to be called also after an error.
func startAll(ctx context.Context, o options, dir string, peers []*peer) (stop func(), err error) {
	org, err := startOrigin()
	if err != nil {
		return func() {}, err
	}
	stop = func() {
		for _, p := range peers {
			p.stop()
		}
		org.close()
	}
	authority, err := newCertificates(dir)
	if err != nil {
		return stop, err
	}
	for _, p := range peers {
		progress("starting %s", p.name)
		if err := p.start(ctx, dir, authority, org.addr(), o.proxyCPU); err != nil {
			return stop, fmt.Errorf("start %s: %w", p.name, err)
		}
	}
	return stop, nil
}

func measureAll(ctx context.Context, o options, peers []*peer, cases []loadCase, rep *report) error {
	length := time.Duration(o.seconds * float64(time.Second))
	for round := range o.rounds {
		for _, c := range cases {
			for i := range peers { // each round begins with another peer
				p := peers[(i+round)%len(peers)]
				if c.proto == "h3" && !p.http3 {
					continue
				}
				s, err := measure(ctx, p, c, length)
				if err != nil {
					return fmt.Errorf("measure %s, %s: %w", p.name, c.name, err)
				}
				progress("round %d  %-10s %-16s %8.0f per CPU-second, CPU %3.0f%%", round+1, c.name, p.name, s.perCPU(), s.busy()*100)
				rep.add(c, p, s)
			}
		}
	}
	if o.rate == 0 {
		return nil
	}
	for _, c := range cases {
		if !c.latency {
			continue
		}
		for _, p := range peers {
			if c.proto == "h3" && !p.http3 {
				continue
			}
			times, err := measureLatency(ctx, p, c, length, o.rate)
			if err != nil {
				return fmt.Errorf("measure latency of %s, %s: %w", p.name, c.name, err)
			}
			rep.addLatency(c, p, times)
		}
	}
	return nil
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
