package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/shingle-proxy/shingle/internal/api"
)

// eventsCmd is a client of the API.
type eventsCmd struct {
	apiFlags

	Host  string `arg:"" optional:"" help:"Only what happened to this domain."`
	Limit int    `default:"50" help:"How many to show; 0: all."`
	Watch bool   `help:"Show what happens from now on, until Ctrl-C."`
	JSON  bool   `name:"json" help:"Print a JSON array; with --watch, a line an event."`
}

// Run lists what happened, newest first, or follows what happens.
func (c *eventsCmd) Run(ctx context.Context, s streams) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	if c.Watch {
		return untilInterrupted(ctx, client.Follow(ctx, c.Host, func() error { return nil }, func(e api.Event) error {
			if c.JSON {
				return json.NewEncoder(s.Out).Encode(e)
			}
			return printEvent(s.Out, e)
		}))
	}
	list := []api.Event{}
	for e, err := range client.Events(ctx, c.Host) {
		if err != nil {
			return err
		}
		if list = append(list, e); len(list) == c.Limit {
			break
		}
	}
	if c.JSON {
		return printJSON(s.Out, list)
	}
	return printEvents(s.Out, list)
}

func printEvents(w io.Writer, list []api.Event) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "Nothing has happened yet.")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "WHEN\tWHAT\tHOST\tBY\tDETAIL")
	for _, e := range list {
		if err := printEvent(t, e); err != nil {
			return err
		}
	}
	return t.Flush()
}

func printEvent(w io.Writer, e api.Event) error {
	by := e.By
	if by == "" {
		by = "shingle"
	}
	_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", localTime(e.At), e.Type, orDash(e.Host), by, orDash(detail(e)))
	return err
}

// untilInterrupted is the end of what lasts until Ctrl-C.
func untilInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// detail is what matters most of an event's data.
func detail(e api.Event) string {
	var d struct {
		Message  string `json:"message"`
		NotAfter string `json:"not_after"`
		Why      string `json:"why"`
	}
	if json.Unmarshal(e.Data, &d) != nil {
		return ""
	}
	switch {
	case d.Message != "":
		return d.Message
	case d.NotAfter != "":
		return "valid until " + d.NotAfter
	}
	return d.Why
}
