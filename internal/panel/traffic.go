package panel

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

// trafficHours are those that a domain's page shows.
const trafficHours = 24

// The sparkline, in its own units: each hour has a column.
const (
	barStep   = 10
	barWidth  = 8
	barHeight = 40
	barLeast  = 2 // of what is not nothing
)

// traffic is what visitors asked of a domain, as its page shows it.
type traffic struct {
	api.Traffic
	Fault bool // it cannot be told now
}

// bar is an hour of the sparkline: requests, and those of them that ended in an error as
// a part of the same column, at its foot.
type bar struct {
	X, Width         int
	Y, Height        float64
	ErrorY, ErrorTop float64 // ErrorTop is how high they are; 0: there are none
	Hour             time.Time
	Requests, Errors uint64
}

// Bars are the hours, oldest first.
func (t *traffic) Bars() []bar {
	most := t.Busiest()
	list := make([]bar, len(t.Hours))
	for i, h := range t.Hours {
		b := bar{X: i*barStep + (barStep-barWidth)/2, Width: barWidth, Hour: h.Hour, Requests: h.Requests, Errors: h.Origin5xx + h.OriginErrors}
		b.Height, b.ErrorTop = heightOf(h.Requests, most), heightOf(b.Errors, most)
		b.Y, b.ErrorY = barHeight-b.Height, barHeight-b.ErrorTop
		list[i] = b
	}
	return list
}

// Box is the sparkline's own measure, as an SVG has it.
func (t *traffic) Box() string { return fmt.Sprintf("0 0 %d %d", len(t.Hours)*barStep, barHeight) }

// Busiest are the requests of the hour with the most.
func (t *traffic) Busiest() (most uint64) {
	for _, h := range t.Hours {
		most = max(most, h.Requests)
	}
	return most
}

// heightOf is that of n where most is as high as can be.
func heightOf(n, most uint64) float64 {
	if n == 0 {
		return 0
	}
	return math.Round(10*max(barLeast, float64(n)/float64(most)*barHeight)) / 10
}

// Text says what the sparkline shows, for those who do not see it.
func (t *traffic) Text() string {
	text := fmt.Sprintf("%s in %d h, %s of the origin", many(t.Total.Requests, "request"), len(t.Hours), many(t.Total.Origin5xx+t.Total.OriginErrors, "error"))
	if most := t.Busiest(); most > 0 {
		text += fmt.Sprintf("; %s in the busiest hour", thousands(most))
	}
	return text
}

// traffic reads what visitors asked of a domain. The page is there without it: nil where
// it is not counted.
func (v *visit) traffic(host string) *traffic {
	is, err := v.api.Traffic(v.ctx(), host, trafficHours)
	switch {
	case err == nil:
		return &traffic{Traffic: is}
	case errors.Is(err, shingle.ErrNotFound):
		return nil
	}
	return &traffic{Fault: true}
}

// many is a number of things, in words.
func many[N int | uint64](n N, what string) string {
	if n != 1 {
		what += "s"
	}
	return humanize.Comma(int64(n)) + " " + what
}

func thousands(n uint64) string { return humanize.Comma(int64(n)) }
