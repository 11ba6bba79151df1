package app

import (
	"context"
	"time"
)

// indexer is a store whose domains may have been written by a version that did not put
// them in the orders of today. Index makes up for a part of them, and returns when to go
// on; zero: all is done.
type indexer interface {
	Index(ctx context.Context) (again time.Time, err error)
}

// index has all domains put in order, and then rests until ctx ends.
func (a *App) index(ctx context.Context, store indexer) error {
	for {
		again, err := store.Index(ctx)
		if err != nil {
			return err
		}
		if again.IsZero() {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		wait := time.Until(again)
		if wait <= 0 {
			a.activity.note()
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
