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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	args := os.Args[1:]
	if len(args) == 0 && app.OnLambda() {
		args = []string{"control"} // Lambda gives its bootstrap no arguments
	}
	code := run(ctx, args, streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
