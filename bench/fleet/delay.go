package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shingle-proxy/shingle/internal/api"
)

// delay measures the time from the API's answer until a new domain is in the table
// of every edge, which its metrics tell, and how long an edge takes that is asked
// for it at once.
func (b *bench) delay(ctx context.Context) error {
	table, err := b.newTable(ctx)
	if err != nil {
		return err
	}
	client, err := b.control(ctx, table)
	if err != nil {
		return err
	}
	var edges []*process
	var metrics []string
	for i := range b.edges {
		at, err := freeAddr()
		if err != nil {
			return err
		}
		p, err := b.start(ctx, filepath.Join(b.dir, fmt.Sprint("edge", i)), table, "edge", "--edge-http", "127.0.0.1:0", "--edge-https", "127.0.0.1:0", "--metrics", at)
		if err != nil {
			return err
		}
		edges, metrics = append(edges, p), append(metrics, "http://"+at+"/metrics")
	}
	var all, first, asked []time.Duration
	for n := range b.changes {
		if _, err := client.CreateDomain(ctx, api.NewDomain{Host: hostOf(2 * n)}); err != nil {
			return err
		}
		took, err := arrival(ctx, metrics, 2*n+1)
		if err != nil {
			return err
		}
		all, first = append(all, slices.Max(took)), append(first, took...)
		if _, err := client.CreateDomain(ctx, api.NewDomain{Host: hostOf(2*n + 1)}); err != nil {
			return err
		}
		for _, e := range edges {
			took, err := visit(ctx, e, hostOf(2*n+1))
			if err != nil {
				return err
			}
			asked = append(asked, took)
		}
		if _, err := arrival(ctx, metrics, 2*n+2); err != nil {
			return err
		}
	}
	fmt.Printf("\n| %d domains, %d edges | median | 90 %% | 99 %% | most |\n|---|---:|---:|---:|---:|\n", b.changes, b.edges)
	for _, line := range []struct {
		what string
		took []time.Duration
	}{{"in the table of an edge", first}, {"in the tables of all edges", all}, {"answered by an edge that was asked at once", asked}} {
		slices.Sort(line.took)
		at := func(share float64) int64 { return line.took[int(share*float64(len(line.took)-1))].Milliseconds() }
		fmt.Printf("| %s | %d ms | %d ms | %d ms | %d ms |\n", line.what, at(0.5), at(0.9), at(0.99), at(1))
	}
	return nil
}

func (b *bench) control(ctx context.Context, table string) (*api.Client, error) {
	p, err := b.start(ctx, filepath.Join(b.dir, "control"), table, "control")
	if err != nil {
		return nil, err
	}
	token, err := os.ReadFile(filepath.Join(p.data, "token"))
	if err != nil {
		return nil, err
	}
	return api.NewClient("http://"+p.addr("API"), strings.TrimSpace(string(token)))
}

// arrival returns when each edge has so many domains.
func arrival(ctx context.Context, metrics []string, domains int) ([]time.Duration, error) {
	took := make([]time.Duration, len(metrics))
	begin := time.Now()
	var group errgroup.Group
	for i, url := range metrics {
		group.Go(func() error {
			for time.Since(begin) < 30*time.Second {
				n, err := count(ctx, url)
				if err != nil {
					return err
				}
				if took[i] = time.Since(begin); n >= domains {
					return nil
				}
				time.Sleep(10 * time.Millisecond)
			}
			return errors.New("a domain did not arrive in 30 s")
		})
	}
	return took, group.Wait()
}

// freeAddr is an address that was free a moment ago.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// count returns how many domains an edge's table has.
func count(ctx context.Context, url string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "shingle_edge_domains "); ok {
			return strconv.Atoi(value)
		}
	}
	return 0, errors.New("no shingle_edge_domains")
}

// visit asks an edge for a host until it knows it.
func visit(ctx context.Context, e *process, host string) (time.Duration, error) {
	begin := time.Now()
	for time.Since(begin) < 30*time.Second {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.addr("HTTP"), http.NoBody)
		if err != nil {
			return 0, err
		}
		req.Host = host
		resp, err := http.DefaultTransport.RoundTrip(req) // follows no redirect
		if err != nil {
			return 0, err
		}
		if err := resp.Body.Close(); err != nil {
			return 0, err
		}
		if resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusMisdirectedRequest {
			return time.Since(begin), nil
		}
	}
	return 0, errors.New("a domain was not served in 30 s")
}
