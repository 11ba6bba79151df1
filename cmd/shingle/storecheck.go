package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/app"
)

type storeCheckCmd struct {
	processFlags
	storeFlags
	JSON bool `name:"json" help:"Print what a program reads."`
}

// Help is what --help adds.
func (storeCheckCmd) Help() string {
	return "It does to the store what the running processes do, at keys of its own, and leaves nothing behind. Warnings are what works and should be better; " +
		"what failed is what to mend first, and makes the exit code 1."
}

// Run checks the store.
func (c *storeCheckCmd) Run(ctx context.Context, s streams) error {
	cfg := c.config(s, app.RoleAll)
	c.apply(&cfg)
	reports, err := app.CheckStore(ctx, cfg)
	if err != nil {
		return err
	}
	if c.JSON {
		err = printJSON(s.Out, reportsJSON(reports))
	} else {
		err = printReports(s.Out, reports)
	}
	if err == nil && count(reports, shingle.SeverityFailed) > 0 {
		err = errors.New("the store does not work as it must: see what failed")
	}
	return err
}

func count(reports []*app.StoreReport, is shingle.Severity) (n int) {
	for _, r := range reports {
		for _, f := range r.Findings {
			if f.Severity == is {
				n++
			}
		}
	}
	return n
}

var severityWords = map[shingle.Severity]string{
	shingle.SeverityOK: "ok", shingle.SeverityUnknown: "unknown", shingle.SeverityWarning: "WARNING", shingle.SeverityFailed: "FAILED",
}

// printReports writes a paragraph a place and a line a finding.
func printReports(w io.Writer, reports []*app.StoreReport) error {
	var b strings.Builder
	for _, r := range reports {
		fmt.Fprintf(&b, "%s  (%s)\n", r.Place, r.Keeps)
		for _, f := range r.Findings {
			fmt.Fprintf(&b, "  %-7s  %-22s  %s\n", severityWords[f.Severity], f.Check, f.Message)
			if f.Do != "" {
				fmt.Fprintf(&b, "  %-7s  %-22s  do: %s\n", "", "", f.Do)
			}
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "failed: %d, warnings: %d\n", count(reports, shingle.SeverityFailed), count(reports, shingle.SeverityWarning))
	_, err := io.WriteString(w, b.String())
	return err
}

// storeReportJSON is a report for programs.
type storeReportJSON struct {
	Place    string        `json:"place"`
	Keeps    string        `json:"keeps"`
	Findings []findingJSON `json:"findings"`
	Reads    *latencyJSON  `json:"reads,omitempty"`
	Writes   *latencyJSON  `json:"writes,omitempty"`
}

type findingJSON struct {
	Check    string           `json:"check"`
	Severity shingle.Severity `json:"severity"`
	Message  string           `json:"message"`
	Do       string           `json:"do,omitempty"`
}

// latencyJSON is in milliseconds.
type latencyJSON struct {
	Min    float64 `json:"min_ms"`
	Median float64 `json:"median_ms"`
	Max    float64 `json:"max_ms"`
}

func reportsJSON(reports []*app.StoreReport) []storeReportJSON {
	list := make([]storeReportJSON, len(reports))
	for i, r := range reports {
		list[i] = storeReportJSON{Place: r.Place, Keeps: r.Keeps, Reads: latency(r.Reads), Writes: latency(r.Writes)}
		for _, f := range r.Findings {
			list[i].Findings = append(list[i].Findings, findingJSON(f))
		}
	}
	return list
}

func latency(times []time.Duration) *latencyJSON {
	if len(times) == 0 {
		return nil
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return &latencyJSON{Min: ms(times[0]), Median: ms(times[len(times)/2]), Max: ms(times[len(times)-1])}
}
