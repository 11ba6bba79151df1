package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"net/http"

	"github.com/shingle-proxy/shingle"
)

// ask tells another server whether it may obtain a certificate for a name, as
// Caddy's on-demand TLS asks: 200 yes, 404 no, 400 for what is not a name.
func (s *server) ask(w http.ResponseWriter, r *http.Request) {
	status, text := s.answerAsk(r)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}

func (s *server) answerAsk(r *http.Request) (status int, text string) {
	q := r.URL.Query()
	if s.AskToken != "" && !sameSecret(q.Get("token"), s.AskToken) {
		return http.StatusForbidden, "a token is needed"
	}
	host, err := shingle.NormalizeHost(q.Get("domain"))
	if err != nil {
		return http.StatusBadRequest, shingle.MessageOf(err)
	}
	d, err := s.Store.Domain(r.Context(), host)
	switch {
	case errors.Is(err, shingle.ErrNotFound), err == nil && d.Paused:
		return http.StatusNotFound, "not allowed"
	case err != nil:
		s.Logger.Error("ask failed", "host", host, "error", err)
		return http.StatusServiceUnavailable, "not known now"
	}
	return http.StatusOK, "allowed"
}

// sameSecret compares in constant time, whatever the lengths.
func sameSecret(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
