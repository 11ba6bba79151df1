package panel

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

const (
	waitingListed = 20   // hosts in the queue
	waitingMost   = 1000 // when all are wanted
	plannedAPage  = 100  // hosts of a day
)

// certificatesPage is the queue, and what is planned.
type certificatesPage struct {
	api.Queue
	Drill    bool // the queue as it would be if every certificate were revoked now
	All      bool // as many of it as there can be on a page
	Calendar *calendar
	Fault    string // why there is no calendar
	now      time.Time
}

// Cut reports whether only the beginning of the queue is shown.
func (p certificatesPage) Cut() bool { return !p.All && len(p.Waiting) == waitingListed }

// Last is when the last of a drill would be replaced.
func (p certificatesPage) Last() (at time.Time) {
	if n := len(p.Waiting); n > 0 {
		at = p.Waiting[n-1].ETA
	}
	return at
}

// Now reports whether a turn has come.
func (p certificatesPage) Now(eta time.Time) bool { return !eta.After(p.now) }

func showCertificates(v *visit) error {
	q := v.r.URL.Query()
	p := certificatesPage{Drill: q.Has("drill"), All: q.Has("all"), now: v.panel.Now()}
	var planned sync.WaitGroup
	if !p.Drill {
		planned.Go(func() { // of many certificates it may take a second or two
			c, err := v.api.Calendar(v.ctx())
			if err != nil {
				p.Fault = sentence(shingle.MessageOf(err))
				return
			}
			p.Calendar = newCalendar(c)
		})
	}
	limit, err := waitingListed, error(nil)
	if p.All {
		limit = waitingMost
	}
	p.Queue, err = v.api.Queue(v.ctx(), limit, p.Drill)
	planned.Wait()
	if err != nil {
		return err
	}
	return v.show("certificates", p)
}

// calendar is what is planned, as months with weeks.
type calendar struct {
	api.Calendar
	Months    []month
	Renewals  int  // of all days
	Estimated bool // of any of them
	Over      int  // days with more than the budgets allow
}

type month struct {
	Name  string
	Weeks [][7]calendarDay // from Monday on
}

// calendarDay is a square of a month; without a number it is none of the calendar's.
type calendarDay struct {
	api.CalendarDay
	Number int // in its month
	Name   string
	Shade  int // 0: nothing is due; 4: as much as on the busiest day
}

// Count is all that is due.
func (d calendarDay) Count() int { return d.Renewals + d.New }

// Short is Count in five letters at most.
func (d calendarDay) Short() string {
	mark := ""
	if d.Estimated {
		mark = "~"
	}
	switch n := d.Count(); {
	case n >= 1_000_000:
		return fmt.Sprintf("%s%.1fM", mark, float64(n)/1_000_000)
	case n >= 10_000:
		return fmt.Sprintf("%s%dk", mark, n/1000)
	case n >= 1000:
		return fmt.Sprintf("%s%.1fk", mark, float64(n/100)/10)
	default:
		return fmt.Sprint(mark, n)
	}
}

// Text says what is due, for who points at it or hears it.
func (d calendarDay) Text() string {
	text := many(d.Renewals, "renewal")
	if d.New > 0 {
		text += fmt.Sprintf(" and %s for a first certificate", many(d.New, "attempt"))
	}
	if d.Estimated {
		text = "about " + text
	}
	if d.Over {
		text += ", more than the budget of a day"
	}
	return text
}

const shades = 4

func newCalendar(c api.Calendar) *calendar {
	out := &calendar{Calendar: c}
	most := 1
	for _, d := range c.Days {
		most = max(most, d.Renewals+d.New)
		out.Renewals += d.Renewals
		out.Estimated = out.Estimated || d.Estimated
		if d.Over {
			out.Over++
		}
	}
	for _, d := range c.Days {
		if at, err := time.Parse(time.DateOnly, d.Day); err == nil {
			x := calendarDay{CalendarDay: d, Number: at.Day(), Name: at.Format("Monday, 2 January")}
			x.Shade = int(math.Ceil(shades * math.Sqrt(float64(x.Count())/float64(most)))) // so that a peak leaves the others apart
			out.add(at, x)
		}
	}
	return out
}

// add puts a day, which is that after the last one, into its month and week.
func (c *calendar) add(at time.Time, d calendarDay) {
	if name := at.Format("January 2006"); len(c.Months) == 0 || c.Months[len(c.Months)-1].Name != name {
		c.Months = append(c.Months, month{Name: name})
	}
	m := &c.Months[len(c.Months)-1]
	place := (int(at.Weekday()) + 6) % 7
	if len(m.Weeks) == 0 || place == 0 {
		m.Weeks = append(m.Weeks, [7]calendarDay{})
	}
	m.Weeks[len(m.Weeks)-1][place] = d
}

// dayPage is a page of what is due on a day.
type dayPage struct {
	Day         time.Time
	Planned     []api.Planned
	Next, First string
	Late        bool // the day is over
}

// Before and After are the days beside it, as addresses have them.
func (p dayPage) Before() string { return p.Day.AddDate(0, 0, -1).Format(time.DateOnly) }

// After is the day after it.
func (p dayPage) After() string { return p.Day.AddDate(0, 0, 1).Format(time.DateOnly) }

func showDay(v *visit) error {
	day, err := time.Parse(time.DateOnly, v.r.PathValue("day"))
	if err != nil {
		return shingle.Errorf(shingle.CodeNotFound, "There is no such day.")
	}
	q := v.r.URL.Query()
	found, err := v.api.PlannedPage(v.ctx(), day.Format(time.DateOnly), q.Get("after"), plannedAPage)
	if err != nil {
		return err
	}
	p := dayPage{Day: day, Planned: found.Planned, Late: day.AddDate(0, 0, 1).Before(v.panel.Now())}
	if found.Next != "" {
		p.Next = pageAddress(q, found.Next)
	}
	if q.Get("after") != "" {
		p.First = pageAddress(q, "")
	}
	return v.show("day", p)
}
