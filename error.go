package shingle

import (
	"errors"
	"fmt"
)

// Code classifies an [Error]. It is stable: programs may switch on it, and the
// API sends it as the last part of the problem type.
type Code string

// The codes, each with the answer the API gives it.
const (
	CodeInvalid      Code = "invalid"      // 422: the input is at fault, and Message says how to mend it
	CodeUnauthorized Code = "unauthorized" // 401: no token, or an unknown one
	CodeForbidden    Code = "forbidden"    // 403: known, but not allowed to do this
	CodeNotFound     Code = "not_found"    // 404
	CodeExists       Code = "exists"       // 409: a create met an existing record
	CodeConflict     Code = "conflict"     // 412: the record changed since it was read
	CodeLimited      Code = "limited"      // 429: a budget is used up; try again later
	CodeThrottled    Code = "throttled"    // 503: the store takes no more requests now; slow down
	CodeUnavailable  Code = "unavailable"  // 503: a part we depend on is out of reach; try again later
	CodeUnreadable   Code = "unreadable"   // 500: what is stored is damaged, or of a newer version
	CodeInternal     Code = "internal"     // 500: a fault of ours
)

// Error is an error with a code that programs may use and a message that is
// safe to show to whoever made the request. What must not be shown stays in Err.
type Error struct {
	Code    Code
	Field   string // the input field at fault, such as "host"; empty when none is
	Message string // one sentence without a trailing full stop, for people; says what to do where that helps
	Err     error  // the cause, for logs only
}

// Sentinels for errors.Is: any *Error with the same code matches.
var (
	ErrInvalid      = &Error{Code: CodeInvalid, Message: "invalid input"}
	ErrUnauthorized = &Error{Code: CodeUnauthorized, Message: "not signed in"}
	ErrForbidden    = &Error{Code: CodeForbidden, Message: "not allowed"}
	ErrNotFound     = &Error{Code: CodeNotFound, Message: "not found"}
	ErrExists       = &Error{Code: CodeExists, Message: "exists already"}
	ErrConflict     = &Error{Code: CodeConflict, Message: "changed in the meantime"}
	ErrLimited      = &Error{Code: CodeLimited, Message: "limit reached, try again later"}
	ErrThrottled    = &Error{Code: CodeThrottled, Message: "too many requests to the store, try again in a moment"}
	ErrUnreadable   = &Error{Code: CodeUnreadable, Message: "what is stored cannot be read: it is damaged, or was written by a newer version; the log has its key"}
	ErrUnavailable  = &Error{Code: CodeUnavailable, Message: "not available now, try again later"}
)

// ErrSetup is in the chain of an error of a store that stays until somebody changes
// how it is set up, the credentials or the permissions.
var ErrSetup = errors.New("the store cannot be used as it is set up")

// Errorf returns an [Error] with a formatted message. The message is shown to
// users, so no argument may carry a secret or an internal detail.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Error returns the message, and the cause behind it where there is one.
func (e *Error) Error() string {
	s := e.Message
	if e.Field != "" {
		s = e.Field + ": " + s
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an [Error] with the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// CodeOf returns the code of the first [Error] in err's chain, [CodeInternal]
// when there is none, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}

// MessageOf returns the message of err that is safe to show: that of the first
// [Error] in its chain, or a general sentence that gives nothing away.
func MessageOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Message
	}
	return "internal error; the log has the details"
}

// Faults returns the [Error]s in err's tree, those of joined errors each.
func Faults(err error) []*Error {
	switch e := err.(type) { //nolint:errorlint // this is the walk
	case *Error:
		return []*Error{e}
	case interface{ Unwrap() []error }:
		var list []*Error
		for _, one := range e.Unwrap() {
			list = append(list, Faults(one)...)
		}
		return list
	case interface{ Unwrap() error }:
		return Faults(e.Unwrap())
	}
	return nil
}
