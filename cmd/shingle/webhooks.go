package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/shingle-proxy/shingle/internal/api"
)

// webhooksCmd is a client of the API.
type webhooksCmd struct {
	apiFlags

	Add    webhooksAddCmd    `cmd:"" help:"Have events sent to a URL."`
	List   webhooksListCmd   `cmd:"" help:"List the webhooks."`
	Show   webhooksShowCmd   `cmd:"" help:"Show a webhook, and what could not be delivered to it."`
	Update webhooksUpdateCmd `cmd:"" help:"Change a webhook, disable or enable it."`
	Rm     webhooksRmCmd     `cmd:"" help:"Remove a webhook."`
	Rotate webhooksRotateCmd `cmd:"" help:"Give a webhook a new secret; the old one signs for a day more."`
	Test   webhooksTestCmd   `cmd:"" help:"Send a test event now, and say how it went."`
	Replay webhooksReplayCmd `cmd:"" help:"Send again what could not be delivered."`
}

type webhooksAddCmd struct {
	URL         string   `arg:"" name:"url" help:"An https URL in the public Internet."`
	Description string   `placeholder:"TEXT" help:"For people."`
	Types       []string `name:"type" placeholder:"TYPE" help:"Only events of this type, such as certificate.failed; repeat it for several."`
	Tenant      string   `placeholder:"NAME" help:"Only events of this tenant."`
	JSON        bool     `name:"json" help:"Print JSON."`
}

// Run sets up a webhook.
func (c *webhooksAddCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Webhooks.client()
	if err != nil {
		return err
	}
	w, err := client.CreateWebhook(ctx, api.NewWebhook{URL: c.URL, Description: c.Description, Types: c.Types, Tenant: c.Tenant})
	if err != nil {
		return err
	}
	return printWebhook(s.Out, w, c.JSON)
}

type webhooksListCmd struct {
	JSON bool `name:"json" help:"Print a JSON array."`
}

// Run lists all webhooks.
func (c *webhooksListCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Webhooks.client()
	if err != nil {
		return err
	}
	list, err := client.Webhooks(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, list)
	}
	return printWebhooks(s.Out, list)
}

type webhooksShowCmd struct {
	ID   string `arg:"" name:"id" help:"As webhooks list shows it."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// shownDeadLetters bounds what `webhooks show` lists.
const shownDeadLetters = 20

// Run shows a webhook and its dead letters.
func (c *webhooksShowCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Webhooks.client()
	if err != nil {
		return err
	}
	w, err := client.Webhook(ctx, c.ID)
	if err != nil {
		return err
	}
	if err := printWebhook(s.Out, w, c.JSON); err != nil || c.JSON {
		return err
	}
	t := tabwriter.NewWriter(s.Out, 0, 0, 3, ' ', 0)
	n := 0
	for d, err := range client.DeadLetters(ctx, c.ID) {
		if err != nil {
			return err
		}
		if n == 0 {
			fmt.Fprintln(t, "\nNOT DELIVERED\tWHAT\tHOST\tATTEMPTS\tERROR")
		}
		if n++; n > shownDeadLetters {
			fmt.Fprintln(t, "...\t\t\t\t")
			break
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\n", d.Event.ID, d.Event.Type, orDash(d.Event.Host), d.Attempts, d.Error)
	}
	return t.Flush()
}

type webhooksUpdateCmd struct {
	ID          string    `arg:"" name:"id" help:"As webhooks list shows it."`
	URL         *string   `name:"url" placeholder:"URL" help:"Where to send to."`
	Description *string   `placeholder:"TEXT" help:"For people."`
	Types       *[]string `name:"type" placeholder:"TYPE" help:"Only events of this type; repeat it for several; empty: all."`
	Tenant      *string   `placeholder:"NAME" help:"Only events of this tenant; empty: of all."`
	Disable     bool      `xor:"disable" help:"Send nothing."`
	Enable      bool      `xor:"disable" help:"Send again."`
	JSON        bool      `name:"json" help:"Print JSON."`
}

// Run changes a webhook.
func (c *webhooksUpdateCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Webhooks.client()
	if err != nil {
		return err
	}
	p := api.WebhookPatch{URL: c.URL, Description: c.Description, Types: c.Types, Tenant: c.Tenant}
	if c.Disable || c.Enable {
		p.Disabled = &c.Disable
	}
	w, err := client.UpdateWebhook(ctx, c.ID, p)
	if err != nil {
		return err
	}
	return printWebhook(s.Out, w, c.JSON)
}

type webhooksRmCmd struct {
	IDs []string `arg:"" name:"id" help:"As webhooks list shows them."`
}

// Run removes webhooks.
func (c *webhooksRmCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Webhooks.client()
	if err != nil {
		return err
	}
	return each(c.IDs, func(id string) error {
		err := client.DeleteWebhook(ctx, id)
		if err == nil {
			fmt.Fprintln(s.Out, "removed", id)
		}
		return err
	})
}

type webhooksRotateCmd struct {
	ID   string `arg:"" name:"id" help:"As webhooks list shows it."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Run gives a webhook a new secret.
func (c *webhooksRotateCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Webhooks.client()
	if err != nil {
		return err
	}
	w, err := client.RotateWebhook(ctx, c.ID)
	if err != nil {
		return err
	}
	return printWebhook(s.Out, w, c.JSON)
}

type webhooksTestCmd struct {
	ID string `arg:"" name:"id" help:"As webhooks list shows it."`
}

// Run sends a test event.
func (c *webhooksTestCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Webhooks.client()
	if err != nil {
		return err
	}
	if err := client.TestWebhook(ctx, c.ID); err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.Out, "the test event arrived")
	return err
}

type webhooksReplayCmd struct {
	ID    string `arg:"" name:"id" help:"As webhooks list shows it."`
	Event string `arg:"" optional:"" help:"The ID of one event; without it all that could not be delivered."`
}

// Run sends dead letters again.
func (c *webhooksReplayCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Webhooks.client()
	if err != nil {
		return err
	}
	n, err := client.Replay(ctx, c.ID, c.Event)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.Out, "%d sent again\n", n)
	return err
}

func printWebhook(w io.Writer, h api.Webhook, asJSON bool) error {
	if asJSON {
		return printJSON(w, h)
	}
	return printRows(w, [][2]string{
		{"id", h.ID},
		{"url", h.URL},
		{"description", h.Description},
		{"events", eventsOf(h)},
		{"tenant", h.Tenant},
		{"state", stateOf(h)},
		{"last success", timeOrEmpty(h.LastSuccess)},
		{"last failure", timeOrEmpty(h.LastFailure)},
		{"its error", h.LastError},
		{"secret", h.Secret},
	})
}

func printWebhooks(w io.Writer, list []api.Webhook) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "No webhooks yet. Set one up: shingle webhooks add https://app.example.com/hooks")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "ID\tSTATE\tURL\tEVENTS")
	for _, h := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", h.ID, stateOf(h), h.URL, eventsOf(h))
	}
	return t.Flush()
}

func eventsOf(h api.Webhook) string {
	if len(h.Types) == 0 {
		return "all"
	}
	return strings.Join(h.Types, ", ")
}

func stateOf(h api.Webhook) string {
	switch {
	case h.Disabled && h.DisabledWhy != "":
		return "disabled: " + h.DisabledWhy
	case h.Disabled:
		return "disabled"
	case !h.FailingFrom.IsZero():
		return "failing since " + localTime(h.FailingFrom)
	}
	return "enabled"
}
