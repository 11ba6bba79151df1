package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/shingle-proxy/shingle/internal/api"
)

type domainsCheckCmd struct {
	Host   string `arg:"" help:"The customer's name; it need not have been added."`
	Tenant string `placeholder:"NAME" help:"Who is to have it: what to set is this tenant's. Default: who has it."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Run checks a domain. It fails when somebody has to act.
func (c *domainsCheckCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Domains.client()
	if err != nil {
		return err
	}
	r, err := client.CheckDomain(ctx, c.Host, c.Tenant)
	if err != nil {
		return err
	}
	if c.JSON {
		err = printJSON(s.Out, r)
	} else {
		err = printCheck(s.Out, r)
	}
	if err == nil && !r.Verdict.Good {
		return fmt.Errorf("%s is not in order: %s", r.Host, r.Verdict.Reason)
	}
	return err
}

// printCheck writes what a check found, with what matters first.
func printCheck(w io.Writer, r api.Check) error {
	rows := [][2]string{{"host", r.Host}, {"verdict", r.Verdict.Reason}, {"", r.Verdict.Message}}
	if r.Verdict.Who != "nobody" {
		rows = append(rows, [2]string{"who acts", "the " + r.Verdict.Who})
	}
	for _, record := range r.DNS.Set {
		rows = append(rows, [2]string{"set", recordText(record)})
	}
	if r.DNS.Proof != nil && !r.DNS.Proven {
		rows = append(rows, [2]string{"to prove", recordText(*r.DNS.Proof)})
	}
	for _, record := range r.DNS.Remove {
		rows = append(rows, [2]string{"remove", recordText(record)})
	}
	if !r.Known {
		rows = append(rows, [2]string{"added", "no: shingle domains add " + r.Host})
	}
	rows = append(rows, dnsRows(r)...)
	rows = append(rows, httpsRows(r.HTTPS)...)
	return printRows(w, rows)
}

func recordText(r api.Record) string {
	name := r.Name
	if name == "" {
		name = "(empty)"
	}
	return fmt.Sprintf("%s  name %s  value %s", r.Type, name, r.Value)
}

func dnsRows(r api.Check) [][2]string {
	d := r.DNS
	rows := [][2]string{{"dns", d.Reason}}
	if d.Message != r.Verdict.Message {
		rows = append(rows, [2]string{"", d.Message})
	}
	for _, alias := range d.Chain {
		rows = append(rows, [2]string{"", fmt.Sprintf("%s is an alias of %s (for %d s)", alias.Name, alias.Target, alias.TTL)})
	}
	if len(d.Addresses) > 0 {
		var list []string
		for _, a := range d.Addresses {
			list = append(list, a.String())
		}
		rows = append(rows, [2]string{"", fmt.Sprintf("addresses %s (for %d s)", strings.Join(list, ", "), d.TTL)})
	}
	if d.Zone != "" {
		rows = append(rows, [2]string{"zone", strings.TrimSpace(d.Zone + " " + d.Provider)})
	}
	if len(d.Nameservers) > 0 {
		rows = append(rows, [2]string{"", "name servers " + strings.Join(d.Nameservers, ", ")})
	}
	for _, note := range d.Notes {
		rows = append(rows, [2]string{"note", note.Message})
	}
	if r.CAA != nil {
		rows = append(rows, [2]string{"caa", r.CAA.Reason})
	}
	if r.CAA != nil && r.CAA.Message != r.Verdict.Message {
		rows = append(rows, [2]string{"", r.CAA.Message})
	}
	return rows
}

func httpsRows(h api.CheckHTTPS) [][2]string {
	rows := [][2]string{{"https", h.Reason}, {"", h.Message}}
	if len(h.Attempts) > 1 {
		for _, a := range h.Attempts {
			rows = append(rows, [2]string{"", a.Address.String() + " " + a.Reason})
		}
	}
	if h.Issuer != "" {
		rows = append(rows, [2]string{"", "issuer " + h.Issuer})
	}
	for _, note := range h.Notes {
		rows = append(rows, [2]string{"note", note.Message})
	}
	return rows
}
