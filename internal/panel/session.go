package panel

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

const (
	cookieName  = "shingle-panel"
	sessionLife = 12 * time.Hour // then one signs in again; a token that is revoked ends it at once
	sessionUse  = "shingle panel session 1"
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
	Token string    `json:"token"`
	Ends  time.Time `json:"ends"`
}

func newSessions(key [32]byte, now func() time.Time) (sessions, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return sessions{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return sessions{aead: aead, now: now}, err
}

// begin sets the cookie of a new session.
func (s *sessions) begin(w http.ResponseWriter, r *http.Request, token string) error {
	plain, err := json.Marshal(session{Token: token, Ends: s.now().Add(sessionLife)})
	if err != nil {
		return err
	}
	sealed := s.aead.Seal(nil, nil, plain, []byte(sessionUse))
	http.SetCookie(w, s.cookie(r, base64.RawURLEncoding.EncodeToString(sealed), int(sessionLife/time.Second)))
	return nil
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

// token returns the token of a request's session; empty when there is none, or no more.
func (s *sessions) token(r *http.Request) string {
	for _, c := range r.CookiesNamed(cookieName) {
		if is, err := s.open(c.Value); err == nil && s.now().Before(is.Ends) {
			return is.Token
		}
	}
	return ""
}

func (s *sessions) open(value string) (is session, err error) {
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return is, err
	}
	plain, err := s.aead.Open(nil, nil, sealed, []byte(sessionUse))
	if err != nil {
		return is, errors.New("not sealed here")
	}
	return is, json.Unmarshal(plain, &is)
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
