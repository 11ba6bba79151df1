package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/shingle-proxy/shingle/internal/api"
)

// domainsCmd is a client of the API.
type domainsCmd struct {
	apiFlags

	Add          domainsAddCmd          `cmd:"" help:"Allow a domain."`
	List         domainsListCmd         `cmd:"" help:"List the domains."`
	Show         domainsShowCmd         `cmd:"" help:"Show a domain."`
	Traffic      domainsTrafficCmd      `cmd:"" help:"Show how much visitors ask of a domain, by the hour, and whose the errors are."`
	Update       domainsUpdateCmd       `cmd:"" help:"Change a domain."`
	Check        domainsCheckCmd        `cmd:"" help:"Check a domain's DNS and HTTPS now, and say what to set."`
	Claim        domainsClaimCmd        `cmd:"" help:"Give a domain to the tenant who controls it, whoever has it now."`
	SetupLink    domainsSetupLinkCmd    `cmd:"" help:"Make a link for the customer: a page that says what to set, and sees when it works."`
	SetupEmail   domainsSetupEmailCmd   `cmd:"" help:"Write the e-mail that asks the customer for the DNS records, to forward."`
	ConnectSetup domainsConnectSetupCmd `cmd:"" help:"Show what to publish so that DNS providers with Domain Connect enter records by themselves."`
	Rm           domainsRmCmd           `cmd:"" help:"Delete domains: they are no longer served."`
	Import       domainsImportCmd       `cmd:"" help:"Add the domains in a file."`
	Export       domainsExportCmd       `cmd:"" help:"Print all domains as a file for import."`
}

type domainsAddCmd struct {
	Host     string `arg:"" help:"The customer's name, such as blog.customer.com."`
	Tenant   string `placeholder:"NAME" help:"Your name for the customer."`
	Origin   string `placeholder:"URL" help:"Where its requests go, instead of the target."`
	Redirect string `placeholder:"HOST" help:"Send visitors to this host instead."`
	settingsFlags
	Watch bool `help:"Show what happens, a line each, until the domain is live or Ctrl-C."`
	JSON  bool `name:"json" help:"Print JSON."`
}

// Run adds a domain.
func (c *domainsAddCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Domains.client()
	if err != nil {
		return err
	}
	set, err := c.patch(s)
	if err != nil {
		return err
	}
	d, err := client.CreateDomain(ctx, api.NewDomain{Host: c.Host, Tenant: c.Tenant, Origin: c.Origin, Redirect: c.Redirect, Settings: api.Settings(set)})
	if err != nil {
		return err
	}
	if err := printDomain(s.Out, d, c.JSON); err != nil || !c.Watch {
		return err
	}
	return watchUntilLive(ctx, client, s.Out, d.Host)
}

var errLive = errors.New("the domain is live")

// watchUntilLive prints what becomes of a domain's status.
func watchUntilLive(ctx context.Context, client *api.Client, w io.Writer, host string) error {
	last := ""
	look := func() error {
		d, err := client.Domain(ctx, host)
		if err != nil || d.Status == nil {
			return err
		}
		if now := d.Status.State + d.Status.Message; now != last {
			last = now
			fmt.Fprintf(w, "%s  %-9s  %s\n", localTime(d.Status.Since), d.Status.State, d.Status.Message)
		}
		if d.Status.State == "active" {
			return errLive
		}
		return nil
	}
	err := client.Follow(ctx, host, look, func(api.Event) error { return look() })
	if errors.Is(err, errLive) {
		return nil
	}
	return untilInterrupted(ctx, err)
}

type domainsListCmd struct {
	Tenant string `placeholder:"NAME" help:"Only this tenant's."`
	Tag    string `placeholder:"WORD" help:"Only domains with this tag."`
	Text   string `placeholder:"TEXT" help:"Only domains with this in their names."`
	State  string `enum:",pending,verifying,issuing,active,drifting,paused,blocked" default:"" placeholder:"STATE" help:"Only domains whose checks found this: pending, verifying, issuing, active, drifting, paused or blocked."`
	Who    string `enum:",customer,operator,ca,nobody" default:"" placeholder:"WHO" help:"Only domains for which these must act: customer, operator, ca or nobody."`
	Status bool   `help:"Show what the checks found of each, and who must act."`
	Sort   string `enum:"host,created,-created,-changed" default:"host" placeholder:"ORDER" help:"host; created or -created: the oldest or the newest first; -changed: whose status changed last first."`
	listFlags
}

