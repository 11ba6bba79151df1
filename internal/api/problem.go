package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"
	"github.com/shingle-proxy/shingle"
)

// Problem is the body of every error answer (RFC 9457). Programs switch on
// Code.
type Problem struct {
	Type   string         `json:"type" format:"uri" example:"urn:shingle:problem:not_found" doc:"urn:shingle:problem: and the code, or about:blank where the status says it all"`
	Title  string         `json:"title" example:"Not Found"`
	Status int            `json:"status" example:"404"`
	Detail string         `json:"detail" example:"blog.customer.com is not set up here" doc:"What is wrong and, where that helps, what to do; for people"`
	Code   shingle.Code   `json:"code" enum:"invalid,unauthorized,forbidden,not_found,exists,conflict,limited,throttled,unavailable,unreadable,internal" doc:"What kind of error it is; for programs"`
	Errors []InvalidField `json:"errors,omitempty" nullable:"false" doc:"The parts of the request at fault, at most ten"`

	_     struct{} `additionalProperties:"true"` // RFC 9457 section 3.2
	cause error    // for the log
}

// InvalidField is a part of a request that cannot be accepted.
type InvalidField struct {
	Location string `json:"location" example:"body.host" doc:"body, path, query or header, and the name in there"`
	Message  string `json:"message" example:"an IP address cannot be a custom domain"`
}

const (
	problemPrefix = "urn:shingle:problem:" // and the code
	problemType   = "application/problem+json"
	maxErrors     = 10
	maxLocation   = 64
)

// statuses is the one map from codes to HTTP.
var statuses = map[shingle.Code]int{
	shingle.CodeInvalid:      http.StatusUnprocessableEntity,
	shingle.CodeUnauthorized: http.StatusUnauthorized,
	shingle.CodeForbidden:    http.StatusForbidden,
	shingle.CodeNotFound:     http.StatusNotFound,
	shingle.CodeExists:       http.StatusConflict,
	shingle.CodeConflict:     http.StatusPreconditionFailed,
	shingle.CodeLimited:      http.StatusTooManyRequests,
	shingle.CodeThrottled:    http.StatusServiceUnavailable,
	shingle.CodeUnavailable:  http.StatusServiceUnavailable,
	shingle.CodeUnreadable:   http.StatusInternalServerError,
	shingle.CodeInternal:     http.StatusInternalServerError,
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// Unwrap returns the cause, which is not sent.
func (p *Problem) Unwrap() error { return p.cause }

// GetStatus implements [huma.StatusError].
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements [huma.ContentTypeFilter].
func (p *Problem) ContentType(string) string { return problemType }

// newProblem returns a problem. Where the status is not that of the code,
// it is one of HTTP's own making, and the type is RFC 9457's for those.
func newProblem(status int, code shingle.Code, detail string) *Problem {
	kind := "about:blank"
	if statuses[code] == status {
		kind = problemPrefix + string(code)
	}
	return &Problem{Type: kind, Title: http.StatusText(status), Status: status, Detail: detail, Code: code}
}

// at is the problem of an input that is not in the body but at location.
func at(location string, err error) error {
	p := problemOf(err)
	p.Errors = []InvalidField{{Location: location, Message: shingle.MessageOf(err)}}
	return p
}

// problemOf turns an error into what may be shown of it.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		err = &shingle.Error{Code: shingle.CodeUnavailable, Message: "the store did not answer in time, try again later", Err: err}
	}
	code := shingle.CodeOf(err)
	if statuses[code] == 0 {
		code = shingle.CodeInternal
	}
	p := newProblem(statuses[code], code, shingle.MessageOf(err))
	p.cause = err
	p.faults(shingle.Faults(err))
	return p
}

// faults adds what is wrong with which fields.
func (p *Problem) faults(list []*shingle.Error) {
	var details []string
	for _, e := range list[:min(len(list), maxErrors)] {
		if e.Field == "" {
			return
		}
		p.Errors = append(p.Errors, InvalidField{Location: "body." + e.Field, Message: e.Message})
		details = append(details, e.Field+": "+e.Message)
	}
	if details != nil {
		p.Detail = strings.Join(details, "; ")
	}
}

// report returns the problem of err, and logs what is a fault of ours.
func (s *server) report(err error) *Problem {
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		s.Logger.Error("api request failed", "code", string(p.Code), "error", err)
	}
	return p
}

// fail answers with the problem of err.
func (s *server) fail(w http.ResponseWriter, err error) { writeProblem(w, s.report(err)) }

func writeProblem(w http.ResponseWriter, p *Problem) {
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	writeJSON(w, p)
}

func writeJSON(w http.ResponseWriter, v any) {
	_ = json.NewEncoder(w).Encode(v) // a client that has gone will not miss it
}

// translate is a [huma.Transformer]: what huma finds wrong with a request
// becomes a [Problem], like all other errors.
func translate(_ huma.Context, _ string, v any) (any, error) {
	e, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	switch {
	case e.Status >= http.StatusInternalServerError:
		return newProblem(e.Status, shingle.CodeInternal, http.StatusText(e.Status)), nil
	case e.Status == http.StatusUnsupportedMediaType:
		return newProblem(e.Status, shingle.CodeInvalid, "send JSON, with Content-Type: application/json"), nil
	case len(e.Errors) == 0:
		return newProblem(e.Status, shingle.CodeInvalid, e.Detail), nil
	}
	p := newProblem(e.Status, shingle.CodeInvalid, "")
	var details []string
	for _, d := range e.Errors[:min(len(e.Errors), maxErrors)] {
		message := d.Message
		if message == validation.MsgUnexpectedProperty {
			message = "there is no such member"
		}
		location := knownLocation(d.Location)
		p.Errors = append(p.Errors, InvalidField{Location: location, Message: message})
		details = append(details, fieldOf(location)+": "+message)
	}
	p.Detail = strings.Join(details, "; ")
	return p, nil
}

// knownLocation returns the location, without a name that cannot be one of ours: it
// could be a secret that was sent in the wrong place.
func knownLocation(location string) string {
	if len(location) <= maxLocation && !strings.ContainsFunc(location, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return location
	}
	where, _, _ := strings.Cut(location, ".")
	return where
}

// fieldOf returns the name in a location: "host" for "body.host".
func fieldOf(location string) string {
	if _, name, ok := strings.Cut(location, "."); ok {
		return name
	}
	return location
}
