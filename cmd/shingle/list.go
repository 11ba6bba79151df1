package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// listFlags are those of a list that can be watched.
type listFlags struct {
	Watch bool `help:"Show the list again and again, until Ctrl-C."`
	JSON  bool `name:"json" help:"Print a JSON array; with --watch, one a line each time."`
}

// show shows a list, and with --watch what it is each time that every has passed, until
// ctx ends. It returns the last one.
func show[T any](ctx context.Context, w io.Writer, f listFlags, every time.Duration, read func() ([]T, error), table func(io.Writer, []T) error) ([]T, error) {
	for {
		list, err := read()
		if err != nil {
			return nil, untilInterrupted(ctx, err)
		}
		if err := printList(w, f, list, table); err != nil || !f.Watch || !pause(ctx, every) {
			return list, err
		}
	}
}

func printList[T any](w io.Writer, f listFlags, list []T, table func(io.Writer, []T) error) error {
	switch {
	case f.JSON && f.Watch:
		return json.NewEncoder(w).Encode(list)
	case f.JSON:
		return printJSON(w, list)
	case f.Watch && isTerminal(w):
		fmt.Fprint(w, "\033[H\033[2J") // from the top of an empty screen
	}
	return table(w, list)
}
