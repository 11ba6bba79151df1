package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// maxOutput bounds what is kept of one test's output, in bytes; its end, where
// the failure is, is kept.
const maxOutput = 1 << 20

// unable is in the reason of a test that is skipped because of what the machine is:
// nothing that could be installed would help.
const unable = "this machine cannot: "

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action  string
	Package string
	Test    string // empty: about the package
	Output  string
}

// report turns the events into plain text.
type report struct {
	w       io.Writer
	err     error // the first that w returned
	failed  bool
	skipped []string // "package Test: reason"
	unable  []string // the same, of tests that this machine cannot run whatever is installed

	output map[string]map[string][]byte // package -> test -> what it printed and is not yet shown
	order  map[string][]string          // package -> its tests in the order in which they began to print
}

func newReport(w io.Writer) *report {
	return &report{w: w, output: map[string]map[string][]byte{}, order: map[string][]string{}}
}

// read takes events until the end of r. A line that is no event, such as the
// output of a test binary that died, is printed as it is.
func (r *report) read(from io.Reader) error {
	br := bufio.NewReader(from)
	for {
		line, err := br.ReadBytes('\n')
		var e event
		switch {
		case len(line) == 0:
		case json.Unmarshal(line, &e) != nil || e.Action == "":
			r.print(string(line))
		default:
			r.take(e)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
	}
}

func (r *report) take(e event) {
	switch e.Action {
	case "build-output":
		r.print(e.Output)
	case "build-fail":
		r.failed = true
	case "output":
		r.keep(e)
	case "pass":
		r.end(e, false)
	case "skip":
		if e.Test != "" {
			why := reason(r.output[e.Package][e.Test])
			list := &r.skipped
			if strings.Contains(why, unable) {
				list = &r.unable
			}
			*list = append(*list, e.Package+" "+e.Test+why)
		}
		r.end(e, false)
	case "fail":
		r.failed = true
		r.end(e, true)
	}
}

// keep holds back a test's output until it is known whether it failed. What a
// package says of itself is shown at once, but for the marks of -v.
func (r *report) keep(e event) {
	if strings.HasPrefix(e.Output, "=== ") {
		return
	}
	if e.Test == "" {
		if e.Output != "PASS\n" && e.Output != "FAIL\n" {
			r.showFailed(e.Package)
			r.print(e.Output)
		}
		return
	}
	tests := r.output[e.Package]
	if tests == nil {
		tests = map[string][]byte{}
		r.output[e.Package] = tests
	}
	if _, ok := tests[e.Test]; !ok {
		r.order[e.Package] = append(r.order[e.Package], e.Test)
	}
	kept := append(tests[e.Test], e.Output...)
	if over := len(kept) - maxOutput; over > 0 {
		kept = kept[over:]
	}
	tests[e.Test] = kept
}

// end forgets a test that passed; what a failed one printed stays until the
// package's own line comes, so that a test and its subtests are shown together.
func (r *report) end(e event, failed bool) {
	if e.Test == "" {
		if failed {
			r.showFailed(e.Package)
		}
		delete(r.output, e.Package)
		delete(r.order, e.Package)
		return
	}
	if !failed {
		delete(r.output[e.Package], e.Test)
	}
}

// showFailed prints what is left of the package's tests: those that failed, and
// those that never ended because the process died.
func (r *report) showFailed(pkg string) {
	for _, test := range r.order[pkg] {
		r.print(string(r.output[pkg][test]))
	}
	delete(r.output, pkg)
	delete(r.order, pkg)
}

func (r *report) summary(full bool) {
	if len(r.unable) > 0 {
		r.print(fmt.Sprintf("%d not for this machine:\n  %s\n", len(r.unable), strings.Join(r.unable, "\n  ")))
	}
	if len(r.skipped) == 0 {
		return
	}
	verdict := "skipped"
	if full {
		verdict = "skipped, which SHINGLE_FULL=1 forbids"
	}
	r.print(fmt.Sprintf("%d %s:\n", len(r.skipped), verdict))
	for _, s := range r.skipped {
		r.print("  " + s + "\n")
	}
}

func (r *report) print(s string) {
	if _, err := io.WriteString(r.w, s); err != nil && r.err == nil {
		r.err = err
	}
}

// reason finds what t.Skip was given: the first line of the output
// that is not the mark of a skipped test.
func reason(output []byte) string {
	for line := range strings.SplitSeq(string(output), "\n") {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "--- ") {
			return ": " + line
		}
	}
	return ""
}
