package main

import (
	"context"
	"fmt"

	"github.com/shingle-proxy/shingle/internal/app"
)

type storeCmd struct {
	Create storeCreateCmd `cmd:"" help:"Create the DynamoDB table, unless it is there."`
}

type storeCreateCmd struct {
	processFlags
	storeFlags
}

// Help is what --help adds.
func (storeCreateCmd) Help() string {
	return "The table is billed by request. In production a template may make it instead: its key is pk and sk, both strings, its TTL attribute ttl."
}

// Run creates the table.
func (c *storeCreateCmd) Run(ctx context.Context, s streams) error {
	cfg := c.config(s, app.RoleAll)
	c.apply(&cfg)
	if err := app.CreateStore(ctx, cfg); err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "the table %s is there\n", c.Table)
	return nil
}
