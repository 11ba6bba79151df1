package shingle

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"regexp"
	"slices"
	"strings"
	"time"
)

// TokenRole says what the owner of a token may do.
type TokenRole string

// The roles.
const (
	RoleAdmin    TokenRole = "admin"    // everything, tokens too
	RoleOperator TokenRole = "operator" // everything but tokens
	RoleRead     TokenRole = "read"     // look at everything but tokens
	RoleTenant   TokenRole = "tenant"   // the domains of one tenant, their certificates and events
)

// TokenRoles lists them.
var TokenRoles = []TokenRole{RoleAdmin, RoleOperator, RoleRead, RoleTenant}

// Token is an API token as it is stored: without its secret.
type Token struct {
	ID        string    // public part, by which it is found
	Hash      [32]byte  // SHA-256 of the whole token; the secret has 130 random bits, so a plain hash is enough
	Name      string    // for people; of all tokens in use one alone has it
	Role      TokenRole // what it may do
	Tenant    string    // whose domains, when Role is RoleTenant; empty otherwise
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	LastUsed  time.Time // within an hour; zero: never
}

const tokenPrefix = "shingle"

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// Validate returns an [ErrInvalid] that names the field when a token cannot be
// made as t says at now.
func (t *Token) Validate(now time.Time) error {
	invalid := func(field, message string) error {
		return &Error{Code: CodeInvalid, Field: field, Message: message}
	}
	switch {
	case !tokenName.MatchString(t.Name) || t.Name == tokenPrefix: // which is who does it when no token did
		return invalid("name", "a name has at most 64 letters, digits and ._@-, begins with a letter or digit, and is not shingle")
	case !slices.Contains(TokenRoles, t.Role):
		return invalid("role", "a role is admin, operator, read or tenant")
	case t.Role == RoleTenant && t.Tenant == "":
		return invalid("tenant", "a token with the role tenant needs the name of the tenant")
	case t.Role != RoleTenant && t.Tenant != "":
		return invalid("tenant", "only a token with the role tenant is limited to one")
	case t.Tenant != "" && !IsTenant(t.Tenant):
		return invalid("tenant", tenantRule)
	case !t.ExpiresAt.IsZero() && !t.ExpiresAt.After(now):
		return invalid("expires_at", "the time when it expires is over")
	}
	return nil
}

// NewToken makes a token of what t says, with an ID and a secret. The text,
// "shingle_ID_SECRET", is shown once to its owner and not kept.
func NewToken(t Token, now time.Time) (text string, made Token) {
	t.ID = strings.ToLower(rand.Text()[:10])
	text = tokenPrefix + "_" + t.ID + "_" + strings.ToLower(rand.Text())
	t.Hash, t.CreatedAt = sha256.Sum256([]byte(text)), now.UTC().Truncate(time.Microsecond)
	return text, t
}

// TokenID returns the ID inside a token's text, and false when the text does
// not have a token's shape.
func TokenID(text string) (string, bool) {
	prefix, rest, ok := strings.Cut(text, "_")
	if !ok || prefix != tokenPrefix || len(text) > 128 {
		return "", false
	}
	id, secret, ok := strings.Cut(rest, "_")
	return id, ok && secret != "" && IsTokenID(id)
}

// IsTokenID reports whether s has the shape of a token's ID, which is in keys.
func IsTokenID(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
}

// Matches reports whether text is this token, in constant time.
func (t *Token) Matches(text string) bool {
	sum := sha256.Sum256([]byte(text))
	return subtle.ConstantTimeCompare(sum[:], t.Hash[:]) == 1
}

// Expired reports whether the token is no longer good at now.
func (t *Token) Expired(now time.Time) bool { return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt) }
