package main

import (
	"context"
	"fmt"

	"github.com/shingle-proxy/shingle/internal/app"
)

type edgeCmd struct {
	processFlags
	edgeFlags
	originFlags
	acmeFlags
	storeFlags
	Instance instanceFlags `embed:""`
}

// Run serves visitors until ctx ends.
func (c *edgeCmd) Run(ctx context.Context, s streams) error {
	cfg := c.config(s, app.RoleEdge)
	c.edgeFlags.apply(&cfg)
	c.originFlags.apply(&cfg)
	c.acmeFlags.apply(&cfg)
	c.storeFlags.apply(&cfg)
	c.Instance.apply(&cfg)
	return app.Serve(ctx, cfg, func(l *app.Listeners, _ string) {
		fmt.Fprintf(s.Out, "shingle serves HTTPS on %s and HTTP on %s\n", l.HTTPS.Addr(), l.HTTP.Addr())
	})
}
