package aws

import "time"

// Event is a step of a deployment.
type Event struct {
	At       time.Time
	Stack    string // its ID
	Resource string // empty: of the stack as a whole
	Type     string
	Status   string // in the words of CloudFormation, or ours for the stack
	Reason   string
}

// Report takes in the steps of a deployment. It is called by several goroutines,
// one at a time.
type Report func(Event)
