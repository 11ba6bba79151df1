package main

import (
	"context"
	"fmt"

	"github.com/shingle-proxy/shingle/internal/app"
)

type storeCmd struct {
	Check  storeCheckCmd  `cmd:"" help:"Check the store: reachable, permitted, fast, safe; what is wrong, and what to do."`
	Copy   storeCopyCmd   `cmd:"" help:"Move a whole installation to another place: from one machine to a fleet, or back."`
	Create storeCreateCmd `cmd:"" help:"Create the DynamoDB table and the S3 bucket, unless they are there."`
}

type storeCreateCmd struct {
	processFlags
	storeFlags
}

// Help is what --help adds.
func (storeCreateCmd) Help() string {
	return "The table is billed by request. In production a template may make it instead: its key is pk and sk, both strings, its TTL attribute ttl. " +
		"A bucket that is made is closed to the public; of one that is there it is said what is missing, and nothing is changed."
}

// Run creates the table and the bucket.
func (c *storeCreateCmd) Run(ctx context.Context, s streams) error {
	cfg := c.config(s, app.RoleAll)
	c.apply(&cfg)
	done, advice, err := app.CreateStore(ctx, cfg)
	for _, line := range done {
		fmt.Fprintln(s.Out, line)
	}
	for _, f := range advice {
		fmt.Fprintf(s.Out, "advice: %s: %s. Do: %s\n", f.Check, f.Message, f.Do)
	}
	return err
}
