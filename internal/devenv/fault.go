package devenv

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/letsencrypt/pebble/v2/acme"
)

// A Fault sees each request before the CA does. It reports true if it has
// answered, and false to leave the request to the next fault and at last to the
// CA. It is called from many goroutines, may block, and must return when the
// request's context ends.
//
// The functions below make them, and put one around another:
//
//	ca.Inject(At(Times(3, RateLimited(time.Minute)), StepOrder))
//	ca.Inject(ForHost("shop.example", Share(30, FailValidation(Problem{Type: "connection"}))))
//	ca.Inject(At(Observe(func(*Request) { edge.Process.Kill() }), StepFinalize))
type Fault func(w http.ResponseWriter, r *Request) (answered bool)

// Observe calls f and leaves the requests alone: a test counts there, holds an
// order up, or ends a process.
func Observe(f func(*Request)) Fault {
	return func(_ http.ResponseWriter, r *Request) bool {
		f(r)
		return false
	}
}

// Delay holds requests up for d and then leaves them alone.
func Delay(d time.Duration) Fault {
	return Observe(func(r *Request) { sleep(r.Context(), d) })
}

// sleep reports false if the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// At limits f to the steps.
func At(f Fault, steps ...Step) Fault {
	return func(w http.ResponseWriter, r *Request) bool { return slices.Contains(steps, r.Step) && f(w, r) }
}

// ForHost limits f to requests about the name, which is in lower case.
func ForHost(host string, f Fault) Fault {
	return func(w http.ResponseWriter, r *Request) bool { return slices.Contains(r.Hosts, host) && f(w, r) }
}

// While limits f to the times when on returns true.
func While(on func() bool, f Fault) Fault {
	return func(w http.ResponseWriter, r *Request) bool { return on() && f(w, r) }
}

// Share limits f to a share of the requests, in percent, chosen at random.
func Share(percent int, f Fault) Fault {
	return While(func() bool { return rand.IntN(100) < percent }, f)
}

// Times limits f to the first n requests that it answers. A request that f is
// still looking at counts: so write At(Times(1, f), StepOrder) rather than
// Times(1, At(f, StepOrder)), which other requests at the same moment can get
// past.
func Times(n int, f Fault) Fault {
	var left atomic.Int64
	left.Store(int64(n))
	return func(w http.ResponseWriter, r *Request) bool {
		if left.Add(-1) >= 0 && f(w, r) {
			return true
		}
		left.Add(1)
		return false
	}
}

// Refuse answers with p.
func Refuse(p Problem) Fault {
	return func(w http.ResponseWriter, r *Request) bool {
		p.send(w, r)
		return true
	}
}

// RateLimited refuses with rateLimited and when to come back.
func RateLimited(retryAfter time.Duration) Fault {
	return Refuse(Problem{Type: "rateLimited", Status: http.StatusTooManyRequests, Detail: "too many requests", RetryAfter: retryAfter})
}

// BadNonce refuses every request that carries a nonce. See also
// [CAConfig.NonceReject].
func BadNonce() Fault {
	return func(w http.ResponseWriter, r *Request) bool {
		if r.nonce == "" {
			return false
		}
		Problem{Type: "badNonce", Detail: "refused on purpose"}.send(w, r)
		return true
	}
}

// RejectReplaces refuses a new order that says which certificate it replaces
// (RFC 9773 section 5), as with alreadyReplaced and status 409, or malformed.
func RejectReplaces(p Problem) Fault {
	return func(w http.ResponseWriter, r *Request) bool {
		return r.Step == StepOrder && r.Replaces != "" && Refuse(p)(w, r)
	}
}

// Broken answers as a gateway does whose CA is down: with status and a page of
// HTML, without a nonce.
func Broken(status int) Fault {
	return func(w http.ResponseWriter, _ *Request) bool {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = w.Write([]byte("<h1>" + http.StatusText(status) + "</h1>\n"))
		return true
	}
}

// Hang does not answer until the client or the CA gives up.
func Hang() Fault {
	return func(_ http.ResponseWriter, r *Request) bool {
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
}

// LoseReply has the CA do what it was asked, and then cuts the connection.
func LoseReply() Fault {
	return func(_ http.ResponseWriter, r *Request) bool {
		r.Forward(newReply())
		panic(http.ErrAbortHandler)
	}
}

// problemPrefix begins the type of each ACME problem (RFC 8555 section 6.7).
const problemPrefix = "urn:ietf:params:acme:error:"

// Problem is an error as ACME tells it (RFC 8555 section 6.7).
type Problem struct {
	Type       string // without its prefix: "rateLimited"
	Detail     string
	Status     int           // 0 means 400
	RetryAfter time.Duration // 0 sends no Retry-After
}

func (p Problem) details() *acme.ProblemDetails {
	status := p.Status
	if status == 0 {
		status = http.StatusBadRequest
	}
	return &acme.ProblemDetails{Type: problemPrefix + p.Type, Detail: p.Detail, HTTPStatus: status}
}

// send answers r, with a fresh nonce if r spent one.
func (p Problem) send(w http.ResponseWriter, r *Request) {
	if r.Method == http.MethodPost {
		w.Header().Set("Replay-Nonce", r.gate.newNonce())
	}
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", seconds(p.RetryAfter))
	}
	details := p.details()
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(details.HTTPStatus)
	writeJSON(w, details)
}

// seconds writes d as Retry-After has it, rounded up.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
