package main

import (
	"context"
	"iter"
	"sync"
)

// inOrder does something for each of list, n at once, and yields the results in the
// order of the list. It ends early when ctx does, or whoever ranges over it.
func inOrder[T, R any](ctx context.Context, n int, list []T, do func(context.Context, T) R) iter.Seq2[int, R] {
	return func(yield func(int, R) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var workers sync.WaitGroup
		defer workers.Wait()
		defer cancel()
		results := make([]chan R, len(list))
		for i := range results {
			results[i] = make(chan R, 1)
		}
		next := make(chan int)
		for range n {
			workers.Go(func() {
				for i := range next {
					results[i] <- do(ctx, list[i])
				}
			})
		}
		ahead := make(chan struct{}, 4*n) // results that wait for an earlier one
		workers.Go(func() {
			defer close(next)
			for i := range list {
				select {
				case ahead <- struct{}{}:
				case <-ctx.Done():
					return
				}
				next <- i // a worker always comes, if only to find that ctx has ended
			}
		})
		for i := range list {
			select {
			case r := <-results[i]:
				<-ahead
				if !yield(i, r) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}
