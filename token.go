package shingle

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"strings"
	"time"
)

// Token is an API token as it is stored: without its secret.
type Token struct {
	ID        string   // public part, by which it is found
	Hash      [32]byte // SHA-256 of the whole token; the secret has 130 random bits, so a plain hash is enough
	Label     string   // for people
	CreatedAt time.Time
}

const tokenPrefix = "shingle"

// NewToken makes a token. The text, "shingle_ID_SECRET", is shown once to its
// owner and not kept.
func NewToken(label string, now time.Time) (text string, t Token) {
	id := strings.ToLower(rand.Text()[:10])
	text = tokenPrefix + "_" + id + "_" + strings.ToLower(rand.Text())
	return text, Token{ID: id, Hash: sha256.Sum256([]byte(text)), Label: label, CreatedAt: now.UTC().Truncate(time.Microsecond)}
}

// TokenID returns the ID inside a token's text, and false when the text does
// not have a token's shape.
func TokenID(text string) (string, bool) {
	prefix, rest, ok := strings.Cut(text, "_")
	if !ok || prefix != tokenPrefix || len(text) > 128 {
		return "", false
	}
	id, secret, ok := strings.Cut(rest, "_")
	return id, ok && id != "" && secret != ""
}

// Matches reports whether text is this token, in constant time.
func (t Token) Matches(text string) bool {
	sum := sha256.Sum256([]byte(text))
	return subtle.ConstantTimeCompare(sum[:], t.Hash[:]) == 1
}
