// Command shingle serves customers' domains over HTTPS.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/shingle-proxy/shingle/internal/app"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		endBy(<-signals)
	}()
	args := os.Args[1:]
	if len(args) == 0 && app.OnLambda() {
		args = []string{"control"} // Lambda gives its bootstrap no arguments
	}
	os.Exit(run(ctx, args, streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}

// endBy ends the process at once, as the signal does to whoever does not handle it.
func endBy(s os.Signal) {
	signal.Reset(s)
	if number, ok := s.(syscall.Signal); ok {
		_ = syscall.Kill(os.Getpid(), number)
	}
}
