package shingle

import (
	"context"
	"time"
)

// States and Whos are all that a status of a domain that is there may have.
var (
	States = []State{StatePending, StateVerifying, StateIssuing, StateActive, StateDrifting, StatePaused, StateBlocked}
	Whos   = []string{WhoOperator, WhoCustomer, WhoCA, WhoNobody}
)

// StatusKind is what statuses are listed by: a state, and who must act.
type StatusKind struct {
	State State
	Who   string
}

// ListedStatus is what a [StatusIndex] has of a status.
type ListedStatus struct {
	StatusKind
	Host    string
	Tenant  string
	Changed time.Time // in whole microseconds
}

// Is reports whether the index tells of s as it is.
func (l *ListedStatus) Is(s *Status) bool {
	return l.State == s.State && l.Who == s.Who && l.Tenant == s.Tenant && l.Changed.Equal(s.Changed.Truncate(time.Microsecond))
}

// StatusIndex finds domains by their statuses without reading those.
type StatusIndex interface {
	// Listed returns the statuses of a kind that changed before that of after, whose
	// Changed and Host count, the newest change first, at most limit (1 to 1000). Those
	// of one moment have an order of their own. It may be ahead of or behind the statuses
	// by one that is just being written, and have an entry too many where a process was
	// killed in the middle: the status itself is what counts.
	Listed(ctx context.Context, kind StatusKind, after ListedStatus, limit int) ([]ListedStatus, error)
}
