package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

// tokensCmd is a client of the API.
type tokensCmd struct {
	apiFlags

	Add  tokensAddCmd  `cmd:"" help:"Make an API token; its text is shown this once."`
	List tokensListCmd `cmd:"" help:"List the API tokens."`
	Rm   tokensRmCmd   `cmd:"" help:"Revoke API tokens."`
}

type tokensAddCmd struct {
	Name    string   `arg:"" help:"Whose it is: in events, the name says who did it."`
	Role    string   `required:"" enum:"admin,operator,read,tenant" placeholder:"ROLE" help:"admin: everything; operator: everything but tokens; read: look at the same; tenant: one tenant's domains."`
	Tenant  string   `placeholder:"NAME" help:"For the role tenant: whose domains."`
	Expires lifetime `placeholder:"90d" help:"How long it is good, such as 90d or 12h. Default: until it is revoked."`
	JSON    bool     `name:"json" help:"Print JSON."`
}

// Run makes a token.
func (c *tokensAddCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Tokens.client()
	if err != nil {
		return err
	}
	t := api.NewToken{Name: c.Name, Role: c.Role, Tenant: c.Tenant}
	if c.Expires > 0 {
		t.ExpiresAt = time.Now().Add(time.Duration(c.Expires))
	}
	made, err := client.CreateToken(ctx, t)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, made)
	}
	return printRows(s.Out, [][2]string{
		{"id", made.ID},
		{"name", made.Name},
		{"role", roleOf(made)},
		{"expires", timeOrEmpty(made.ExpiresAt)},
		{"token", made.Token},
	})
}

type tokensListCmd struct {
	JSON bool `name:"json" help:"Print a JSON array."`
}

// Run lists all tokens, in the order of their names.
func (c *tokensListCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Tokens.client()
	if err != nil {
		return err
	}
	list, err := collect(client.Tokens(ctx))
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b api.Token) int { return strings.Compare(a.Name, b.Name) })
	if c.JSON {
		return printJSON(s.Out, list)
	}
	return printTokens(s.Out, list)
}

type tokensRmCmd struct {
	Tokens []string `arg:"" name:"token" help:"Names or IDs, as tokens list shows them."`
}

// Run revokes tokens.
func (c *tokensRmCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Tokens.client()
	if err != nil {
		return err
	}
	list, err := collect(client.Tokens(ctx))
	if err != nil {
		return err
	}
	return each(c.Tokens, func(which string) error {
		i := slices.IndexFunc(list, func(t api.Token) bool { return t.Name == which })
		if i < 0 {
			i = slices.IndexFunc(list, func(t api.Token) bool { return t.ID == which })
		}
		if i < 0 {
			return shingle.Errorf(shingle.CodeNotFound, "there is no token %q", which)
		}
		err := client.DeleteToken(ctx, list[i].ID)
		if err == nil {
			fmt.Fprintln(s.Out, "revoked", list[i].Name)
		}
		return err
	})
}

func printTokens(w io.Writer, list []api.Token) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "NAME\tROLE\tID\tLAST USED\tEXPIRES")
	for _, x := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", x.Name, roleOf(x), x.ID, orDash(timeOrEmpty(x.LastUsed)), expiry(x.ExpiresAt, time.Now()))
	}
	return t.Flush()
}

func roleOf(t api.Token) string {
	if t.Tenant != "" {
		return t.Role + " " + t.Tenant
	}
	return t.Role
}

func expiry(at, now time.Time) string {
	switch {
	case at.IsZero():
		return "never"
	case !now.Before(at):
		return "expired"
	}
	return localTime(at)
}

// lifetime is a duration that may be written in days.
type lifetime time.Duration

// UnmarshalText reads "90d" or what [time.ParseDuration] takes.
func (l *lifetime) UnmarshalText(text []byte) error {
	s := string(text)
	d, err := time.ParseDuration(s)
	if days, found := strings.CutSuffix(s, "d"); found {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(n) * 24 * time.Hour
		if n > 36500 {
			err = strconv.ErrRange
		}
	}
	if err != nil || d <= 0 {
		return fmt.Errorf("%q must be a time such as 90d or 12h", s)
	}
	*l = lifetime(d)
	return nil
}
