package main

import (
	"context"
	"fmt"
)

type domainsConnectSetupCmd struct {
	JSON bool `name:"json" help:"Print JSON, with the templates."`
}

// Run shows what to publish for Domain Connect.
func (c *domainsConnectSetupCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Domains.client()
	if err != nil {
		return err
	}
	is, err := client.DomainConnect(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, is)
	}
	fmt.Fprintf(s.Out, "1. Set these TXT records, of the key that signs what DNS providers are asked for:\n\n")
	for _, text := range is.KeyTexts {
		fmt.Fprintf(s.Out, "   %s TXT %q\n", is.KeyName, text)
	}
	fmt.Fprintf(s.Out, "\n2. Give these templates to the DNS providers, and to github.com/Domain-Connect/Templates:\n\n")
	for _, t := range is.Templates {
		fmt.Fprintf(s.Out, "   %s\n", t.URL)
	}
	fmt.Fprintf(s.Out, "\nWhere a provider has them, set-up pages offer to enter the records there.\n")
	return nil
}