// domainsEvery is how often --watch looks.
const domainsEvery = 5 * time.Second

// Run lists the domains that are wanted.
func (c *domainsListCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Domains.client()
	if err != nil {
		return err
	}
	wanted := api.FilterInput{Tenant: c.Tenant, Tag: c.Tag, Text: c.Text, State: c.State, Who: c.Who, Status: c.Status}
	read := func() ([]api.Domain, error) { return collect(client.FindDomains(ctx, wanted, c.Sort)) }
	_, err = show(ctx, s.Out, c.listFlags, domainsEvery, read, func(w io.Writer, list []api.Domain) error {
		switch {
		case len(list) == 0 && wanted != api.FilterInput{}:
			_, err := fmt.Fprintln(w, "No such domains.")
			return err
		case c.Status || c.State != "" || c.Who != "" || c.Sort == "-changed":
			return printStatuses(w, list)
		}
		return printDomains(w, list)
	})
	return err
}

type domainsShowCmd struct {
	Host  string `arg:"" help:"The customer's name."`
	Watch bool   `help:"Show it again whenever something changes, until Ctrl-C."`
	JSON  bool   `name:"json" help:"Print JSON."`
}

// Run shows a domain, and with --watch goes on doing so.
func (c *domainsShowCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Domains.client()
	if err != nil {
		return err
	}
	show := func() error {
		d, err := client.Domain(ctx, c.Host)
		if err != nil {
			return err
		}
		return printDomain(s.Out, d, c.JSON)
	}
	if !c.Watch {
		return show()
	}
	return untilInterrupted(ctx, client.Follow(ctx, c.Host, show, func(api.Event) error {
		fmt.Fprintln(s.Out)
		return show()
	}))
}

type domainsUpdateCmd struct {
	Host     string  `arg:"" help:"The customer's name."`
	Tenant   *string `placeholder:"NAME" help:"Your name for the customer; empty: none."`
	Origin   *string `placeholder:"URL" help:"Where its requests go; empty: the target."`
	Redirect *string `placeholder:"HOST" help:"Send visitors to this host; empty: no longer."`
	Pause    bool    `xor:"pause" help:"Stop serving it."`
	Resume   bool    `xor:"pause" help:"Serve it again."`
	settingsFlags
	JSON bool `name:"json" help:"Print JSON."`
}

// Run changes a domain.
func (c *domainsUpdateCmd) Run(ctx context.Context, all *cli, s streams) error {
	p := api.DomainPatch{Tenant: c.Tenant, Origin: c.Origin, Redirect: c.Redirect}
	if c.Pause || c.Resume {
		p.Paused = &c.Pause
	}
	set, err := c.patch(s)
	if err != nil {
		return err
	}
	if set != "" {
		p.Settings = &set
	}
	if p == (api.DomainPatch{}) {
		return errors.New("nothing to change: name a flag, such as --pause or --origin")
	}
	client, err := all.Domains.client()
	if err != nil {
		return err
	}
	d, err := client.UpdateDomain(ctx, c.Host, p)
	if err != nil {
		return err
	}
	return printDomain(s.Out, d, c.JSON)
}

type domainsRmCmd struct {
	Hosts  []string `arg:"" name:"host" help:"The customers' names."`
	Revoke bool     `help:"Have the certificate authorities revoke their certificates, too."`
}

// Run deletes domains.
func (c *domainsRmCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Domains.client()
	if err != nil {
		return err
	}
	remove := client.DeleteDomain
	if c.Revoke {
		remove = client.DeleteAndRevoke
	}
	return each(c.Hosts, func(host string) error {
		err := remove(ctx, host)
		if err == nil {
			fmt.Fprintln(s.Out, "removed", host)
		}
		return err
	})
}
