package api

import (
	"net/http"
	"slices"
)

// cross lets pages of the origins in Config.PageOrigins call the API from a browser
// (the Fetch standard's CORS protocol). A token is sent by the page itself, so there
// are no credentials in the browser's sense. It reports whether the request was a
// question of the browser's, and is answered.
func (s *server) cross(w http.ResponseWriter, r *http.Request) (answered bool) {
	if len(s.PageOrigins) == 0 {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if !slices.Contains(s.PageOrigins, origin) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "ETag, Location, RateLimit, RateLimit-Policy, Retry-After, Idempotency-Replayed")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match, Idempotency-Key, Last-Event-ID")
	h.Set("Access-Control-Max-Age", "3600")
	w.WriteHeader(http.StatusNoContent)
	return true
}
