package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/netip"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// Tokens keeps API tokens.
type Tokens interface {
	// CheckToken returns the token with that text, sent from an address;
	// [shingle.ErrUnauthorized] when there is none, [shingle.ErrLimited] after too
	// many that were wrong.
	CheckToken(ctx context.Context, text string, from netip.Addr) (shingle.Token, error)
	// CreateToken makes a token and returns its text too. It returns
	// [shingle.ErrExists] when a token in use has the name.
	CreateToken(ctx context.Context, t shingle.Token) (text string, made shingle.Token, err error)
	// Tokens returns the tokens whose ID sorts after `after`, at most limit (1 to
	// 1000) of them. next is the `after` of the next page, empty at the end.
	Tokens(ctx context.Context, after string, limit int) (list []shingle.Token, next string, err error)
	// Token returns one, or [shingle.ErrNotFound].
	Token(ctx context.Context, id string) (shingle.Token, error)
	// DeleteToken revokes a token, or returns [shingle.ErrNotFound].
	DeleteToken(ctx context.Context, id string) error
}

// authenticate checks the API token.
func (s *server) authenticate(w http.ResponseWriter, r *http.Request) (shingle.Token, error) {
	text := bearer(r)
	if _, ok := shingle.TokenID(text); !ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="shingle"`)
		how := "send the API token as Authorization: Bearer shingle_…"
		if r.Header.Get("X-Auth-Key") != "" || r.Header.Get("X-Auth-User-Service-Key") != "" {
			how += ": keys of Cloudflare's are not taken here"
		}
		return shingle.Token{}, shingle.Errorf(shingle.CodeUnauthorized, "%s", how)
	}
	from, _ := netip.ParseAddrPort(r.RemoteAddr) // invalid: a listener without addresses
	t, err := s.Tokens.CheckToken(r.Context(), text, from.Addr())
	switch {
	case errors.Is(err, shingle.ErrUnauthorized):
		w.Header().Set("WWW-Authenticate", `Bearer realm="shingle", error="invalid_token"`)
	case errors.Is(err, shingle.ErrLimited):
		w.Header().Set("Retry-After", "60")
	}
	return t, err
}

// callerKey is the key of the caller's token in the context of a request.
type callerKey struct{}

// callerOf returns the token that made the request.
func callerOf(ctx context.Context) shingle.Token {
	t, _ := ctx.Value(callerKey{}).(shingle.Token)
	return t
}

// caller returns its name.
func caller(ctx context.Context) string { return callerOf(ctx).Name }

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
