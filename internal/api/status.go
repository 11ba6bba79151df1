package api

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Statuses has the status of each domain.
type Statuses interface {
	// Status returns the status of a host, or [shingle.ErrNotFound] before there
	// is one.
	Status(ctx context.Context, host string) (shingle.Status, error)
}

// Status is where a domain is in its life.
type Status struct {
	State       string    `json:"state" enum:"pending,verifying,issuing,active,drifting,paused,blocked,removed"`
	Reason      string    `json:"reason" example:"points_elsewhere" doc:"For programs; docs/domains.md lists them"`
	Message     string    `json:"message" doc:"For people, the customer too"`
	Who         string    `json:"who" enum:"customer,operator,ca,nobody" doc:"Who must act"`
	Since       time.Time `json:"since" doc:"The state is what it is"`
	Changed     time.Time `json:"changed" doc:"State, reason or who must act, last"`
	Checked     time.Time `json:"checked,omitzero" doc:"Last; absent: never"`
	Next        time.Time `json:"next,omitzero" doc:"When it is checked again; absent: never"`
	Proven      time.Time `json:"proven,omitzero" doc:"When the tenant's own record, or text, was last seen; absent: never"`
	ProofNeeded bool      `json:"proof_needed,omitempty" doc:"Nothing has shown yet that the domain is this tenant's: no certificate is obtained"`
	History     []Step    `json:"history" nullable:"false" doc:"Oldest first, the last 32"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// Step is a change of a status.
type Step struct {
	At      time.Time `json:"at"`
	State   string    `json:"state"`
	Reason  string    `json:"reason"`
	Who     string    `json:"who"`
	Message string    `json:"message"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// status returns the status of a host, nil when there is none. That of the tenant before,
// which is there until the checks hear of the next, is none for a tenant.
func (s *server) status(ctx context.Context, host string) (*Status, error) {
	if s.Statuses == nil {
		return nil, nil
	}
	st, err := s.Statuses.Status(ctx, host)
	if errors.Is(err, shingle.ErrNotFound) || errors.Is(err, shingle.ErrUnreadable) { // which the log tells, and nobody decides here
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return showStatus(ctx, &st), nil
}

// showStatus returns st as its caller sees it; nil when it is another tenant's.
func showStatus(ctx context.Context, st *shingle.Status) *Status {
	history := st.History
	if own := tenantOf(ctx); own != "" {
		if own != st.Tenant {
			return nil
		}
		history = sinceAdded(history)
	}
	out := &Status{
		State: string(st.State), Reason: string(st.Reason), Message: st.Message, Who: st.Who,
		Since: st.Since, Changed: st.Changed, Checked: st.Checked, Next: st.Next, Proven: st.Proven, ProofNeeded: st.ProofNeeded, History: make([]Step, len(history)),
	}
	for i, step := range history {
		out.History[i] = Step{At: step.At, State: string(step.State), Reason: string(step.Reason), Who: step.Who, Message: step.Message}
	}
	return out
}

// sinceAdded leaves out what was before the domain was added, or given to the tenant who
// has it.
func sinceAdded(list []shingle.Step) []shingle.Step {
	for i, step := range slices.Backward(list) {
		if step.Reason == shingle.ReasonNew {
			return list[i:]
		}
	}
	return list
}
