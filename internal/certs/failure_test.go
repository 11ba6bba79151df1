package certs

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mholt/acmez/v3/acme"

	"github.com/shingle-proxy/shingle"
)

func TestFailure_Kinds(t *testing.T) {
	now := time.Now()
	problem := func(kind, detail string) acme.Problem {
		return acme.Problem{Type: acme.ProblemTypeNamespace + kind, Detail: detail}
	}
	for name, tc := range map[string]struct {
		err     error
		last    answer
		late    bool
		code    shingle.Code
		message string
		outage  bool
		other   bool // challenge may help
		retryAt time.Time
	}{
		"rate limit": {
			err: problem("rateLimited", "slow down."), last: answer{429, now}, code: shingle.CodeLimited,
			message: "the certificate authority limits us: slow down", retryAt: now,
		},
		"429 without a problem document": {
			err: errors.New("HTTP 429: <html>"), last: answer{429, now}, code: shingle.CodeLimited,
			message: "the certificate authority limits us", retryAt: now,
		},
		"unreachable": {
			err: errors.New("connection refused"), code: shingle.CodeUnavailable,
			message: "the certificate authority is out of order", outage: true,
		},
		"maintenance": {
			err: errors.New("HTTP 503"), last: answer{503, now}, code: shingle.CodeUnavailable,
			message: "the certificate authority is out of order", outage: true, retryAt: now,
		},
		"too slow": {
			err: errors.New("deadline exceeded"), late: true, code: shingle.CodeUnavailable,
			message: "the certificate authority took too long",
		},
		"port closed": {
			err: &validationError{problem("connection", "refused")}, last: answer{status: 200}, code: shingle.CodeUnavailable,
			message: "the certificate authority could not validate the domain: refused", other: true,
		},
		"CAA": {
			err: &validationError{problem("caa", "CAA forbids")}, last: answer{status: 200}, code: shingle.CodeUnavailable,
			message: "the certificate authority could not validate the domain: CAA forbids",
		},
		"order error by pointer": {
			err:  fmt.Errorf("invalid: %w", &acme.Problem{Type: acme.ProblemTypeCAA, Detail: "CAA forbids"}),
			last: answer{status: 200}, code: shingle.CodeUnavailable, message: "the certificate authority refused: CAA forbids",
		},
		"order error without a problem": {
			err:  fmt.Errorf("invalid: %w", (*acme.Problem)(nil)),
			last: answer{status: 200}, code: shingle.CodeUnavailable, message: "the certificate authority refused",
		},
		"compound": {
			err: acme.Problem{Type: acme.ProblemTypeCompound, Detail: "several", Subproblems: []acme.Subproblem{
				{Problem: problem("dns", "NXDOMAIN")}, {Problem: problem("caa", "x")},
			}},
			last: answer{status: 400}, code: shingle.CodeUnavailable, message: "the certificate authority refused: NXDOMAIN",
		},
		"store down": {
			err: fmt.Errorf("load account: %w", storeError(errors.New("dial"))), code: shingle.CodeUnavailable,
			message: "the certificate store does not answer",
		},
	} {
		f := newFailure(tc.err, tc.last, "", tc.late)
		if f.public.Code != tc.code || f.public.Message != tc.message || f.outage != tc.outage ||
			f.mayHelp(acme.ChallengeTypeHTTP01) != tc.other || !f.retryAt.Equal(tc.retryAt) {
			t.Errorf("%s: %+v, %q", name, f, f.public.Message)
		}
		if shingle.CodeOf(fmt.Errorf("wrapped: %w", f)) != tc.code {
			t.Errorf("%s: the code is lost in the chain", name)
		}
	}
}

func TestFailure_TellsNoToken(t *testing.T) {
	const token = "wG4YfGbuSJpqvnLVOhTl"
	f := newFailure(&validationError{acme.Problem{
		Type: acme.ProblemTypeUnauthorized, Detail: "expected " + token + ".abc, got <b>\x00" + strings.Repeat("é", maxDetail),
	}}, answer{}, token, false)
	for _, s := range []string{f.Error(), shingle.MessageOf(f)} {
		if strings.Contains(s, token) {
			t.Errorf("the token is in %q", s)
		}
	}
	if s := shingle.MessageOf(f); len(s) > maxDetail+100 || strings.Contains(s, "\x00") || !utf8.ValidString(s) {
		t.Errorf("message %q", s)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for field, want := range map[string]time.Time{
		"": {}, "soon": {}, "-1": {}, "120": now.Add(2 * time.Minute),
		"Thu, 01 Jan 2026 01:00:00 GMT": now.Add(time.Hour),
		"99999999999":                   now.Add(maxRetryAfter),
		"Thu, 01 Jan 2099 01:00:00 GMT": now.Add(maxRetryAfter),
	} {
		if got := retryAfter(field, now); !got.Equal(want) {
			t.Errorf("%q: %v, want %v", field, got, want)
		}
	}
}
