package api

import (
	"errors"
	"net/http"

	"github.com/shingle-proxy/shingle"
)

// ask tells another server whether it may obtain a certificate for a name, as
// Caddy's on-demand TLS asks: 200 yes, 404 no, 400 for what is not a name.
func (s *server) ask(w http.ResponseWriter, r *http.Request) {
	status, text := s.answerAsk(r)
	writeText(w, status, text)
}

func (s *server) answerAsk(r *http.Request) (status int, text string) {
	q := r.URL.Query()
	if s.AskToken != "" && !sameSecret(q.Get("token"), s.AskToken) && !sameSecret(bearer(r), s.AskToken) {
		return http.StatusForbidden, "the token is missing or wrong"
	}
	host, err := shingle.NormalizeHost(q.Get("domain"))
	if err != nil {
		return http.StatusBadRequest, shingle.MessageOf(err)
	}
	d, err := s.Store.Domain(r.Context(), host)
	if wildcard := shingle.Covering(host); errors.Is(err, shingle.ErrNotFound) && wildcard != "" {
		d, err = s.Store.Domain(r.Context(), wildcard)
	}
	if err == nil && !d.Paused && s.Permission != nil {
		err = s.Permission.MayIssue(r.Context(), d.Host)
	}
	switch {
	case errors.Is(err, shingle.ErrNotFound), errors.Is(err, shingle.ErrForbidden), err == nil && d.Paused:
		return http.StatusNotFound, "not allowed"
	case err != nil:
		s.Logger.Error("ask failed", "host", host, "error", err)
		return http.StatusServiceUnavailable, "not known now"
	}
	return http.StatusOK, "allowed"
}
