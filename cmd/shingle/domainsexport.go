package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"strconv"

	"github.com/shingle-proxy/shingle/internal/api"
)

type domainsExportCmd struct {
	Format string `enum:"csv,jsonl" default:"csv" help:"csv or jsonl (JSON lines)."`
}

// Help is what --help adds.
func (domainsExportCmd) Help() string {
	return "Prints all domains in the form that shingle domains import reads."
}

// Run exports the domains.
func (c *domainsExportCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Domains.client()
	if err != nil {
		return err
	}
	write, flush := exportCSV(s)
	if c.Format == "jsonl" {
		write, flush = exportJSONLines(s)
	}
	bar := newProgress(s.Err, "exporting")
	n := 0
	for d, err := range client.Domains(ctx) {
		if err == nil {
			err = write(d)
		}
		if err != nil {
			return err
		}
		n++
		bar.at(n, -1)
	}
	bar.clear()
	return flush()
}

func exportCSV(s streams) (write func(api.Domain) error, flush func() error) {
	w := csv.NewWriter(s.Out)
	_ = w.Write(domainColumns) // flush has its error
	write = func(d api.Domain) error {
		return w.Write([]string{d.Host, d.Tenant, d.Origin, d.Redirect, strconv.FormatBool(d.Paused), string(d.Settings)})
	}
	return write, func() error {
		w.Flush()
		return w.Error()
	}
}

func exportJSONLines(s streams) (write func(api.Domain) error, flush func() error) {
	e := json.NewEncoder(s.Out)
	e.SetEscapeHTML(false)
	write = func(d api.Domain) error {
		return e.Encode(struct {
			Host     string `json:"host"`
			Tenant   string `json:"tenant,omitempty"`
			Origin   string `json:"origin,omitempty"`
			Redirect string `json:"redirect,omitempty"`
			Paused   bool   `json:"paused,omitempty"`

			Settings api.Settings `json:"settings,omitempty"`
		}{d.Host, d.Tenant, d.Origin, d.Redirect, d.Paused, d.Settings})
	}
	return write, func() error { return nil }
}
