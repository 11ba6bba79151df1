package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/dustin/go-humanize"

	"github.com/shingle-proxy/shingle/internal/api"
)

type domainsTrafficCmd struct {
	Host  string `arg:"" help:"The customer's name."`
	Hours int    `default:"24" placeholder:"N" help:"How many, the present one included: 1 to 168, which is a week."`
	JSON  bool   `name:"json" help:"Print JSON."`
}

// Help is what --help adds.
func (domainsTrafficCmd) Help() string {
	return "Requests over HTTPS count when they end. 5XX has all answers of 5xx; ORIGIN DOWN those of them that the edge made (502, 503, 504) because the product did not answer. " +
		"What is left is the product's own, or a domain in maintenance.\n\n" +
		"Each edge writes what it counted every quarter of an hour (--traffic), of 90 domains or more at once each hour: the last hour is not complete. Only the process that answers shows what it has not written yet."
}

// Run shows the traffic of a domain.
func (c *domainsTrafficCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Domains.client()
	if err != nil {
		return err
	}
	t, err := client.Traffic(ctx, c.Host, c.Hours)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, t)
	}
	return printTraffic(s.Out, t)
}

const trafficWidth = 20 // of a bar

// printTraffic writes a line an hour, from the first with a visitor on.
func printTraffic(w io.Writer, is api.Traffic) error {
	most, first := uint64(0), len(is.Hours)
	for i, h := range is.Hours {
		if most = max(most, h.Requests); h.Requests > 0 && first == len(is.Hours) {
			first = i
		}
	}
	if first < len(is.Hours) {
		t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
		fmt.Fprintln(t, "HOUR\tREQUESTS\t \t2XX\t3XX\t4XX\t5XX\tORIGIN DOWN\tIN\tOUT")
		for _, h := range is.Hours[first:] {
			fmt.Fprintf(t, "%s\t%d\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", h.Hour.Local().Format("2006-01-02 15:04"), h.Requests, bar(int(h.Requests), int(most), trafficWidth),
				h.Answers.Success, h.Answers.Redirection, h.Answers.ClientError, h.Answers.ServerError, h.OriginErrors, humanize.Bytes(h.BytesIn), humanize.Bytes(h.BytesOut))
		}
		if err := t.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	if is.Partial {
		fmt.Fprintln(w, "Some of what was counted could not be read: there was more.")
	}
	_, err := fmt.Fprintf(w, "%s in %d h. Of those, %d answered with 5xx by the product, %d that it did not answer, %d refused by the domain's settings.\n",
		plural(int(is.Total.Requests), "request"), len(is.Hours), is.Total.Origin5xx, is.Total.OriginErrors, is.Total.Refused)
	return err
}
