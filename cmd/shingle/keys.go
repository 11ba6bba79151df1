package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/app"
)

// keysCmd is about master keys.
type keysCmd struct {
	List keysListCmd `cmd:"" help:"List the master keys, and what still needs each."`
	Next keysNextCmd `cmd:"" help:"Make the next key file, which replaces the one before it."`
}

type keysListCmd struct {
	apiFlags

	JSON bool `name:"json" help:"Print a JSON array."`
}

// Run lists the master keys.
func (c *keysListCmd) Run(ctx context.Context, s streams) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	list, err := client.MasterKeys(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, list)
	}
	return printKeys(s.Out, list)
}

func printKeys(w io.Writer, list []api.MasterKey) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "MASTER KEY\tDATA KEYS UNDER IT\tSTATE")
	old := 0
	for _, k := range list {
		state := "old; a rewrap takes its data keys from it"
		switch {
		case k.Problem != "":
			state = k.Problem
		case k.Current:
			state = "current"
		}
		if !k.Current {
			old++
		}
		fmt.Fprintf(t, "%s\t%d\t%s\n", k.ID, k.DataKeys, state)
	}
	if err := t.Flush(); err != nil || old > 0 {
		return err
	}
	_, err := fmt.Fprintln(w, "No other master key is needed.")
	return err
}

type keysNextCmd struct {
	Data      string `placeholder:"DIR" default:"/var/lib/shingle" env:"SHINGLE_DATA" help:"Data folder of a process." type:"path"`
	MasterKey string `name:"master-key" default:"file" placeholder:"KEY" env:"SHINGLE_MASTER_KEY" help:"As in shingle serve."`
}

// Help is what --help adds.
func (keysNextCmd) Help() string {
	return "A key in AWS KMS is replaced by another target of its alias, or by another --master-key."
}

// Run makes a key file and says what comes next.
func (c *keysNextCmd) Run(s streams) error {
	name, id, err := app.NextMasterKey(app.Config{Data: c.Data, MasterKey: c.MasterKey})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.Out, `The new master key %s is in %s, beside those before it.

1. Copy the file to the same place on every machine of the fleet, mode 0600, and into your
   backup of keys. Processes take it up by themselves; edges first, that none meets
   what it cannot open.
2. Have what the old keys protect wrapped under the new one:  shingle certs rewrap
3. See that no data key is under an old one any more:  shingle keys list
4. Then remove the old files from every machine. Keep them as long as you keep
   backups of the store that are older than step 2.
`, id, name)
	return err
}
