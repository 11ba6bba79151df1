package certs

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/mholt/acmez/v3/acme"

	"github.com/shingle-proxy/shingle"
)

// failure is why an issuance came to nothing.
type failure struct {
	public     *shingle.Error // its message may be shown: the CA's own words where there are some
	problem    string         // the CA's problem type (RFC 8555 section 6.7); empty when it gave none
	validation bool           // the CA looked for the proof and did not accept it
	outage     bool           // the CA is out of reach, whatever the host
	ours       bool           // a part of our own is out of reach, such as the store
	limited    bool           // a limit of the CA's or of ours: not the host's fault
	scope      scope          // how far the limit reaches
	pace       bool           // the limit is one that we set ourselves, to spread what the CA exempts
	account    bool           // the CA refuses our account, whatever the host
	acts       string         // who must act, when none of these tells
	early      bool           // the CA was not yet told to look for the proof: an order that was placed is still good

	undelegated bool      // the customer has not let us answer DNS-01; no order was placed
	retryAt     time.Time // the CA wants no attempt before; may be zero
}

// Error implements error.
func (f *failure) Error() string { return f.public.Error() }

// Unwrap returns the error that may be shown.
func (f *failure) Unwrap() error { return f.public }

// validationError is the CA's verdict on a challenge.
type validationError struct{ err error }

// Error implements error.
func (e *validationError) Error() string { return "validation: " + e.err.Error() }

// Unwrap returns the CA's problem.
func (e *validationError) Unwrap() error { return e.err }

// newFailure judges the error of an order. The CA quotes the token in what it
// says of a failed validation; it goes neither into logs nor to users. late
// tells that our own time was up.
func newFailure(err error, last answer, token string, late bool) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	p, told := problemOf(err)
	_, validation := errors.AsType[*validationError](err)
	f := &failure{problem: p.Type, validation: validation && told}
	cause := errors.New(redact(err.Error(), token))
	own, isOwn := errors.AsType[*shingle.Error](err)
	limited := p.Type == acme.ProblemTypeRateLimited || !told && last.status == http.StatusTooManyRequests
	if limited || last.status == http.StatusServiceUnavailable {
		f.retryAt = last.retryAt
	}
	f.limited = limited
	code, message := shingle.CodeUnavailable, ""
	switch {
	case isOwn && !told:
		code, message = own.Code, own.Message
		f.ours = own.Code == shingle.CodeUnavailable
	case slices.Contains(accountProblems, p.Type):
		f.account = true
		message = "the certificate authority refuses our account"
	case limited:
		code, message = shingle.CodeLimited, "the certificate authority limits us"
	case late:
		message = "the certificate authority took too long"
	case isOutage(p, told, last):
		message = "the certificate authority is out of order"
		f.outage = true
	case f.validation:
		message = "the certificate authority could not validate the domain"
	default:
		message = "the certificate authority refused"
	}
	if detail := plain(redact(p.Detail, token)); detail != "" {
		message += ": " + detail
	}
	f.public = &shingle.Error{Code: code, Message: message, Err: cause}
	return f
}

// permanent reports whether another attempt is in vain until somebody has acted.
func (f *failure) permanent() bool {
	return slices.Contains([]string{
		acme.ProblemTypeDNS, acme.ProblemTypeCAA, acme.ProblemTypeRejectedIdentifier, acme.ProblemTypeUnsupportedIdentifier,
	}, f.problem)
}

// otherCAMayHelp reports whether the failure is this CA's affair.
func (f *failure) otherCAMayHelp() bool {
	return f.outage || f.limited && !f.pace && f.scope != scopeFailures || f.account || slices.Contains([]string{
		acme.ProblemTypeCAA, acme.ProblemTypeRejectedIdentifier, acme.ProblemTypeUnsupportedIdentifier,
	}, f.problem)
}

// who must act.
func (f *failure) who() string {
	switch {
	case f.acts != "":
		return f.acts
	case f.limited && f.scope == scopePaused:
		return shingle.WhoOperator
	case f.limited && f.scope == scopeFailures:
		return shingle.WhoCustomer
	case f.limited:
		return shingle.WhoNobody
	case f.account, f.public.Code == shingle.CodeForbidden:
		return shingle.WhoOperator
	case f.outage:
		return shingle.WhoCA
	case f.validation, f.permanent():
		return shingle.WhoCustomer
	}
	return shingle.WhoNobody
}

// accountProblems are what the operator's own settings at the CA cause.
var accountProblems = []string{
	acme.ProblemTypeAccountDoesNotExist, acme.ProblemTypeExternalAccountRequired, acme.ProblemTypeUserActionRequired, acme.ProblemTypeInvalidContact,
}

func isOutage(p acme.Problem, told bool, last answer) bool {
	if told {
		return p.Type == acme.ProblemTypeServerInternal || p.Type == acme.ProblemTypeBadNonce
	}
	return last.status == 0 || last.status >= 500
}

// mayHelp reports whether a failed validation says nothing about that other type
// of challenge: a CAA record fails all, and what is wrong with the host's own DNS
// all but DNS-01.
func (f *failure) mayHelp(challenge string) bool {
	if f.problem == acme.ProblemTypeDNS && challenge != acme.ChallengeTypeDNS01 {
		return false
	}
	return f.validation && !f.outage && !slices.Contains([]string{
		acme.ProblemTypeCAA, acme.ProblemTypeRateLimited, acme.ProblemTypeRejectedIdentifier, acme.ProblemTypeUnsupportedIdentifier,
	}, f.problem)
}

// problemOf returns the CA's problem document in err. The acme package wraps it
// by value in one place and by pointer in another. Of a compound problem it is
// the first part, which names the cause.
func problemOf(err error) (acme.Problem, bool) {
	p, ok := errors.AsType[acme.Problem](err)
	if !ok {
		pp, isPointer := errors.AsType[*acme.Problem](err)
		if !isPointer || pp == nil {
			return acme.Problem{}, false
		}
		p = *pp
	}
	if len(p.Subproblems) > 0 && p.Subproblems[0].Detail != "" {
		p = p.Subproblems[0].Problem
	}
	return p, p.Type != ""
}

// limitedUntil is a refusal of our own: no order was placed.
func limitedUntil(until time.Time, why string) *failure {
	return &failure{limited: true, retryAt: until, public: shingle.Errorf(shingle.CodeLimited, "%s until %s", why, until.UTC().Format(time.RFC3339))}
}

// outageUntil is a CA that is left alone for a while.
func outageUntil(until time.Time) *failure {
	return &failure{outage: true, retryAt: until, public: shingle.Errorf(shingle.CodeUnavailable, "the certificate authority is out of order")}
}

func redact(s, token string) string {
	if token == "" {
		return s
	}
	return strings.ReplaceAll(s, token, "[token]")
}

const maxDetail = 1000 // bytes: a link by which a CA lets the operator end a pause has 500

// plain makes one printable line of bounded length of what the CA says, in
// which it may quote whatever the customer's server sent.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxDetail {
		s = strings.ToValidUTF8(s[:maxDetail], "") + "..."
	}
	return strings.TrimSuffix(strings.TrimSpace(s), ".")
}
