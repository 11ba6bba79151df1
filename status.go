package shingle

import (
	"fmt"
	"hash/fnv"
	"slices"
	"time"
)

// State is where a domain is in its life.
type State string

// The states. docs/domains.md has the diagram.
const (
	StatePending   State = "pending"   // DNS does not point here yet
	StateVerifying State = "verifying" // DNS points here, but not so that all visitors or a CA would be content
	StateIssuing   State = "issuing"   // a certificate is being obtained
	StateActive    State = "active"    // served, with a valid certificate
	StateDrifting  State = "drifting"  // was active, and points elsewhere now: served and warned about for a grace time
	StatePaused    State = "paused"    // drifted for longer than that: no certificate is obtained until DNS is back
	StateBlocked   State = "blocked"   // by the operator
	StateRemoved   State = "removed"   // deleted; the name is remembered for a while
)

// Status is the one truth about a domain's life. It changes only by a
// [Lifecycle]; its history has what changed.
type Status struct {
	Host   string `json:"host"`
	Tenant string `json:"tenant,omitempty"`

	State   State     `json:"state"`
	Reason  Reason    `json:"reason"`
	Message string    `json:"message"` // one or two sentences for people
	Who     string    `json:"who"`     // must act: one of the Who constants
	Since   time.Time `json:"since"`   // the state is what it is
	Changed time.Time `json:"changed"` // state, reason or who, last

	Checked time.Time `json:"checked,omitzero"` // last; zero: never
	Next    time.Time `json:"next,omitzero"`    // check, or when a removed name is forgotten; zero: never

	Activated      time.Time `json:"activated,omitzero"`       // first, since the domain was added or blocked; zero: never
	DriftedAt      time.Time `json:"drifted_at,omitzero"`      // when it was first seen to point elsewhere, while it does
	UnclearSince   time.Time `json:"unclear_since,omitzero"`   // when checks began to say nothing, while they do
	CertifiedUntil time.Time `json:"certified_until,omitzero"` // end of the newest certificate known
	// ProofNeeded says that nothing has shown yet that the name is this tenant's.
	// That DNS points here is no proof: the record may be another tenant's.
	ProofNeeded bool      `json:"proof_needed,omitempty"`
	Proven      time.Time `json:"proven,omitzero"` // when something did, last; zero: never

	History []Step `json:"history,omitempty"` // oldest first, at most MaxHistory
}

// MaxHistory bounds a status' history.
const MaxHistory = 32

// Step is a change of a status.
type Step struct {
	At      time.Time `json:"at"`
	State   State     `json:"state"`
	Reason  Reason    `json:"reason"`
	Who     string    `json:"who"`
	Message string    `json:"message"`
}

// MayIssue returns nil when a domain in this state may have a certificate
// obtained or renewed, as far as its life is concerned; [Preflight] has the rest.
// Otherwise it returns a [*Refusal].
func (s *Status) MayIssue() error {
	switch s.State {
	case StateIssuing, StateActive, StateDrifting:
		return nil
	}
	return &Refusal{
		Finding: Finding{s.Reason, s.Message}, Who: s.Who, Elsewhere: s.State == StatePending && s.Reason.elsewhere(),
		err: &Error{Code: CodeForbidden, Message: fmt.Sprintf("the domain is %s: %s", s.State, s.Message)},
	}
}

// Serves reports whether visitors are served in this state, given a certificate.
func (s *Status) Serves() bool { return s.State != StateBlocked && s.State != StateRemoved }

// move changes the state and notes it. A state that only gets another reason
// keeps its Since.
func (s *Status) move(to State, f Finding, who string, now time.Time) {
	s.Message = f.Message
	if s.State == to && s.Reason == f.Reason && s.Who == who {
		return
	}
	if s.State != to {
		s.Since = now
	}
	s.State, s.Reason, s.Who, s.Changed = to, f.Reason, who, now
	s.History = append(slices.Clone(s.History), Step{At: now, State: to, Reason: f.Reason, Who: who, Message: f.Message})
	if extra := len(s.History) - MaxHistory; extra > 0 {
		s.History = s.History[extra:]
	}
}

// Share is a number in [0, 1) that is the host's own: what is done for all hosts is
// spread by it.
func Share(host string) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(host))
	return float64(h.Sum64()>>11) / (1 << 53)
}
