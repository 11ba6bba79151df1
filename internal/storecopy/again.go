package storecopy

import (
	"context"
	"errors"
	"time"

	"github.com/shingle-proxy/shingle"
)

// patience is how long a store may fail before a copy is given up.
const patience = 2 * time.Minute

// again repeats what failed for a while: an outage, or too many requests at once.
func again(ctx context.Context, do func() error) error {
	began := time.Now()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := do()
		if err == nil || !passing(err) || time.Since(began) > patience {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// passing reports whether another try may succeed.
func passing(err error) bool {
	if errors.Is(err, shingle.ErrSetup) {
		return false
	}
	switch shingle.CodeOf(err) {
	case shingle.CodeUnavailable, shingle.CodeThrottled, shingle.CodeLimited, shingle.CodeConflict:
		return true
	}
	return false
}
