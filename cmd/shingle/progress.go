package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// progress is a line on a terminal that says how far a command is. Without a
// terminal it is silent.
type progress struct {
	w     io.Writer // nil: no terminal
	what  string
	begun time.Time
	drawn time.Time
}

const (
	progressEvery = 100 * time.Millisecond
	progressWidth = 30
)

// newProgress returns a progress for w, such as "importing".
func newProgress(w io.Writer, what string) *progress {
	p := &progress{what: what, begun: time.Now()}
	if isTerminal(w) {
		p.w = w
	}
	return p
}

// isTerminal reports whether people read what is written to w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// at draws that n things are done, and that the fraction of all is done; a
// negative one is not known.
func (p *progress) at(n int, fraction float64) {
	now := time.Now()
	if p.w == nil || now.Sub(p.drawn) < progressEvery {
		return
	}
	p.drawn = now
	fmt.Fprint(p.w, "\r\033[K", p.line(n, fraction, now.Sub(p.begun)))
}

func (p *progress) line(n int, fraction float64, spent time.Duration) string {
	rate := float64(n) / max(spent.Seconds(), 0.001)
	if fraction < 0 {
		return fmt.Sprintf("%s  %d done, %.0f/s", p.what, n, rate)
	}
	full := int(min(fraction, 1) * progressWidth)
	left := "-"
	if fraction > 0.001 {
		left = time.Duration(float64(spent) * (1 - fraction) / fraction).Round(time.Second).String()
	}
	return fmt.Sprintf("%s  [%s%s] %3.0f %%  %d done, %.0f/s, %s left",
		p.what, strings.Repeat("#", full), strings.Repeat(" ", progressWidth-full), 100*fraction, n, rate, left)
}

// clear makes room for a line of another kind.
func (p *progress) clear() {
	if p.w != nil && !p.drawn.IsZero() {
		fmt.Fprint(p.w, "\r\033[K")
		p.drawn = time.Time{}
	}
}
