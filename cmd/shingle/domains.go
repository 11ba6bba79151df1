package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/shingle-proxy/shingle/internal/api"
)

type domainsCmd struct {
	API   string `env:"SHINGLE_API" help:"URL of the API. Default: that of the shingle dev that runs here."`
	Token string `env:"SHINGLE_TOKEN" help:"API token."`
	Data  string `env:"SHINGLE_DATA" help:"Data folder of the shingle dev to talk to." type:"path"`

	Add    domainsAddCmd    `cmd:"" help:"Allow a domain."`
	List   domainsListCmd   `cmd:"" help:"List the domains."`
	Show   domainsShowCmd   `cmd:"" help:"Show a domain."`
	Update domainsUpdateCmd `cmd:"" help:"Change a domain."`
	Rm     domainsRmCmd     `cmd:"" help:"Delete domains: they are no longer served."`
}

// client returns a client for the API that the flags name, or for the `shingle
// dev` that runs here.
func (c *domainsCmd) client() (*api.Client, error) {
	base, token := c.API, c.Token
	if base == "" {
		dir, err := devData(c.Data)
		if err != nil {
			return nil, err
		}
		if base, err = devAPI(dir); err != nil {
			return nil, err
		}
		if token == "" {
			text, err := os.ReadFile(filepath.Join(dir, "token"))
			if err != nil {
				return nil, fmt.Errorf("--token: name the API token (%w)", err)
			}
			token = strings.TrimSpace(string(text))
		}
	}
	if token == "" {
		return nil, errors.New("--token: name the API token, or set SHINGLE_TOKEN")
	}
	return api.NewClient(base, token)
}

func devAPI(dir string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, "endpoints.json"))
	if err != nil {
		return "", fmt.Errorf("no shingle dev has run in %s: start one, or name an API with --api", dir)
	}
	var e struct{ Control string }
	if err := json.Unmarshal(data, &e); err != nil || e.Control == "" {
		return "", fmt.Errorf("%s cannot be read: start shingle dev again", filepath.Join(dir, "endpoints.json"))
	}
	return "http://" + e.Control, nil
}

type domainsAddCmd struct {
	Host     string `arg:"" help:"The customer's name, such as blog.customer.com."`
	Tenant   string `help:"Your name for the customer."`
	Origin   string `help:"Where its requests go, instead of the target."`
	Redirect string `help:"Send visitors to this host instead."`
	JSON     bool   `name:"json" help:"Print JSON."`
}

// Run adds a domain.
func (c *domainsAddCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Domains.client()
	if err != nil {
		return err
	}
	d, err := client.CreateDomain(ctx, api.NewDomain{Host: c.Host, Tenant: c.Tenant, Origin: c.Origin, Redirect: c.Redirect})
	if err != nil {
		return err
	}
	return printDomain(s, d, c.JSON)
}

type domainsListCmd struct {
	JSON bool `name:"json" help:"Print a JSON array."`
}

// Run lists all domains.
func (c *domainsListCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Domains.client()
	if err != nil {
		return err
	}
	list := []api.Domain{}
	for d, err := range client.Domains(ctx) {
		if err != nil {
			return err
		}
		list = append(list, d)
	}
	if c.JSON {
		return printJSON(s, list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(s.Out, "No domains yet. Add one: shingle domains add blog.customer.com")
		return err
	}
	t := tabwriter.NewWriter(s.Out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "HOST\tSTATE\tTENANT\tGOES TO\tADDED")
	for _, d := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", d.Host, state(d), d.Tenant, destination(d), d.CreatedAt.Local().Format("2006-01-02 15:04"))
	}
	return t.Flush()
}

type domainsShowCmd struct {
	Host string `arg:""`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Run shows a domain.
func (c *domainsShowCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Domains.client()
	if err != nil {
		return err
	}
	d, err := client.Domain(ctx, c.Host)
	if err != nil {
		return err
	}
	return printDomain(s, d, c.JSON)
}

type domainsUpdateCmd struct {
	Host     string  `arg:""`
	Tenant   *string `help:"Your name for the customer."`
	Origin   *string `help:"Where its requests go; empty: the target."`
	Redirect *string `help:"Send visitors to this host; empty: no longer."`
	Pause    bool    `xor:"pause" help:"Stop serving it."`
	Resume   bool    `xor:"pause" help:"Serve it again."`
	JSON     bool    `name:"json" help:"Print JSON."`
}

// Run changes a domain.
func (c *domainsUpdateCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Domains.client()
	if err != nil {
		return err
	}
	p := api.DomainPatch{Tenant: c.Tenant, Origin: c.Origin, Redirect: c.Redirect}
	if c.Pause || c.Resume {
		p.Paused = &c.Pause
	}
	d, err := client.UpdateDomain(ctx, c.Host, p)
	if err != nil {
		return err
	}
	return printDomain(s, d, c.JSON)
}

type domainsRmCmd struct {
	Hosts []string `arg:"" name:"host"`
}

// Run deletes domains, one after the other, and goes on behind a failure.
func (c *domainsRmCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Domains.client()
	if err != nil {
		return err
	}
	var errs []error
	for _, host := range c.Hosts {
		if err := client.DeleteDomain(ctx, host); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintln(s.Out, "removed", host)
	}
	return errors.Join(errs...)
}

func printDomain(s streams, d api.Domain, asJSON bool) error {
	if asJSON {
		return printJSON(s, d)
	}
	t := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, value)
		}
	}
	row("host", d.Host)
	row("", d.Unicode)
	row("state", state(d))
	row("tenant", d.Tenant)
	row("goes to", destination(d))
	row("added", d.CreatedAt.Local().Format("2006-01-02 15:04:05"))
	row("changed", d.UpdatedAt.Local().Format("2006-01-02 15:04:05"))
	return t.Flush()
}

func printJSON(s streams, v any) error {
	e := json.NewEncoder(s.Out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func state(d api.Domain) string {
	if d.Paused {
		return "paused"
	}
	return "allowed"
}

func destination(d api.Domain) string {
	switch {
	case d.Redirect != "":
		return "redirect to " + d.Redirect
	case d.Origin != "":
		return d.Origin
	}
	return "the target"
}
