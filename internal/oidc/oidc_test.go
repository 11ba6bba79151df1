package oidc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/oidc"
	"github.com/shingle-proxy/shingle/internal/oidctest"
)

const redirect = "https://panel.example.com/sign-in/oidc/end"

func rules(t *testing.T, texts ...string) (list []oidc.Rule) {
	t.Helper()
	for _, text := range texts {
		r, err := oidc.ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

func newProvider(t *testing.T, p *oidctest.Provider, now func() time.Time, texts ...string) *oidc.Provider {
	t.Helper()
	secret := func(context.Context) (string, error) { return "client-secret", nil }
	out, err := oidc.New(oidc.Config{Issuer: p.URL, ClientID: "client", ClientSecret: secret, Rules: rules(t, texts...), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestProvider_RoleByTheFirstRuleThatFits(t *testing.T) {
	for _, tt := range []struct {
		name   string
		claims map[string]any
		rules  []string
		want   oidc.Person
		err    shingle.Code
	}{
		{"address", nil, []string{"read=*@example.com", "admin=ann@example.com"}, oidc.Person{Name: "Ann@example.com", Role: "read"}, ""},
		{"order", nil, []string{"admin=ann@example.com", "read=*@example.com"}, oidc.Person{Name: "Ann@example.com", Role: "admin"}, ""},
		{"tenant", nil, []string{"tenant:acme=*@example.com"}, oidc.Person{Name: "Ann@example.com", Role: "tenant", Tenant: "acme"}, ""},
		{"groups", map[string]any{"groups": []string{"dev", "ops"}}, []string{"operator=group:ops"}, oidc.Person{Name: "Ann@example.com", Role: "operator"}, ""},
		{"one group as a text", map[string]any{"groups": "ops"}, []string{"operator=group:ops"}, oidc.Person{Name: "Ann@example.com", Role: "operator"}, ""},
		{"no address", map[string]any{"email": "", "groups": "ops"}, []string{"operator=group:ops"}, oidc.Person{Name: "1234", Role: "operator"}, ""},
		{"verified as a text", map[string]any{"email_verified": "true"}, []string{"read=*@example.com"}, oidc.Person{Name: "Ann@example.com", Role: "read"}, ""},
		{"not verified", map[string]any{"email_verified": false}, []string{"read=*@example.com"}, oidc.Person{}, shingle.CodeForbidden},
		{"verified by silence", map[string]any{"email_verified": nil}, []string{"read=*@example.com"}, oidc.Person{}, shingle.CodeForbidden},
		{"other domain that ends alike", map[string]any{"email": "ann@notexample.com"}, []string{"read=*@example.com"}, oidc.Person{}, shingle.CodeForbidden},
		{"two at signs", map[string]any{"email": "x@example.com@evil.test"}, []string{"read=*@example.com", "admin=x@example.com"}, oidc.Person{}, shingle.CodeForbidden},
		{"a group, and an address that may be another's", map[string]any{"email": "boss@example.com", "email_verified": false, "groups": "ops"}, []string{"operator=group:ops"}, oidc.Person{Name: "unverified-boss@example.com", Role: shingle.RoleOperator}, ""},
		{"a group of the address's name", map[string]any{"email": "group:ops"}, []string{"operator=group:ops"}, oidc.Person{}, shingle.CodeForbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := oidctest.New(t)
			p.Claims = tt.claims
			provider := newProvider(t, p, nil, tt.rules...)
			to, flow, err := provider.Begin(t.Context(), redirect)
			if err != nil {
				t.Fatal(err)
			}
			got, err := provider.Finish(t.Context(), flow, p.Agree(t, to, redirect))
			if got != tt.want || shingle.CodeOf(err) != tt.err {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// TestProvider_BelievesNothingElse plays who has something of a sign-in and not
// all of it.
func TestProvider_BelievesNothingElse(t *testing.T) {
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		spoil func(p *oidctest.Provider, flow *oidc.Flow, query url.Values)
		want  shingle.Code
	}{
		{"state of another sign-in", func(_ *oidctest.Provider, _ *oidc.Flow, q url.Values) { q.Set("state", "x") }, shingle.CodeUnauthorized},
		{"no flow", func(_ *oidctest.Provider, f *oidc.Flow, q url.Values) { *f = oidc.Flow{}; q.Set("state", "") }, shingle.CodeUnauthorized},
		{"too late", func(_ *oidctest.Provider, f *oidc.Flow, _ url.Values) { f.Until = time.Now().Add(-time.Second) }, shingle.CodeUnauthorized},
		{"denied", func(_ *oidctest.Provider, _ *oidc.Flow, q url.Values) { q.Set("error", "access_denied") }, shingle.CodeUnauthorized},
		{"code without its verifier", func(_ *oidctest.Provider, f *oidc.Flow, _ url.Values) { f.Verifier = strings.Repeat("x", 43) }, shingle.CodeUnauthorized},
		{"another code", func(_ *oidctest.Provider, _ *oidc.Flow, q url.Values) { q.Set("code", "x") }, shingle.CodeUnauthorized},
		{"nonce of another sign-in", func(p *oidctest.Provider, _ *oidc.Flow, _ url.Values) { p.Claims = map[string]any{"nonce": "x"} }, shingle.CodeUnauthorized},
		{"for another client", func(p *oidctest.Provider, _ *oidc.Flow, _ url.Values) { p.Claims = map[string]any{"aud": "x"} }, shingle.CodeUnauthorized},
		{"of another issuer", func(p *oidctest.Provider, _ *oidc.Flow, _ url.Values) {
			p.Claims = map[string]any{"iss": "https://x.test"}
		}, shingle.CodeUnauthorized},
		{"expired", func(p *oidctest.Provider, _ *oidc.Flow, _ url.Values) { p.Claims = map[string]any{"exp": 1} }, shingle.CodeUnauthorized},
		{"signed by a stranger", func(p *oidctest.Provider, _ *oidc.Flow, _ url.Values) { p.SignWith = stranger }, shingle.CodeUnauthorized},
		{"malformed", func(p *oidctest.Provider, _ *oidc.Flow, _ url.Values) { p.Claims = map[string]any{"groups": 7} }, shingle.CodeUnauthorized},
		{"provider out of order", func(p *oidctest.Provider, _ *oidc.Flow, _ url.Values) { p.Status = http.StatusServiceUnavailable }, shingle.CodeUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := oidctest.New(t)
			provider := newProvider(t, p, nil, "admin=ann@example.com")
			to, flow, err := provider.Begin(t.Context(), redirect)
			if err != nil {
				t.Fatal(err)
			}
			query := p.Agree(t, to, redirect)
			p.Lock()
			tt.spoil(p, &flow, query)
			p.Unlock()
			if got, err := provider.Finish(t.Context(), flow, query); shingle.CodeOf(err) != tt.want || got != (oidc.Person{}) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// TestProvider_OutageIsNotForEver has an issuer that cannot be reached at first.
func TestProvider_OutageIsNotForEver(t *testing.T) {
	p := oidctest.New(t)
	p.Status = http.StatusBadGateway
	provider := newProvider(t, p, nil, "admin=ann@example.com")
	if _, _, err := provider.Begin(t.Context(), redirect); !errors.Is(err, shingle.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	p.Lock()
	p.Status = 0
	p.Unlock()
	if _, _, err := provider.Begin(t.Context(), redirect); err != nil {
		t.Error(err)
	}
}

func TestProvider_AsksForGroupsWhereTheyAreKnown(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		known []string
		want  string
	}{
		{"admin=group:ops", []string{"groups"}, "openid email groups"},
		{"admin=group:ops", nil, "openid email"},
		{"admin=ann@example.com", []string{"groups"}, "openid email"},
	} {
		p := oidctest.New(t)
		p.Scopes = tt.known
		to, _, err := newProvider(t, p, nil, tt.rule).Begin(t.Context(), redirect)
		if err != nil {
			t.Fatal(err)
		}
		if u, _ := url.Parse(to); u.Query().Get("scope") != tt.want {
			t.Errorf("%v: asked %s", tt, to)
		}
	}
}

func TestNew_RefusesWhatCannotBe(t *testing.T) {
	good := oidc.Config{Issuer: "https://id.example.com", ClientID: "c", Rules: rules(t, "admin=a@b.test")}
	if _, err := oidc.New(good); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*oidc.Config){
		"plain HTTP": func(c *oidc.Config) { c.Issuer = "http://id.example.com" },
		"no issuer":  func(c *oidc.Config) { c.Issuer = "" },
		"no client":  func(c *oidc.Config) { c.ClientID = "" },
		"no rules":   func(c *oidc.Config) { c.Rules = nil },
	} {
		c := good
		spoil(&c)
		if _, err := oidc.New(c); !errors.Is(err, shingle.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseRule_RefusesWhatIsNone(t *testing.T) {
	for _, text := range []string{"", "admin", "admin=", "root=a@b.test", "admin=*", "admin=*@", "admin=a@*.test", "tenant=a@b.test", "admin:x=a@b.test", "tenant:ä=a@b.test", "admin=group:"} {
		if _, err := oidc.ParseRule(text); !errors.Is(err, shingle.ErrInvalid) || !strings.Contains(shingle.MessageOf(err), "ROLE=ADDRESS") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
