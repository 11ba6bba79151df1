package shingle

import (
	"context"
	"time"
)

// SmokeStep is one thing that is tried of an installation, from outside.
type SmokeStep struct {
	// Name is what programs know the step by, such as "alarms". It does not change.
	Name string
	// What is looked at, for people.
	What string
	// Within bounds the step in time.
	Within time.Duration
	// Needs are the steps without whose success this one would say nothing: it is skipped
	// then. One that is not among the steps is not missed.
	Needs []string
	// Always has the step done when those that it needs went well, also when the time is up
	// or the operator has interrupted: it takes away what they made.
	Always bool
	// Do returns what there is, in few words, or why it is not as it should be: best a
	// [SmokeFault].
	Do func(ctx context.Context) (found string, err error)
}

// SmokeFault is why a [SmokeStep] did not go well.
type SmokeFault struct {
	Reason  string
	Do      string // what the operator does about it; empty: the reason says it
	Skipped bool   // it could not be looked at from here, which says nothing about the installation
}

// Error implements error.
func (f *SmokeFault) Error() string { return f.Reason }
