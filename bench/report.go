package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report collects the samples and writes them as Markdown.
type report struct {
	options options
	peers   []*peer
	missing []string
	results []*result
}

// result is one case.
type result struct {
	load    loadCase
	samples map[string][]sample // by peer, a sample a round
	times   map[string][]time.Duration
}

func (r *report) result(c loadCase) *result {
	for _, res := range r.results {
		if res.load.name == c.name {
			return res
		}
	}
	res := &result{load: c, samples: map[string][]sample{}, times: map[string][]time.Duration{}}
	r.results = append(r.results, res)
	return res
}

func (r *report) add(c loadCase, p *peer, s sample) {
	res := r.result(c)
	res.samples[p.name] = append(res.samples[p.name], s)
}

func (r *report) addLatency(c loadCase, p *peer, times []time.Duration) {
	r.result(c).times[p.name] = times
}

// publish prints the report and writes it to a file.
func (r *report) publish(ctx context.Context, file string) error {
	text := r.markdown(ctx)
	fmt.Print(text)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func (r *report) markdown(ctx context.Context) string {
	var b strings.Builder
	o := r.options
	fmt.Fprintf(&b, "# Benchmark, %s\n\n", time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintf(&b, "%s. Proxies on CPU %d, load and origin on CPU %d. %d rounds of %g s; medians, with the lowest and highest round. "+
		"A ratio is the median of the rounds' ratios.", machine(ctx), o.proxyCPU, o.loadCPU, o.rounds, o.seconds)
	if o.rate > 0 {
		fmt.Fprintf(&b, " Latency at %d requests per second.", o.rate)
	}
	b.WriteString("\n\n")
	for _, p := range r.peers {
		fmt.Fprintf(&b, "- %s: %s\n", p.name, p.version)
	}
	for _, m := range r.missing {
		fmt.Fprintf(&b, "- **not measured**: %s\n", m)
	}
	for _, res := range r.results {
		r.table(&b, res)
	}
	return b.String()
}

// table writes one case, a peer a row.
func (r *report) table(b *strings.Builder, res *result) {
	fmt.Fprintf(b, "\n## %s: %s\n\n| proxy | %s per CPU-second | lowest to highest |", res.load.name, res.load.title, res.load.unit)
	rule := "|---|---:|---:|"
	for _, ref := range references {
		fmt.Fprintf(b, " x %s |", ref)
		rule += "---:|"
	}
	b.WriteString(" CPU |")
	rule += "---:|"
	if len(res.times) > 0 {
		b.WriteString(" p50 | p99 |")
		rule += "---:|---:|"
	}
	b.WriteString("\n" + rule + "\n")
	for _, p := range r.peers {
		if len(res.samples[p.name]) == 0 {
			continue // it does not speak the protocol
		}
		row(b, res, p.name)
	}
}

func row(b *strings.Builder, res *result, name string) {
	var rates, busy []float64
	for _, s := range res.samples[name] {
		rates = append(rates, s.perCPU())
		busy = append(busy, s.busy()*100)
	}
	fmt.Fprintf(b, "| %s | %.0f | %.0f to %.0f |", name, median(rates), slices.Min(rates), slices.Max(rates))
	for _, ref := range references {
		if ratio, ok := res.ratio(name, ref); ok {
			fmt.Fprintf(b, " %.2f |", ratio)
		} else {
			b.WriteString(" - |")
		}
	}
	fmt.Fprintf(b, " %.0f %% |", median(busy))
	if times := res.times[name]; len(times) > 0 {
		fmt.Fprintf(b, " %s | %s |", quantile(times, 0.5), quantile(times, 0.99))
	}
	b.WriteString("\n")
}

// ratio compares two peers round by round. It reports false when the reference
// was not measured.
func (res *result) ratio(name, ref string) (float64, bool) {
	mine, theirs := res.samples[name], res.samples[ref]
	var ratios []float64
	for i := range min(len(mine), len(theirs)) {
		ratios = append(ratios, mine[i].perCPU()/theirs[i].perCPU())
	}
	if len(ratios) == 0 {
		return 0, false
	}
	return median(ratios), true
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// quantile picks from times in ascending order.
func quantile(times []time.Duration, q float64) time.Duration {
	return times[int(q*float64(len(times)-1))].Round(time.Microsecond)
}

// machine describes where the numbers come from, without its name.
func machine(ctx context.Context) string {
	model := runtime.GOARCH
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel, err := output(ctx, nil, "uname", "-sr")
	if err != nil {
		kernel = runtime.GOOS
	}
	return fmt.Sprintf("%s, %d CPUs, %s", model, runtime.NumCPU(), kernel)
}
