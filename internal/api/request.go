package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

const (
	maxBody = 64 << 10         // bytes of a request's body
	maxWait = 10 * time.Second // for the store, over a whole request
)

// ServeHTTP gives a request what all have in common: bounds, the fields of
// every answer, the token, a net under a panic, and a line in the log.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	unrouted, route := s.mux.Handler(r)
	wait := maxWait
	if route == streamOfEvents {
		wait = maxStream
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	r = r.WithContext(ctx)
	a := &answer{ResponseWriter: w}
	defer s.log(a, r.Method, route, s.Now())
	defer s.rescue(a, r)

	a.Header().Set("Cache-Control", "no-store")
	a.Header().Set("X-Content-Type-Options", "nosniff")
	if s.cross(a, r) {
		return
	}
	r, err := s.admit(a, r, route)
	if err != nil {
		s.refuse(a, r, err)
		return
	}
	if route == "" {
		s.refuse(a, r, notServed(a, r, unrouted))
		return
	}
	key, keyed, err := s.once.key(r)
	if err == nil && keyed && !s.open[route] {
		err = s.once.serve(a, r, key, s.mux)
	} else if err == nil {
		s.mux.ServeHTTP(a, r)
	}
	if err != nil {
		s.refuse(a, r, err)
	}
}

// refuse answers with an error, in the form that the client knows.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if s.ofCloudflare(r) {
		s.failCloudflare(w, err)
		return
	}
	s.fail(w, err)
}

// ofCloudflare reports whether a request is for the routes of Cloudflare's.
func (s *server) ofCloudflare(r *http.Request) bool {
	return s.CloudflareZone != "" && strings.HasPrefix(r.URL.Path, cloudflareBase)
}

// admit checks the token and takes the body in. Without a token only the open
// routes may be used, and only outside /v1 and /client/v4 may it be learned that there
// is none. The request that it returns knows its caller.
func (s *server) admit(w http.ResponseWriter, r *http.Request, route string) (*http.Request, error) {
	below := r.URL.Path == "/v1" || strings.HasPrefix(r.URL.Path, "/v1/") || s.ofCloudflare(r)
	if s.open[route] || (route == "" && !below) {
		return r, nil
	}
	t, err := s.authenticate(w, r)
	if err != nil {
		return r, err
	}
	if err := errors.Join(s.rates.take(w, &t, s.Now()), s.permit(&t, route)); err != nil {
		return r, err
	}
	r = r.WithContext(context.WithValue(r.Context(), callerKey{}, t))
	if err := readBody(w, r, maxBodyOf(route)); err != nil || route != createJobs {
		return r, err
	}
	return s.lines.turn(r)
}

// readBody replaces the body by its bytes, so that nothing behind it meets a
// body that is too large, too slow or cut off.
func readBody(w http.ResponseWriter, r *http.Request, most int64) error {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return newProblem(http.StatusRequestEntityTooLarge, shingle.CodeInvalid, fmt.Sprintf("the body may have at most %d bytes", most))
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return newProblem(http.StatusRequestTimeout, shingle.CodeInvalid, "the body took too long to arrive")
	}
	if err != nil {
		return newProblem(http.StatusBadRequest, shingle.CodeInvalid, "the body could not be read to its end")
	}
	r.Body = io.NopCloser(bytes.NewReader(data))
	return nil
}

var errNothingHere = shingle.Errorf(shingle.CodeNotFound, "there is nothing at this address; /openapi.json lists what there is")

// notServed returns the problem for a request that no route takes. The mux
// alone knows which methods the path has: its own answer says so.
func notServed(w http.ResponseWriter, r *http.Request, own http.Handler) error {
	probe := &discard{header: http.Header{}}
	own.ServeHTTP(probe, r)
	if probe.status != http.StatusMethodNotAllowed {
		return errNothingHere
	}
	allow := probe.header.Get("Allow")
	w.Header().Set("Allow", allow)
	return newProblem(probe.status, shingle.CodeInvalid, "this address takes "+allow)
}

// rescue answers for a handler that panicked.
func (s *server) rescue(a *answer, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	err, _ := p.(error)
	if a.broken || errors.Is(err, http.ErrAbortHandler) {
		panic(http.ErrAbortHandler) // nobody is left to answer
	}
	s.Logger.Error("api request panicked", "panic", p, "stack", string(debug.Stack()))
	if a.status != 0 {
		panic(http.ErrAbortHandler) // half an answer must not pass for a whole one
	}
	s.refuse(a, r, problemOf(errors.New("panic")))
}

// log writes the line of a request. It has the route, not the path or the
// query: the token of /ask is in there. A probe that is content asks every few seconds,
// and has it at the level of debugging.
func (s *server) log(a *answer, method, route string, start time.Time) {
	log := s.Logger.Info
	if route == "GET /health" && a.status == http.StatusOK {
		log = s.Logger.Debug
	}
	log("api request", "method", method, "route", route, "status", a.status, "duration", s.Now().Sub(start), "bytes", a.bytes)
}

// answer is a ResponseWriter that knows what was written.
type answer struct {
	http.ResponseWriter
	status int // 0: nothing yet
	bytes  int64
	broken bool // a write failed
}

// Unwrap lets a stream set its own deadlines, and flush; see
// [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader implements [http.ResponseWriter].
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	a.broken = a.broken || err != nil
	return n, err
}

// discard is a ResponseWriter that keeps the head alone.
type discard struct {
	header http.Header
	status int
}

// Header implements [http.ResponseWriter].
func (d *discard) Header() http.Header { return d.header }

// WriteHeader implements [http.ResponseWriter].
func (d *discard) WriteHeader(status int) { d.status = status }

// Write implements [http.ResponseWriter].
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // a client that has gone will not miss it
}
