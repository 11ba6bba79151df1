package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle/internal/api"
)

type certsCalendarCmd struct {
	Days int    `default:"30" help:"How many days to show, at most 90."`
	Day  string `placeholder:"DAY" help:"List what is due on this day, such as 2026-12-01 (UTC)."`
	JSON bool   `name:"json" help:"Print JSON; with --day, JSON lines."`
}

// Help is what --help adds.
func (certsCalendarCmd) Help() string {
	return "Days are those of UTC. Of each domain the next renewal alone is there, as it is planned now. A number with ~ is an estimate: up to 2000 a day are counted one by one."
}

// Run shows how many certificates are renewed when, or which.
func (c *certsCalendarCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Certs.client()
	if err != nil {
		return err
	}
	if c.Day != "" {
		return c.day(ctx, client, s.Out)
	}
	if c.Days < 1 || c.Days > 90 {
		return fmt.Errorf("--days is 1 to 90: %d is not", c.Days)
	}
	is, err := client.Calendar(ctx)
	if err != nil {
		return err
	}
	is.Days = is.Days[:min(c.Days, len(is.Days))]
	if c.JSON {
		return printJSON(s.Out, is)
	}
	return printCalendar(s.Out, is)
}

// day lists a day, as it comes.
func (c *certsCalendarCmd) day(ctx context.Context, client *api.Client, w io.Writer) error {
	e, none := json.NewEncoder(w), true
	for p, err := range client.Planned(ctx, c.Day) {
		if err != nil {
			return err
		}
		none = false
		if c.JSON {
			err = e.Encode(p)
		} else {
			_, err = fmt.Fprintf(w, "%s  %s  %s\n", p.At.UTC().Format("15:04:05"), p.Host, plannedFor(p))
		}
		if err != nil {
			return err
		}
	}
	if none && !c.JSON {
		_, err := fmt.Fprintln(w, "Nothing is planned for that day, or not any more")
		return err
	}
	return nil
}

func plannedFor(p api.Planned) string {
	switch {
	case p.New:
		return "certificate"
	case p.Order:
		return "renewal, which counts as an order"
	}
	return "renewal"
}

const calendarWidth = 40 // of a bar

// printCalendar writes a bar a day.
func printCalendar(w io.Writer, c api.Calendar) error {
	most, sum, about := 1, 0, ""
	for _, d := range c.Days {
		most, sum = max(most, d.Renewals+d.New), sum+d.Renewals
		if d.Estimated {
			about = "about "
		}
	}
	more := ""
	if c.More {
		more = " or more"
	}
	fmt.Fprintf(w, "%s%s planned in %s; %d%s due already (shingle certs queue)\n\n", about, plural(sum, "renewal"), plural(len(c.Days), "day"), c.Due, more)
	fmt.Fprintf(w, "%-14s  %8s  %6s\n", "DAY (UTC)", "RENEWALS", "NEW")
	for _, d := range c.Days {
		if _, err := fmt.Fprintln(w, strings.TrimRight(calendarLine(d, most), " ")); err != nil {
			return err
		}
	}
	return nil
}

// calendarLine is a day; most is what fills the width.
func calendarLine(d api.CalendarDay, most int) string {
	name, mark := d.Day, ""
	if t, err := time.Parse(time.DateOnly, d.Day); err == nil {
		name = t.Format("Mon 2006-01-02")
	}
	if d.Estimated {
		mark = "~"
	}
	n := d.Renewals + d.New
	line := bar(n, most, calendarWidth)
	if d.Over {
		line += "  more than the CA's budget for a day"
	}
	return fmt.Sprintf("%s  %8s  %6s  %s", name, mark+fmt.Sprint(d.Renewals), mark+fmt.Sprint(d.New), line)
}
