package main

import (
	"context"
	"fmt"

	"github.com/shingle-proxy/shingle/internal/app"
)

type controlCmd struct {
	Target string `placeholder:"HOST" env:"SHINGLE_TARGET,TARGET_DOMAIN" help:"The --target of the edges, which is told with --cloudflare-zone alone, as the fallback origin."`

	processFlags
	originFlags
	acmeFlags
	controlFlags
	storeFlags
	stageFlag
}

// Run answers the API and looks after certificates until ctx ends.
func (c *controlCmd) Run(ctx context.Context, s streams) error {
	cfg := c.config(s, app.RoleControl)
	cfg.Target = c.Target
	c.originFlags.apply(&cfg)
	c.acmeFlags.apply(&cfg)
	c.controlFlags.apply(&cfg)
	c.storeFlags.apply(&cfg)
	cfg.Stage = c.MetricsStage
	if app.OnLambda() {
		return app.Lambda(ctx, cfg)
	}
	return app.Serve(ctx, cfg, func(l *app.Listeners, token string) {
		fmt.Fprintf(s.Out, "shingle serves the API on %s; the first API token is in %s\n", l.Control.Addr(), token)
	})
}
