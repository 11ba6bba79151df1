package main

import "context"

type domainsClaimCmd struct {
	Host   string `arg:"" help:"The customer's name."`
	Tenant string `required:"" placeholder:"NAME" help:"Who is to have it."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Run gives a domain to the tenant who controls it.
func (c *domainsClaimCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Domains.client()
	if err != nil {
		return err
	}
	d, err := client.ClaimDomain(ctx, c.Host, c.Tenant)
	if err != nil {
		return err
	}
	return printDomain(s.Out, d, c.JSON)
}
