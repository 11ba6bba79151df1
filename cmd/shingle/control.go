package main

import (
	"context"
	"fmt"

	"github.com/shingle-proxy/shingle/internal/app"
)

type controlCmd struct {
	processFlags
	originFlags
	acmeFlags
	controlFlags
	storeFlags
}

// Run answers the API and looks after certificates until ctx ends.
func (c *controlCmd) Run(ctx context.Context, s streams) error {
	cfg := c.config(s, app.RoleControl)
	c.originFlags.apply(&cfg)
	c.acmeFlags.apply(&cfg)
	c.controlFlags.apply(&cfg)
	c.storeFlags.apply(&cfg)
	if app.OnLambda() {
		return app.Lambda(ctx, cfg)
	}
	return app.Serve(ctx, cfg, func(l *app.Listeners, token string) {
		fmt.Fprintf(s.Out, "shingle serves the API on %s; the first API token is in %s\n", l.Control.Addr(), token)
	})
}
