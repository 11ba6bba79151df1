package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/shingle-proxy/shingle/internal/api"
)

// edgesCmd is a client of the API.
type edgesCmd struct {
	apiFlags

	List edgesListCmd `cmd:"" default:"withargs" help:"List the processes of the fleet: who is alive, behind, of another version, without a master key."`
	Show edgesShowCmd `cmd:"" help:"Show all that one process said of itself."`
}

type edgesListCmd struct {
	listFlags
	Check bool `help:"Exit with 1 while one of them needs attention."`
}

// Help is what --help adds.
func (edgesListCmd) Help() string {
	return "Each process reports itself once a minute (--report), and when its state changes. One that ends as it should goes from the list at once; one that was killed, or cannot reach the store, is shown as silent for a day.\n\n" +
		"Exit codes: 0; 1 if the API does not answer or, with --check, an edge needs attention; 2 if the command line cannot be understood."
}

// edgesEvery is how often --watch looks.
const edgesEvery = 5 * time.Second

var errAttention = errors.New("an edge needs attention")

// Run lists the processes, those that need attention first.
func (c *edgesListCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Edges.client()
	if err != nil {
		return err
	}
	read := func() ([]api.Edge, error) {
		list, err := collect(client.Edges(ctx))
		slices.SortStableFunc(list, byTrouble)
		return list, err
	}
	list, err := show(ctx, s.Out, c.listFlags, edgesEvery, read, func(w io.Writer, list []api.Edge) error { return printEdges(w, list, time.Now()) })
	if err == nil && c.Check && !c.Watch && slices.ContainsFunc(list, troubled) {
		return errAttention
	}
	return err
}

type edgesShowCmd struct {
	ID   string `arg:"" help:"As edges list shows it."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Run shows one process.
func (c *edgesShowCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Edges.client()
	if err != nil {
		return err
	}
	e, err := client.Edge(ctx, c.ID)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, e)
	}
	return printRows(s.Out, edgeRows(e, time.Now()))
}

func edgeRows(e api.Edge, now time.Time) [][2]string {
	rows := [][2]string{
		{"id", e.ID}, {"state", e.State}, {"reported", ago(e.Reported, now)}, {"role", roleAndLead(e)}, {"machine", e.Name}, {"region", e.Region},
		{"visitors", e.Address}, {"api", e.API}, {"version", e.Version}, {"up", span(now.Sub(e.Started))},
	}
	if e.Table != nil {
		rows = append(rows, [2]string{"domains", fmt.Sprint(e.Table.Domains)}, [2]string{"table", "behind by " + tableAge(e)})
	}
	if l := e.Load; l != nil {
		rows = append(rows, [2]string{"connections", fmt.Sprintf("%d of %d", l.Connections, l.MaxConnections)},
			[2]string{"requests", fmt.Sprintf("%.1f a second, %.1f of them answered with 5xx", l.RequestsPerSecond, l.ErrorsPerSecond)})
	}
	for _, key := range e.MasterKeys {
		rows = append(rows, [2]string{"master key", key})
	}
	for _, why := range e.Attention {
		rows = append(rows, [2]string{"attention", why})
	}
	return rows
}

func printEdges(w io.Writer, list []api.Edge, now time.Time) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "No process has reported yet; each does within seconds of its start.")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "ID\tSTATE\tSEEN\tROLE\tREGION\tADDRESS\tVERSION\tUP\tDOMAINS\tBEHIND\tCONNS\tREQ/S\t5XX/S")
	for _, e := range list {
		domains, conns, requests, failed := "-", "-", "-", "-"
		if e.Table != nil {
			domains = fmt.Sprint(e.Table.Domains)
		}
		if l := e.Load; l != nil {
			conns, requests, failed = fmt.Sprint(l.Connections), fmt.Sprintf("%.1f", l.RequestsPerSecond), fmt.Sprintf("%.1f", l.ErrorsPerSecond)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.ID, e.State, ago(e.Reported, now), roleAndLead(e), orDash(e.Region),
			orDash(cmp.Or(e.Address, e.API)), e.Version, span(now.Sub(e.Started)), domains, tableAge(e), conns, requests, failed)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return printTrouble(w, list)
}

// printTrouble writes what needs attention, below the table.
func printTrouble(w io.Writer, list []api.Edge) error {
	var lines []string
	for _, e := range list {
		for _, why := range e.Attention {
			lines = append(lines, fmt.Sprintf("%s  %s", e.ID, why))
		}
	}
	if lines == nil {
		return nil
	}
	_, err := fmt.Fprintf(w, "\nLook at:\n%s\n", strings.Join(lines, "\n"))
	return err
}

func troubled(e api.Edge) bool { return len(e.Attention) > 0 }

// byTrouble sorts those first that need attention: the silent, the degraded, others; then those that drain.
func byTrouble(a, b api.Edge) int {
	rank := func(e api.Edge) int {
		switch {
		case e.State == "silent":
			return 0
		case e.State == "degraded":
			return 1
		case troubled(e):
			return 2
		case e.State == "draining":
			return 3
		}
		return 4
	}
	return cmp.Or(rank(a)-rank(b), strings.Compare(a.Region, b.Region), strings.Compare(a.Role, b.Role), strings.Compare(a.ID, b.ID))
}

func roleAndLead(e api.Edge) string {
	if e.Leads {
		return e.Role + ", leads"
	}
	return e.Role
}

// tableAge is how far the table was behind the store at the report.
func tableAge(e api.Edge) string {
	switch {
	case e.Table == nil:
		return "-"
	case e.Table.AgeSeconds == nil:
		return "since the start"
	}
	return span(time.Duration(*e.Table.AgeSeconds * float64(time.Second)))
}

func ago(t, now time.Time) string { return span(now.Sub(t)) + " ago" }

// span writes a duration as people say it: its one or two largest units.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}
