// Package ec2 is what an edge does as an instance of an Auto Scaling group: it
// puts itself before visitors when it can serve them, stays there, and leaves
// before it is terminated.
package ec2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Times of an Agent.
const (
	tickTime    = 5 * time.Second
	checkEvery  = 5 * time.Minute  // that visitors are still led here
	drainTime   = 45 * time.Second // from the leave to the end, for connections to finish
	measureTime = time.Minute      // between two records of how the instance is
	sickTime    = 3 * time.Minute  // unhealthy for that long: the group may replace it
	startTime   = 5 * time.Minute  // to become healthy for the first time
	callTimeout = 20 * time.Second
)

// Cloud is what an Agent needs of AWS.
type Cloud interface {
	// Leaving reports whether the group is about to terminate the instance.
	Leaving(ctx context.Context) (bool, error)
	// Signal tells CloudFormation that the instance serves. It can be repeated.
	Signal(ctx context.Context) error
	// Unfit tells the group to replace the instance.
	Unfit(ctx context.Context) error
	// LetGo tells the group that it may terminate the instance now.
	LetGo(ctx context.Context) error

	// Enter leads visitors to the instance, unless they are led there: by one of
	// the stage's addresses, or as an endpoint of the accelerator. It returns
	// ErrFull when all addresses are taken by others.
	Enter(ctx context.Context) error
	// Leave undoes Enter.
	Leave(ctx context.Context) error

	// Record writes a line into the stage's log.
	Record(ctx context.Context, at time.Time, line []byte) error
}

// ErrFull reports that no address is free: an instance that is about to leave has
// it still.
var ErrFull = errors.New("no address is free yet")

// Agent looks after an instance.
type Agent struct {
	Cloud   Cloud
	Healthy func() error // nil: visitors can be served
	// Drain has health checks fail, and clients sent away, while all are served on. It is
	// called at each step of an instance that leaves.
	Drain func()
	// Measure returns the line that tells how the instance is since the last one; nil:
	// nobody wants to know.
	Measure func(now time.Time) []byte
	Logger  *slog.Logger
	Now     func() time.Time // default: time.Now

	begun     time.Time
	healthyAt time.Time // the last time
	checked   time.Time // when it was last seen to that visitors are led here
	measured  time.Time
	signalled bool
	unfit     bool
	left      time.Time // zero: not leaving
}

// Run looks after the instance until ctx ends. Failures of AWS are logged, and
// tried again.
func (a *Agent) Run(ctx context.Context) {
	tick := time.NewTicker(tickTime)
	defer tick.Stop()
	said := ""
	for {
		err := a.step(ctx)
		if err != nil && ctx.Err() == nil && err.Error() != said {
			a.Logger.Warn("instance not looked after", "error", err)
		}
		said = fmt.Sprint(err)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// step does what is to be done now.
func (a *Agent) step(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	now := a.now()
	if a.begun.IsZero() {
		a.begun = now
	}
	leaving, err := a.Cloud.Leaving(ctx)
	if err != nil {
		return fmt.Errorf("ask whether the instance is to leave: %w", err)
	}
	if leaving || !a.left.IsZero() {
		return a.leave(ctx, now)
	}
	if err := a.Healthy(); err != nil {
		return errors.Join(a.sick(ctx, now, err), a.measure(ctx, now))
	}
	a.healthyAt = now
	return errors.Join(a.well(ctx, now), a.measure(ctx, now))
}

// measure tells how the instance is. What cannot be told is not told later.
func (a *Agent) measure(ctx context.Context, now time.Time) error {
	if a.Measure == nil || now.Sub(a.measured) < measureTime {
		return nil
	}
	a.measured = now
	if err := a.Cloud.Record(ctx, now, a.Measure(now)); err != nil {
		return fmt.Errorf("tell CloudWatch how the instance is: %w", err)
	}
	return nil
}

// well has visitors led here, and tells CloudFormation once.
func (a *Agent) well(ctx context.Context, now time.Time) error {
	var errs []error
	if now.Sub(a.checked) >= checkEvery || a.checked.IsZero() {
		err := a.Cloud.Enter(ctx)
		if err == nil {
			a.checked = now
		}
		if err != nil && !errors.Is(err, ErrFull) {
			errs = append(errs, fmt.Errorf("lead visitors here: %w", err))
		}
		// An instance that replaces another signals while that one has its address:
		// only then does the other leave.
		if err != nil && !errors.Is(err, ErrFull) {
			return errors.Join(errs...)
		}
	}
	if !a.signalled {
		if err := a.Cloud.Signal(ctx); err != nil {
			errs = append(errs, fmt.Errorf("signal that the instance serves: %w", err))
		} else {
			a.signalled = true
			a.Logger.Info("instance serves")
		}
	}
	return errors.Join(errs...)
}

// sick takes the instance away from visitors, and has it replaced, when it has
// been unhealthy for long.
func (a *Agent) sick(ctx context.Context, now time.Time, why error) error {
	since, patience := a.healthyAt, sickTime
	if since.IsZero() {
		since, patience = a.begun, startTime
	}
	if a.unfit || now.Sub(since) < patience {
		return nil
	}
	a.Logger.Error("instance is to be replaced", "unhealthy", why, "since", since)
	if err := a.Cloud.Unfit(ctx); err != nil {
		return fmt.Errorf("have the instance replaced: %w", err)
	}
	a.unfit = true
	return nil
}

// leave takes the instance away from visitors, waits for connections to end, and
// lets it go.
func (a *Agent) leave(ctx context.Context, now time.Time) error {
	a.Drain()
	if a.left.IsZero() {
		if err := a.Cloud.Leave(ctx); err != nil {
			return fmt.Errorf("lead visitors elsewhere: %w", err)
		}
		a.left = now
		a.Logger.Info("instance leaves")
	}
	if now.Sub(a.left) < drainTime {
		return nil
	}
	if err := a.Cloud.LetGo(ctx); err != nil {
		return fmt.Errorf("let the instance go: %w", err)
	}
	return nil
}

func (a *Agent) now() time.Time {
	if a.Now != nil {
		return a.Now()
	}
	return time.Now()
}
