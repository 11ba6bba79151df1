// Package storecheck tries a store as the processes use it: permitted, fast,
// and true to the contracts of [shingle.DomainStore] and [shingle.Blobs].
package storecheck

import (
	"errors"
	"slices"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Report is what was found out about one place.
type Report struct {
	Place    string // such as "dynamodb:eu-central-1/shingle"
	Keeps    string // what is there
	Findings []shingle.StoreFinding
	// Reads and Writes are how long some calls took, in order; none: they failed.
	Reads, Writes []time.Duration

	// Explain puts an error into words for the operator, and says what to do about
	// it unless the words do.
	Explain func(error) (message, do string)
}

// Failed reports whether something does not work.
func (r *Report) Failed() bool {
	return slices.ContainsFunc(r.Findings, func(f shingle.StoreFinding) bool { return f.Severity == shingle.SeverityFailed })
}

// Add adds findings. What is the matter is said once, however much it breaks.
func (r *Report) Add(list ...shingle.StoreFinding) {
	for _, f := range list {
		known := slices.ContainsFunc(r.Findings, func(is shingle.StoreFinding) bool {
			return is.Severity == shingle.SeverityFailed && is.Message == f.Message
		})
		if !known {
			r.Findings = append(r.Findings, f)
		}
	}
}

// Fail notes an error, and reports whether the store can be asked for more: it was
// an answer.
func (r *Report) Fail(check string, err error) (answers bool) {
	message, do := r.Explain(err)
	r.Add(shingle.StoreFinding{Check: check, Severity: shingle.SeverityFailed, Message: message, Do: do})
	return errors.Is(err, shingle.ErrSetup) || errors.Is(err, shingle.ErrForbidden)
}

func (r *Report) ok(check, message string) {
	r.Add(shingle.StoreFinding{Check: check, Severity: shingle.SeverityOK, Message: message})
}
