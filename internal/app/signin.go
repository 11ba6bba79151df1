package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/oidc"
	"github.com/shingle-proxy/shingle/internal/panel"
	"github.com/shingle-proxy/shingle/internal/tokens"
)

// OIDCConfig has people sign in to the panel at an OpenID Connect provider.
type OIDCConfig struct {
	Issuer       string // empty: nobody does
	ClientID     string
	ClientSecret string   // or "parameter:" and the name of an encrypted parameter of AWS Systems Manager that has it; empty: a public client
	Roles        []string // as [oidc.ParseRule] reads them
}

// provider returns nil when nobody signs in so.
func (c *Config) provider() (*oidc.Provider, error) {
	is := &c.OIDC
	if is.Issuer == "" {
		if is.ClientID != "" || is.ClientSecret != "" || len(is.Roles) > 0 {
			return nil, errors.New("--oidc-issuer: name the provider at which people sign in")
		}
		return nil, nil
	}
	if u, err := url.Parse(c.ControlURL); err != nil || u.Host == "" {
		return nil, errors.New("--control-url: with --oidc-issuer, say at which address people reach the panel, such as https://shingle.example.com")
	}
	var rules []oidc.Rule
	for _, text := range is.Roles {
		r, err := oidc.ParseRule(text)
		if err != nil {
			return nil, fmt.Errorf("--oidc-role: %s", shingle.MessageOf(err))
		}
		rules = append(rules, r)
	}
	secret, err := c.clientSecret()
	if err != nil {
		return nil, err
	}
	p, err := oidc.New(oidc.Config{Issuer: is.Issuer, ClientID: is.ClientID, ClientSecret: secret, Rules: rules})
	if e, ok := errors.AsType[*shingle.Error](err); ok {
		return nil, fmt.Errorf("--oidc-%s: %s", strings.ToLower(strings.ReplaceAll(e.Field, " ", "-")), e.Message)
	}
	return p, err
}

// signIn gives whoever signs in at the provider an API token for a session: so roles,
// revocation and the names in the events are the same for people and programs. It is a
// [panel.SignIn].
type signIn struct {
	*oidc.Provider
	name, redirect string
	tokens         *tokens.Keeper
	log            *slog.Logger
}

func (a *App) openSignIn() (panel.SignIn, error) {
	p, err := a.cfg.provider()
	if p == nil || err != nil {
		return nil, err
	}
	issuer, err := url.Parse(a.cfg.OIDC.Issuer)
	if err != nil {
		return nil, err
	}
	return &signIn{
		Provider: p, name: issuer.Host, redirect: strings.TrimSuffix(a.cfg.ControlURL, "/") + panel.EndPath,
		tokens: a.tokens, log: a.log,
	}, nil
}

// Name implements [panel.SignIn].
func (s *signIn) Name() string { return s.name }

// Begin implements [panel.SignIn].
func (s *signIn) Begin(ctx context.Context) (to string, secret []byte, err error) {
	to, flow, err := s.Provider.Begin(ctx, s.redirect)
	if err != nil {
		return "", nil, err
	}
	secret, err = json.Marshal(flow)
	return to, secret, err
}

// Finish implements [panel.SignIn].
func (s *signIn) Finish(ctx context.Context, secret []byte, query url.Values) (token string, err error) {
	var flow oidc.Flow
	if err := json.Unmarshal(secret, &flow); err != nil {
		return "", fmt.Errorf("read sign-in: %w", err)
	}
	person, err := s.Provider.Finish(ctx, flow, query)
	if err != nil {
		return "", err
	}
	token, made, err := s.tokens.CreateToken(ctx, shingle.Token{
		Name: sessionName(person.Name), Role: person.Role, Tenant: person.Tenant, ExpiresAt: time.Now().Add(panel.SessionLife),
	})
	if err == nil {
		s.log.Info("signed in to the panel", "person", person.Name, "role", person.Role, "token", made.ID)
	}
	return token, err
}

// End implements [panel.SignIn]. The token expires: to revoke it would end the jobs of
// whoever has only signed out.
func (s *signIn) End(ctx context.Context, token string) error {
	id, ok := shingle.TokenID(token)
	if !ok {
		return shingle.ErrNotFound
	}
	return s.tokens.ExpireToken(ctx, id)
}

// sessionName is a person's name as a token may have it, and no other session has.
func sessionName(person string) string {
	name := strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._@-", r)) {
			return r
		}
		return '-'
	}, person)
	name = strings.TrimLeft(name, "._@-")
	return cmp.Or(name[:min(len(name), 50)], "somebody") + "-" + strings.ToLower(rand.Text()[:8])
}
