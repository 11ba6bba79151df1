package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// warmUp is how long the load runs before it is measured: long enough for
// every connection to have carried requests.
const warmUp = 300 * time.Millisecond

// grace is how much longer than planned a measurement may take.
const grace = 10 * time.Second

// loadCase is one kind of load.
type loadCase struct {
	name    string
	title   string
	unit    string // what is counted
	proto   string // the ALPN protocol
	conns   int
	streams int // requests in flight on each connection
	path    string
	run     func(ctx context.Context, t target, c loadCase, w *worker) error
	latency bool // measured too, at a fixed rate
}

var allCases = []loadCase{
	{
		name: "h1-small", title: "HTTP/1.1, 200-byte answers, 32 connections", unit: "requests",
		proto: "http/1.1", conns: 32, streams: 1, path: "/small", run: runHTTP1, latency: true,
	},
	{
		name: "h2-small", title: "HTTP/2, 200-byte answers, 8 connections with 16 streams each", unit: "requests",
		proto: "h2", conns: 8, streams: 16, path: "/small", run: runHTTP2, latency: true,
	},
	{
		name: "h3-small", title: "HTTP/3, 200-byte answers, 8 connections with 16 streams each", unit: "requests",
		proto: "h3", conns: 8, streams: 16, path: "/small", run: runHTTP3, latency: true,
	},
	{
		name: "h1-64k", title: "HTTP/1.1, 64 KiB answers, 32 connections", unit: "requests",
		proto: "http/1.1", conns: 32, streams: 1, path: "/large", run: runHTTP1,
	},
	{
		name: "h2-64k", title: "HTTP/2, 64 KiB answers, 8 connections with 16 streams each", unit: "requests",
		proto: "h2", conns: 8, streams: 16, path: "/large", run: runHTTP2,
	},
	{
		name: "h3-64k", title: "HTTP/3, 64 KiB answers, 8 connections with 16 streams each", unit: "requests",
		proto: "h3", conns: 8, streams: 16, path: "/large", run: runHTTP3,
	},
	{
		name: "handshake", title: "Full TLS 1.3 handshakes (ECDSA P-256, X25519), 16 at once, no request", unit: "handshakes",
		proto: "http/1.1", conns: 16, streams: 1, run: runHandshakes,
	},
}

// worker is the account of one connection's load. Its runner calls open once it
// can send, begin before and end after each request, and leaves when stopped.
type worker struct {
	stopped *atomic.Bool
	open    func() // may be called again

	done  atomic.Int64
	every time.Duration // between two requests; 0: at once, and nothing is timed
	next  time.Time
	times []time.Duration
}

// begin waits until the next request is due and returns the time from which its
// latency counts: that at which it was due, when the worker is behind.
func (w *worker) begin() time.Time {
	if w.every == 0 {
		return time.Time{}
	}
	due := w.next
	w.next = due.Add(w.every)
	if wait := time.Until(due); wait > 0 {
		time.Sleep(wait)
		return time.Now()
	}
	return due
}

func (w *worker) end(begun time.Time) {
	w.done.Add(1)
	if w.every != 0 {
		w.times = append(w.times, time.Since(begun))
	}
}

// sample is the outcome of one measurement.
type sample struct {
	done int64
	cpu  time.Duration // of the proxy
	wall time.Duration
}

func (s sample) perCPU() float64 { return float64(s.done) / s.cpu.Seconds() }
func (s sample) busy() float64   { return s.cpu.Seconds() / s.wall.Seconds() }

// measure loads p as hard as c allows, and counts for the given time.
func measure(ctx context.Context, p *peer, c loadCase, length time.Duration) (sample, error) {
	l := newLoad(c, 0)
	var s sample
	err := l.run(ctx, p, c, length, func(wait func(time.Duration) error) error {
		if err := wait(warmUp); err != nil {
			return err
		}
		done, begun := l.done(), time.Now()
		before, err := cpuTime(p.pid())
		if err != nil {
			return err
		}
		if err := wait(length); err != nil {
			return err
		}
		after, err := cpuTime(p.pid())
		s = sample{done: l.done() - done, cpu: after - before, wall: time.Since(begun)}
		return err
	})
	if err == nil && (s.done == 0 || s.cpu <= 0) {
		err = errors.New("nothing was completed")
	}
	return s, err
}

// measureLatency sends rate requests per second, one at a time on each
// connection, and returns how long they took, in ascending order.
func measureLatency(ctx context.Context, p *peer, c loadCase, length time.Duration, rate int) ([]time.Duration, error) {
	c.streams = 1
	l := newLoad(c, time.Second*time.Duration(c.conns)/time.Duration(rate))
	err := l.run(ctx, p, c, length, func(wait func(time.Duration) error) error { return wait(length) })
	var times []time.Duration
	for _, w := range l.workers {
		times = append(times, w.times...)
	}
	slices.Sort(times)
	if err == nil && len(times) == 0 {
		err = errors.New("nothing was completed")
	}
	return times, err
}

// load is a number of workers that run together.
type load struct {
	workers []*worker
	stopped atomic.Bool
	opening sync.WaitGroup
}

func newLoad(c loadCase, every time.Duration) *load {
	l := &load{}
	for i := range c.conns {
		l.opening.Add(1)
		l.workers = append(l.workers, &worker{
			stopped: &l.stopped,
			open:    sync.OnceFunc(l.opening.Done),
			every:   every,
			next:    time.Now().Add(warmUp + every*time.Duration(i)/time.Duration(c.conns)),
		})
	}
	return l
}

// run starts the workers, calls during once all are connected, and ends them.
// The wait that during gets returns early when a worker fails.
func (l *load) run(ctx context.Context, p *peer, c loadCase, length time.Duration, during func(wait func(time.Duration) error) error) error {
	ctx, cancel := context.WithTimeout(ctx, warmUp+length+grace)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range l.workers {
		g.Go(func() error {
			defer w.open()
			return c.run(ctx, p.target, c, w)
		})
	}
	g.Go(func() error {
		defer l.stopped.Store(true)
		l.opening.Wait()
		return during(func(d time.Duration) error {
			select {
			case <-time.After(d):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	})
	return g.Wait()
}

func (l *load) done() int64 {
	var n int64
	for _, w := range l.workers {
		n += w.done.Load()
	}
	return n
}
