// Package oidc signs people in at an OpenID Connect provider: the authorization
// code flow (OpenID Connect Core 1.0 section 3.1) with PKCE (RFC 7636). It keeps
// nothing between the two halves of a sign-in: what it must remember is a [Flow],
// which the caller has the browser bring back, sealed.
package oidc

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/shingle-proxy/shingle"
)

// Bounds of a sign-in.
const (
	flowLife    = 10 * time.Minute // between its halves
	callTimeout = 10 * time.Second // of all that one half asks the provider
	maxAnswer   = 1 << 20          // bytes of one answer of the provider
)

const groupScope = "groups"

// Config is what a [Provider] is made of. Issuer, ClientID and Rules are required.
type Config struct {
	Issuer   string // such as https://accounts.example.com; its discovery document says the rest
	ClientID string
	Rules    []Rule // the first that fits a person gives the role

	// ClientSecret returns the secret that goes with ClientID, when somebody signs in.
	// Nil: a public client, for whom PKCE alone speaks.
	ClientSecret func(ctx context.Context) (string, error)

	Transport http.RoundTripper // nil: http.DefaultTransport
	Now       func() time.Time  // nil: time.Now
}

// Provider signs people in. Its methods are safe for concurrent use.
type Provider struct {
	cfg    Config
	client *http.Client

	mu    sync.Mutex
	found *oidc.Provider // once the issuer was reached
}

// Flow is what is to be remembered between the halves of a sign-in. It is secret.
type Flow struct {
	State, Nonce, Verifier string
	Redirect               string // where the provider sends the browser back to
	Until                  time.Time
}

// Person is who signed in.
type Person struct {
	Name   string // e-mail address, "unverified-" before one that may be another's, or the subject at the provider where there is none
	Role   shingle.TokenRole
	Tenant string // of the role tenant
}

// New returns a Provider. It asks the issuer nothing before somebody signs in.
func New(cfg Config) (*Provider, error) {
	u, err := url.Parse(cfg.Issuer)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && !loopback(u):
		return nil, &shingle.Error{Code: shingle.CodeInvalid, Field: "issuer", Message: "an issuer is a URL that begins with https://"}
	case cfg.ClientID == "":
		return nil, &shingle.Error{Code: shingle.CodeInvalid, Field: "client ID", Message: "name the client ID that the provider gave"}
	case len(cfg.Rules) == 0:
		return nil, &shingle.Error{Code: shingle.CodeInvalid, Field: "role", Message: "say who may sign in, such as admin=you@example.com"}
	}
	if cfg.Transport == nil {
		cfg.Transport = http.DefaultTransport
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Provider{cfg: cfg, client: &http.Client{Transport: bounded{cfg.Transport}, Timeout: callTimeout}}, nil
}

// Begin starts a sign-in that ends at redirect. It returns where to send the
// browser, and [shingle.ErrUnavailable] when the provider cannot be asked.
func (p *Provider) Begin(ctx context.Context, redirect string) (to string, flow Flow, err error) {
	c, err := p.oauth(ctx, redirect)
	if err != nil {
		return "", Flow{}, err
	}
	flow = Flow{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Redirect: redirect, Until: p.cfg.Now().Add(flowLife)}
	return c.AuthCodeURL(flow.State, oidc.Nonce(flow.Nonce), oauth2.S256ChallengeOption(flow.Verifier)), flow, nil
}

// Finish ends the sign-in with what the provider had the browser bring. It returns
// [shingle.ErrUnauthorized] when it is not the sign-in that flow began or the
// provider says no, [shingle.ErrForbidden] for a person to whom no rule gives a
// role, and [shingle.ErrUnavailable] when the provider cannot be asked.
func (p *Provider) Finish(ctx context.Context, flow Flow, query url.Values) (Person, error) {
	switch {
	case flow.State == "" || subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(flow.State)) != 1:
		return Person{}, refuse("this is not the sign-in that was begun here: begin again")
	case p.cfg.Now().After(flow.Until):
		return Person{}, refuse("the sign-in took too long: begin again")
	case query.Get("error") != "":
		return Person{}, refuse("the sign-in service says no: %.100s", query.Get("error"))
	}
	claims, err := p.redeem(ctx, flow, query.Get("code"))
	if err != nil {
		return Person{}, err
	}
	for _, r := range p.cfg.Rules {
		if r.fits(claims) {
			return Person{Name: claims.name(), Role: r.Role, Tenant: r.Tenant}, nil
		}
	}
	return Person{}, shingle.Errorf(shingle.CodeForbidden, "%.100s may not use this panel: whoever runs Shingle names people with --oidc-role", claims.name())
}

