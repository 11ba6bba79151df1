package app

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"
)

// closingTime is what all but the edge takes to end, at the most.
const closingTime = 15 * time.Second

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
	lives, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	watch.Go(func() { manager.watch(lives, a.alive) })
	defer context.AfterFunc(ctx, func() { manager.tell(stopping(&cfg)) })()
	// It listens, and is up: that it waits for its domains is no failure to start.
	manager.tell("READY=1\nSTATUS=waits for the domains")
	return a.Run(ctx, func() error {
		manager.tell("STATUS=serves")
		ready(l, a.TokenPath())
		return nil
	})
}

// stopping tells a service manager that the process ends, and how long that may take.
func stopping(cfg *Config) string {
	most := cfg.ShutdownDelay + cfg.GracePeriod + closingTime
	return fmt.Sprintf("STOPPING=1\nSTATUS=requests under way end\nEXTEND_TIMEOUT_USEC=%d", most.Microseconds())
}
