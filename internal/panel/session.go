package panel

import (
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// SessionLife is after how long one signs in again; a token that is revoked ends a
// session at once.
const SessionLife = 12 * time.Hour

const (
	cookieName = "shingle-panel"
	sessionUse = "shingle panel session 1"
)

// sessions keeps no list of them: a session is a cookie that holds the API token,
// sealed, so that any process of a fleet can open it and a stolen disk of a visitor's
// gives no token away.
type sessions struct {
	aead cipher.AEAD
	now  func() time.Time
}

// session is what a cookie holds.
type session struct {
	Token     string    `json:"token"`
	Elsewhere bool      `json:"elsewhere,omitempty"` // the token was made for the session, by a [SignIn]
	Ends      time.Time `json:"ends"`
}

func newSessions(key [32]byte, now func() time.Time) (sessions, error) {
	aead, err := shingle.NewAEAD(key[:])
	return sessions{aead: aead, now: now}, err
}

// begin sets the cookie of a new session.
func (s *sessions) begin(w http.ResponseWriter, r *http.Request, is session) error {
	is.Ends = s.now().Add(SessionLife)
	sealed, err := s.seal(is, sessionUse)
	if err == nil {
		http.SetCookie(w, s.cookie(r, sealed, int(SessionLife/time.Second)))
	}
	return err
}

// end removes the cookie.
func (s *sessions) end(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, s.cookie(r, "", -1))
}

func (s *sessions) cookie(r *http.Request, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: cookieName, Value: value, Path: Root, MaxAge: maxAge,
		HttpOnly: true, Secure: isHTTPS(r), SameSite: http.SameSiteStrictMode,
	}
}

// of returns the session of a request; without a token when there is none, or no more.
func (s *sessions) of(r *http.Request) session {
	for _, c := range r.CookiesNamed(cookieName) {
		var is session
		if s.unseal(c.Value, sessionUse, &is) == nil && s.now().Before(is.Ends) {
			return is
		}
	}
	return session{}
}

// seal seals v as text for a cookie; only unseal with the same use opens it.
func (s *sessions) seal(v any, use string) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, plain, []byte(use))), nil
}

func (s *sessions) unseal(value, use string, v any) error {
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return err
	}
	plain, err := s.aead.Open(nil, nil, sealed, []byte(use))
	if err != nil {
		return err
	}
	return json.Unmarshal(plain, v)
}

// after returns where to go when one is signed in: a path of the panel's, whatever was
// asked for.
func after(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(u.Path, Root) || path.Clean(u.Path)+"/" != strings.TrimSuffix(u.Path, "/")+"/" {
		return Root
	}
	return u.RequestURI()
}
