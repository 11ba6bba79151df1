package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// authenticate checks the API token. Each request asks the store, so that a
// revoked token is refused at once. An unknown ID costs the same comparison as
// a known one, so that the time taken does not tell them apart.
func (s *server) authenticate(w http.ResponseWriter, r *http.Request) (shingle.Token, error) {
	text := bearer(r)
	id, ok := shingle.TokenID(text)
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="shingle"`)
		return shingle.Token{}, shingle.Errorf(shingle.CodeUnauthorized, "send the API token as Authorization: Bearer shingle_…")
	}
	t, err := s.Store.Token(r.Context(), id)
	if err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return t, &shingle.Error{Code: shingle.CodeUnavailable, Message: "the API token cannot be checked now, try again later", Err: err}
	}
	if !t.Matches(text) || err != nil {
		w.Header().Set("WWW-Authenticate", `Bearer realm="shingle", error="invalid_token"`)
		return t, shingle.Errorf(shingle.CodeUnauthorized, "this API token is not known here")
	}
	return t, nil
}

// callerKey is the key of the caller's token ID in the context of a request.
type callerKey struct{}

// caller returns the ID of the token that made the request.
func caller(ctx context.Context) string {
	id, _ := ctx.Value(callerKey{}).(string)
	return id
}

// bearer returns the bearer token (RFC 6750 section 2.1), or "".
func bearer(r *http.Request) string {
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(text)
}

// sameSecret compares in constant time, whatever the lengths.
func sameSecret(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