// redeem exchanges the code for an ID token, and checks that: signature, issuer,
// audience, times (OpenID Connect Core section 3.1.3.7) and nonce.
func (p *Provider) redeem(ctx context.Context, flow Flow, code string) (claims, error) {
	c, err := p.oauth(ctx, flow.Redirect)
	if err != nil {
		return claims{}, err
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.client), callTimeout)
	defer cancel()
	if p.cfg.ClientSecret != nil {
		if c.ClientSecret, err = p.cfg.ClientSecret(ctx); err != nil {
			return claims{}, &shingle.Error{
				Code: shingle.CodeUnavailable, Message: "the secret for the sign-in service cannot be read now: try again, or sign in with a token", Err: err,
			}
		}
	}
	tokens, err := c.Exchange(ctx, code, oauth2.VerifierOption(flow.Verifier))
	if refusal, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refusal.Response.StatusCode < 500 {
		return claims{}, refuse("the sign-in service does not take its own code (%.100s): begin again", refusal.ErrorCode)
	}
	if err != nil {
		return claims{}, unreachable(err)
	}
	raw, _ := tokens.Extra("id_token").(string)
	provider, err := p.provider(ctx)
	if err != nil {
		return claims{}, err
	}
	token, err := provider.Verifier(&oidc.Config{ClientID: p.cfg.ClientID, Now: p.cfg.Now}).Verify(ctx, raw)
	if err != nil {
		return claims{}, &shingle.Error{Code: shingle.CodeUnauthorized, Message: "what the sign-in service says of you cannot be believed: begin again", Err: err}
	}
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(flow.Nonce)) != 1 {
		return claims{}, refuse("this is not the sign-in that was begun here: begin again")
	}
	out := claims{Subject: token.Subject}
	if err := token.Claims(&out); err != nil {
		return claims{}, &shingle.Error{Code: shingle.CodeUnauthorized, Message: "what the sign-in service says of you is malformed", Err: err}
	}
	return out, nil
}

func (p *Provider) oauth(ctx context.Context, redirect string) (*oauth2.Config, error) {
	provider, err := p.provider(ctx)
	if err != nil {
		return nil, err
	}
	return &oauth2.Config{
		ClientID: p.cfg.ClientID, Endpoint: provider.Endpoint(),
		RedirectURL: redirect, Scopes: p.scopes(provider),
	}, nil
}

// scopes are what the rules need. That of groups is in no standard: only a provider
// that says to know it is asked for it.
func (p *Provider) scopes(provider *oidc.Provider) []string {
	list := []string{oidc.ScopeOpenID, "email"}
	var known struct {
		Scopes []string `json:"scopes_supported"`
	}
	byGroup := func(r Rule) bool { return r.group != "" }
	if provider.Claims(&known) == nil && slices.Contains(known.Scopes, groupScope) && slices.ContainsFunc(p.cfg.Rules, byGroup) {
		list = append(list, groupScope)
	}
	return list
}

// provider reads the issuer's discovery document, once that has worked.
func (p *Provider) provider(ctx context.Context) (*oidc.Provider, error) {
	p.mu.Lock()
	found := p.found
	p.mu.Unlock()
	if found != nil {
		return found, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.client), p.cfg.Issuer)
	if err != nil {
		return nil, unreachable(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.found = found
	return found, nil
}

func refuse(format string, args ...any) error {
	return shingle.Errorf(shingle.CodeUnauthorized, format, args...)
}

func unreachable(err error) error {
	return &shingle.Error{
		Code: shingle.CodeUnavailable, Message: "the sign-in service cannot be asked now: try again, or sign in with a token",
		Err: fmt.Errorf("ask OpenID Connect provider: %w", err),
	}
}
