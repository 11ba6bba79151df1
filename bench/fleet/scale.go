package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// start is how a process started, and what it has then.
type start struct {
	what      string
	took      time.Duration
	now, most int64 // bytes of memory
}

// scale measures starts, memory and reads at rest with many domains.
func (b *bench) scale(ctx context.Context) error {
	table, err := b.newTable(ctx)
	if err != nil {
		return err
	}
	empty, err := b.edge(ctx, "an edge without domains", "none", table)
	if err != nil {
		return err
	}
	none, noReads := empty.start, empty.reads
	begin := time.Now()
	if err := b.loadTable(ctx, table); err != nil {
		return fmt.Errorf("load table: %w", err)
	}
	fmt.Printf("%d domains loaded into DynamoDB Local in %s\n", b.domains, time.Since(begin).Round(time.Second))
	cold, err := b.edge(ctx, "an edge, all read from DynamoDB Local", "cold", table)
	if err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(b.dir, "cold", "edge", "table"))
	if err != nil {
		return err
	}
	warm, err := b.edge(ctx, "an edge, from its snapshot", "cold", table)
	if err != nil {
		return err
	}
	begin = time.Now()
	machine := filepath.Join(b.dir, "machine")
	if err := os.MkdirAll(machine, 0o700); err != nil {
		return err
	}
	if err := b.loadSQLite(ctx, machine); err != nil {
		return fmt.Errorf("load database: %w", err)
	}
	fmt.Printf("%d domains loaded into SQLite in %s\n", b.domains, time.Since(begin).Round(time.Second))
	one, err := b.serve(ctx, machine, "shingle serve, all read from SQLite")
	if err != nil {
		return err
	}
	again, err := b.serve(ctx, machine, "shingle serve, from its snapshot")
	if err != nil {
		return err
	}
	fmt.Printf("\n| %d domains | ready after | memory then | at most | bytes a domain |\n|---|---:|---:|---:|---:|\n", b.domains)
	for _, s := range []start{none, cold.start, warm.start, one, again} {
		each := "" // of serve the control process is a part
		if s.what != none.what && s != one && s != again {
			each = fmt.Sprint((s.now - none.now) / int64(b.domains))
		}
		fmt.Printf("| %s | %.2f s | %d MB | %d MB | %s |\n", s.what, s.took.Seconds(), s.now>>20, s.most>>20, each)
	}
	fmt.Printf("\nsnapshot: %.1f bytes a domain; reading all: %d requests; reads at rest, a minute: %.0f, and %.0f without domains\n",
		float64(info.Size())/float64(b.domains), cold.requests, warm.reads, noReads)
	return nil
}

// edgeRun is an edge that started, and rested.
type edgeRun struct {
	start
	requests int64   // of the start
	reads    float64 // a minute, at rest
}

func (b *bench) edge(ctx context.Context, what, data, table string) (r edgeRun, err error) {
	p, err := b.start(ctx, filepath.Join(b.dir, data), table, "edge", "--edge-http", "127.0.0.1:0", "--edge-https", "127.0.0.1:0")
	if err != nil {
		return r, err
	}
	defer p.stop()
	r.what, r.took, r.requests = what, p.took, p.count.requests.Load()
	select {
	case <-time.After(10 * time.Second): // what is done once is done
	case <-ctx.Done():
		return r, ctx.Err()
	}
	before := p.count.requests.Load()
	select {
	case <-time.After(b.rest):
	case <-ctx.Done():
		return r, ctx.Err()
	}
	r.reads = float64(p.count.requests.Load()-before) / b.rest.Minutes()
	r.now, r.most, err = p.memory()
	fmt.Printf("%s: ready after %.2f s, %d requests; then %.0f a minute\n", what, r.took.Seconds(), r.requests, r.reads)
	return r, err
}

func (b *bench) serve(ctx context.Context, data, what string) (start, error) {
	p, err := b.start(ctx, data, "", "serve", "--edge-http", "127.0.0.1:0", "--edge-https", "127.0.0.1:0")
	if err != nil {
		return start{}, err
	}
	defer p.stop()
	s := start{what: what, took: p.took}
	s.now, s.most, err = p.memory()
	return s, err
}
