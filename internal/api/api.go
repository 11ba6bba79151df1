// Package api is the JSON API of the control plane, the ask endpoint for a Caddy
// fleet, and the Go client of the API.
package api

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/shingle-proxy/shingle"
)

const (
	maxBody       = 64 << 10
	problemPrefix = "urn:shingle:problem:" // and the code
)

// Config is what the API is made of. Store is required.
type Config struct {
	Store    shingle.DomainStore
	AskToken string // what /ask demands as ?token=; empty: nothing
	Version  string // of the software, for the OpenAPI document
	Logger   *slog.Logger
	Now      func() time.Time
}

type server struct {
	Config
}

// New returns the handler of the whole API.
func New(cfg Config) (http.Handler, error) {
	if cfg.Store == nil {
		return nil, errors.New("api: a store is needed")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &server{cfg}
	mux := http.NewServeMux()
	h := huma.DefaultConfig("Shingle", cfg.Version)
	h.DocsPath = "" // its page loads scripts from another host
	h.CreateHooks = nil
	h.Info.Description = "Custom domains with HTTPS for the customers of a product."
	h.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
	h.Security = []map[string][]string{{"token": {}}}
	s.routes(humago.New(mux, h))
	mux.HandleFunc("GET /ask", s.ask)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		s.problem(w, shingle.Errorf(shingle.CodeNotFound, "there is nothing at this address"))
	})
	return s.guard(mux), nil
}

// guard is what every request passes: a bound on its body, the fields that
// every answer has, the token, and a net under a panic.
func (s *server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				s.Logger.Error("request panicked", "path", r.URL.Path, "panic", p)
				s.problem(w, errors.New("panic"))
			}
		}()
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if r.URL.Path == "/v1" || strings.HasPrefix(r.URL.Path, "/v1/") {
			if err := s.authenticate(r); err != nil {
				h.Set("WWW-Authenticate", `Bearer realm="shingle"`)
				s.problem(w, err)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// authenticate checks the bearer token. An unknown ID costs the same
// comparison as a known one.
func (s *server) authenticate(r *http.Request) error {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	id, shaped := shingle.TokenID(text)
	if !ok || !shaped {
		return shingle.Errorf(shingle.CodeUnauthorized, "send the API token as Authorization: Bearer shingle_…")
	}
	t, err := s.Store.Token(r.Context(), id)
	if err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return &shingle.Error{Code: shingle.CodeUnavailable, Message: "the token cannot be checked now, try again later", Err: err}
	}
	if !t.Matches(text) || err != nil {
		return shingle.Errorf(shingle.CodeUnauthorized, "this API token is not known here")
	}
	return nil
}

// statuses is the one map from codes to HTTP.
var statuses = map[shingle.Code]int{
	shingle.CodeInvalid:      http.StatusUnprocessableEntity,
	shingle.CodeUnauthorized: http.StatusUnauthorized,
	shingle.CodeForbidden:    http.StatusForbidden,
	shingle.CodeNotFound:     http.StatusNotFound,
	shingle.CodeExists:       http.StatusConflict,
	shingle.CodeConflict:     http.StatusPreconditionFailed,
	shingle.CodeLimited:      http.StatusTooManyRequests,
	shingle.CodeUnavailable:  http.StatusServiceUnavailable,
	shingle.CodeInternal:     http.StatusInternalServerError,
}

// toProblem turns an error into a problem document (RFC 9457). What is not
// meant for the user goes to the log alone.
func (s *server) toProblem(err error) *huma.ErrorModel {
	code := shingle.CodeOf(err)
	p := &huma.ErrorModel{
		Type: problemPrefix + string(code), Status: statuses[code],
		Title: http.StatusText(statuses[code]), Detail: shingle.MessageOf(err),
	}
	if e, ok := errors.AsType[*shingle.Error](err); ok && e.Field != "" {
		p.Errors = []*huma.ErrorDetail{{Location: "body." + e.Field, Message: e.Message}}
	}
	if p.Status >= 500 {
		s.Logger.Error("request failed", "code", string(code), "error", err)
	}
	return p
}

func (s *server) problem(w http.ResponseWriter, err error) {
	p := s.toProblem(err)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // a client that has gone will not miss it
}
