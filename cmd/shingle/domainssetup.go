package main

import (
	"context"
	"fmt"
	"time"

	"github.com/shingle-proxy/shingle/internal/api"
)

// setupFlags are those of what is made for a domain's customer.
type setupFlags struct {
	Host    string   `arg:"" help:"The customer's name."`
	Expires lifetime `default:"7d" placeholder:"TIME" help:"How long the link is good, such as 30d or 12h."`
	JSON    bool     `name:"json" help:"Print JSON."`
}

func (f *setupFlags) link() api.NewSetupLink {
	return api.NewSetupLink{ExpiresAt: time.Now().Add(time.Duration(f.Expires))}
}

type domainsSetupLinkCmd struct {
	setupFlags
	Revoke bool `help:"Make none: end all links that were made for this domain so far, in e-mails and widgets too. For when one leaked."`
}

// Run makes a link, or ends those that there are. Alone on its line a link can be piped to where it is needed.
func (c *domainsSetupLinkCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Domains.client()
	if err != nil {
		return err
	}
	if c.Revoke {
		if err := client.RevokeSetupLinks(ctx, c.Host); err != nil {
			return err
		}
		_, err := fmt.Fprintln(s.Out, "revoked the links of", c.Host)
		return err
	}
	made, err := client.SetupLink(ctx, c.Host, c.link())
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, made)
	}
	return printRows(s.Out, [][2]string{{"link", made.URL}, {"expires", localTime(made.ExpiresAt)}, {"widget", made.Widget}})
}

type domainsSetupEmailCmd struct {
	setupFlags
	Lang string `default:"en" enum:"en,de,es,fr,ja" help:"Language of the e-mail: en, de, es, fr or ja."`
}

// Run writes the e-mail.
func (c *domainsSetupEmailCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Domains.client()
	if err != nil {
		return err
	}
	made, err := client.SetupEmail(ctx, c.Host, api.NewSetupEmail{NewSetupLink: c.link(), Language: c.Lang})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, made)
	}
	_, err = fmt.Fprintf(s.Out, "Subject: %s\n\n%s", made.Subject, made.Text)
	return err
}
