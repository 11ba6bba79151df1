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
	JSON  bool   `name:"json" help:"Print a JSON array."`
}

// Run lists what happened, newest first.
func (c *eventsCmd) Run(ctx context.Context, s streams) error {
	client, err := c.client()
	if err != nil {
		return err
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
		by := e.By
		if by == "" {
			by = "shingle"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", localTime(e.At), e.Type, orDash(e.Host), by, orDash(detail(e)))
	}
	return t.Flush()
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
