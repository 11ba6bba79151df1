package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/shingle-proxy/shingle/internal/aws"
)

type costCmd struct {
	deploymentFlags
	Domains    int     `default:"100" placeholder:"N" help:"Domains that are served."`
	NewDomains int     `default:"10" placeholder:"N" help:"Domains that are added in 30 days."`
	Traffic    float64 `placeholder:"GB" help:"GB to visitors in 30 days."`
	APICalls   int     `name:"api-calls" default:"10000" placeholder:"N" help:"Calls of the API in 30 days."`
	JSON       bool    `name:"json" help:"Print JSON."`
}

// Help is what --help adds.
func (costCmd) Help() string {
	return "It knows the prices of us-east-1 on one day, and asks nobody. Other regions cost up to a third more, sa-east-1 twice as much."
}

// Run prints the bill.
func (c *costCmd) Run(s streams) error {
	d, err := c.deployment()
	if err != nil {
		return err
	}
	if err := d.ValidateSize(); err != nil {
		return err
	}
	bill := d.Cost(aws.Load{Domains: c.Domains, NewDomains: c.NewDomains, TrafficGB: c.Traffic, APICalls: c.APICalls})
	if c.JSON {
		reference := aws.Reference()
		return printJSON(s.Out, struct {
			Lines     []aws.Line `json:"lines"`
			Total     float64    `json:"total"`
			Reference float64    `json:"reference"`
		}{bill.Lines, bill.Total(), reference.Total()})
	}
	return printBill(s.Out, bill)
}

func printBill(w io.Writer, bill aws.Bill) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "QUANTITY\tUNIT\tPRICE\tUSD\t \t")
	for _, l := range bill.Lines {
		fmt.Fprintf(t, "%.6g\t%s\t%g\t%.2f\t%s\t\n", l.Quantity, l.Per, l.USD, l.Amount, l.What)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	prices, reference := aws.Prices(), aws.Reference()
	_, err := fmt.Fprintf(w, `
%.2f USD in 30 days, at the prices of %s on %s.
The stack that Shingle replaces costs %.2f for one region; its own figure is %.2f,
without public addresses, disk and zone, and %.2f is this one's without them.
`, bill.Total(), prices.Region, prices.Noted, reference.Total(), reference.Scoped(), bill.Scoped())
	return err
}
