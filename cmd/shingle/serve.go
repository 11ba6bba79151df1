package main

import (
	"context"
	"fmt"

	"github.com/shingle-proxy/shingle/internal/app"
)

type serveCmd struct {
	processFlags
	edgeFlags
	originFlags
	acmeFlags
	controlFlags
	storeFlags
}

// Run serves until ctx ends.
func (c *serveCmd) Run(ctx context.Context, s streams) error {
	cfg := c.config(s, app.RoleAll)
	c.edgeFlags.apply(&cfg)
	c.originFlags.apply(&cfg)
	c.acmeFlags.apply(&cfg)
	c.controlFlags.apply(&cfg)
	c.storeFlags.apply(&cfg)
	return app.Serve(ctx, cfg, func(l *app.Listeners, token string) {
		fmt.Fprintf(s.Out, "shingle serves HTTPS on %s, HTTP on %s and the API on %s; the first API token is in %s\n",
			l.HTTPS.Addr(), l.HTTP.Addr(), l.Control.Addr(), token)
	})
}
