// Package smoke tries an installation from outside, step by step: what it looks at is
// what visitors and the product meet.
package smoke

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Outcome is how a step went.
type Outcome string

// The outcomes.
const (
	OK      Outcome = "ok"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
)

// Result is what became of a step.
type Result struct {
	Step    string  `json:"step"`
	What    string  `json:"what"` // was looked at
	Outcome Outcome `json:"outcome"`
	Found   string  `json:"found,omitempty"`
	Reason  string  `json:"reason,omitempty"` // why it failed, or was skipped
	Do      string  `json:"do,omitempty"`     // what the operator does about it
	Seconds float64 `json:"seconds"`
}

// Run does the steps one after the other, and calls each with every result as it comes.
// One that fails does not keep those from being done that do not need it. When ctx ends,
// what is left is skipped, but for what takes away again what was made.
func Run(ctx context.Context, steps []shingle.SmokeStep, each func(Result)) []Result {
	var all []Result
	for i := range steps {
		r := run(ctx, &steps[i], all)
		each(r)
		all = append(all, r)
	}
	return all
}

func run(ctx context.Context, s *shingle.SmokeStep, before []Result) Result {
	r := Result{Step: s.Name, What: s.What, Outcome: Skipped}
	if missing := lacking(s.Needs, before); missing != "" {
		r.Reason = "needs " + missing
		return r
	}
	if s.Always {
		ctx = context.WithoutCancel(ctx)
	} else if ctx.Err() != nil {
		r.Reason = ended(ctx)
		return r
	}
	within, cancel := context.WithTimeout(ctx, s.Within)
	defer cancel()
	begun := time.Now()
	found, err := s.Do(within)
	r.Seconds = time.Since(begun).Round(time.Millisecond).Seconds()
	r.judge(found, err)
	switch {
	case err == nil:
	case ctx.Err() != nil: // what it broke off says nothing
		r.Outcome, r.Reason, r.Do = Skipped, ended(ctx), ""
	case errors.Is(err, context.DeadlineExceeded):
		r.Reason = fmt.Sprintf("nothing came of it within %s", s.Within)
	}
	return r
}

// lacking returns the steps among needs that did not go well.
func lacking(needs []string, before []Result) string {
	var list []string
	for _, r := range before {
		if r.Outcome != OK && slices.Contains(needs, r.Step) {
			list = append(list, r.Step)
		}
	}
	return strings.Join(list, " and ")
}

func ended(ctx context.Context) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return "the time for all steps was up"
	}
	return "interrupted"
}

func (r *Result) judge(found string, err error) {
	fault, known := errors.AsType[*shingle.SmokeFault](err)
	switch {
	case err == nil:
		r.Outcome, r.Found = OK, found
	case !known:
		r.Outcome, r.Reason = Failed, sentence(err)
	default:
		r.Outcome, r.Reason, r.Do = Failed, sentence(err), fault.Do
		if fault.Skipped {
			r.Outcome = Skipped
		}
	}
}

// sentence makes one line of an error.
func sentence(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// Count returns how many of the results have an outcome.
func Count(all []Result, is Outcome) (n int) {
	for _, r := range all {
		if r.Outcome == is {
			n++
		}
	}
	return n
}
