package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle/internal/smoke"
)

// smokeReport is what --json prints.
type smokeReport struct {
	Stage   string         `json:"stage,omitempty"`
	Begun   time.Time      `json:"begun"`
	Seconds float64        `json:"seconds"`
	OK      bool           `json:"ok"` // no step failed, and none could not be tried
	Steps   []smoke.Result `json:"steps"`
}

var outcomeWords = map[smoke.Outcome]string{smoke.OK: "ok", smoke.Failed: "FAILED", smoke.Skipped: "skipped"}

// printSmoke writes how a step went.
func printSmoke(w io.Writer, r smoke.Result) {
	line := fmt.Sprintf("%-7s  %-16s  %s", outcomeWords[r.Outcome], r.Step, r.What)
	if more := r.Found + r.Reason; more != "" { // it has one of them
		line += ": " + more
	}
	if r.Outcome != smoke.Skipped {
		line += fmt.Sprintf(" (%.1fs)", r.Seconds)
	}
	if r.Outcome == smoke.Failed {
		line = colour(w, "31", line)
	}
	if r.Do != "" {
		line += fmt.Sprintf("\n%-7s  %-16s  do: %s", "", "", r.Do)
	}
	_, _ = fmt.Fprintln(w, line)
}

// end prints what is left to say, and returns the error of steps that did not go well.
func (r *smokeReport) end(w io.Writer, asJSON bool, skip []string) error {
	r.Seconds = time.Since(r.Begun).Round(time.Millisecond).Seconds()
	err := r.verdict(skip)
	r.OK = err == nil
	if asJSON {
		return errors.Join(printJSON(w, r), err)
	}
	_, _ = fmt.Fprintf(w, "\n%d ok, %d failed, %d skipped, in %s\n", smoke.Count(r.Steps, smoke.OK), smoke.Count(r.Steps, smoke.Failed), smoke.Count(r.Steps, smoke.Skipped),
		time.Since(r.Begun).Round(time.Second))
	return err
}

// verdict is an error when a step failed, or one of which --skip does not speak could not
// be tried.
func (r *smokeReport) verdict(skip []string) error {
	var failed, left []string
	for _, s := range r.Steps {
		switch {
		case s.Outcome == smoke.Failed:
			failed = append(failed, s.Step)
		case s.Outcome == smoke.Skipped && len(skip) == 0:
			left = append(left, s.Step)
		case s.Outcome == smoke.Skipped && !slices.Contains(skip, s.Step) && !strings.HasPrefix(s.Reason, "needs "):
			left = append(left, s.Step)
		}
	}
	switch {
	case failed != nil:
		return fmt.Errorf("it does not all work: %s failed", strings.Join(failed, ", "))
	case left != nil:
		return &exitError{untried, fmt.Errorf("nothing failed, but not all could be tried: %s", strings.Join(left, ", "))}
	}
	return nil
}

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

// Error implements error.
func (e *exitError) Error() string { return e.err.Error() }

// Unwrap returns the error.
func (e *exitError) Unwrap() error { return e.err }
