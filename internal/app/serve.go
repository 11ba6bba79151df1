package app

import (
	"context"
	"os"
	"sync"
)

// Serve runs what cfg's role says on real networks. ready is called when
// requests are answered.
func Serve(ctx context.Context, cfg Config, ready func(l *Listeners, tokenPath string)) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	l, err := Listen(&cfg)
	if err != nil {
		return err
	}
	a, err := New(ctx, cfg, l)
	if err != nil {
		return err
	}
	manager := supervisorOf(os.Getenv, a.log)
	var watch sync.WaitGroup
	defer watch.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch.Go(func() { manager.watch(ctx, a.alive) })
	context.AfterFunc(ctx, func() { manager.tell("STOPPING=1\nSTATUS=requests under way end") })
	// It listens, and is up: that it waits for its domains is no failure to start.
	manager.tell("READY=1\nSTATUS=waits for the domains")
	return a.Run(ctx, func() error {
		manager.tell("STATUS=serves")
		ready(l, a.TokenPath())
		return nil
	})
}
