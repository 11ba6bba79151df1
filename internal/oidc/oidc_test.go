package oidc_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/oidc"
)

// played is an OpenID Connect provider with one person, who always agrees.
type played struct {
	*httptest.Server
	key *ecdsa.PrivateKey

	mu        sync.Mutex
	nonce     string            // of the sign-in that is under way
	challenge string            // of its PKCE
	claims    map[string]any    // over the usual ones, in the next ID token
	signWith  *ecdsa.PrivateKey // nil: key
	status    int               // of every answer; 0: as it should be
	scopes    []string
}

func newPlayed(t *testing.T) *played {
	t.Helper()
	p := &played{scopes: []string{"openid", "email", "groups"}}
	var err error
	if p.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /keys", p.keys)
	mux.HandleFunc("POST /token", p.token)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.status != 0 {
			http.Error(w, "{}", p.status)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *played) discovery(w http.ResponseWriter, _ *http.Request) {
	_ = json.NewEncoder(w).Encode(map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
		"id_token_signing_alg_values_supported": []string{"ES256"}, "scopes_supported": p.scopes,
	})
}

func (p *played) keys(w http.ResponseWriter, _ *http.Request) {
	_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
}

// token refuses a code that comes without the verifier of its challenge.
func (p *played) token(w http.ResponseWriter, r *http.Request) {
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	_, secret, _ := r.BasicAuth()
	if base64.RawURLEncoding.EncodeToString(sum[:]) != p.challenge || r.FormValue("code") != "the-code" || secret != "client-secret" {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	now := time.Now()
	claims := map[string]any{
		"iss": p.URL, "sub": "1234", "aud": "client", "exp": now.Add(time.Minute).Unix(), "iat": now.Unix(),
		"nonce": p.nonce, "email": "Ann@example.com", "email_verified": true,
	}
	for k, v := range p.claims {
		claims[k] = v
	}
	key := p.key
	if p.signWith != nil {
		key = p.signWith
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": sign(key, claims)})
}

func sign(key *ecdsa.PrivateKey, claims map[string]any) string {
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "1"}}, nil)
	if err != nil {
		panic(err)
	}
	payload, _ := json.Marshal(claims)
	signed, err := s.Sign(payload)
	if err != nil {
		panic(err)
	}
	text, _ := signed.CompactSerialize()
	return text
}

// agree is the person's browser at the provider: it returns what it brings back.
func (p *played) agree(t *testing.T, to string) url.Values {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil || !strings.HasPrefix(to, p.URL+"/authorize?") {
		t.Fatalf("sent to %q, %v", to, err)
	}
	q := u.Query()
	if q.Get("code_challenge_method") != "S256" || q.Get("response_type") != "code" || q.Get("client_id") != "client" || q.Get("redirect_uri") != redirect {
		t.Errorf("asked with %v", q)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nonce, p.challenge = q.Get("nonce"), q.Get("code_challenge")
	return url.Values{"state": {q.Get("state")}, "code": {"the-code"}}
}

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

func newProvider(t *testing.T, p *played, now func() time.Time, texts ...string) *oidc.Provider {
	t.Helper()
	out, err := oidc.New(oidc.Config{Issuer: p.URL, ClientID: "client", ClientSecret: "client-secret", Rules: rules(t, texts...), Now: now})
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
		{"a group of the address's name", map[string]any{"email": "group:ops"}, []string{"operator=group:ops"}, oidc.Person{}, shingle.CodeForbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlayed(t)
			p.claims = tt.claims
			provider := newProvider(t, p, nil, tt.rules...)
			to, flow, err := provider.Begin(t.Context(), redirect)
			if err != nil {
				t.Fatal(err)
			}
			got, err := provider.Finish(t.Context(), flow, p.agree(t, to))
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
		spoil func(p *played, flow *oidc.Flow, query url.Values)
		want  shingle.Code
	}{
		{"state of another sign-in", func(_ *played, _ *oidc.Flow, q url.Values) { q.Set("state", "x") }, shingle.CodeUnauthorized},
		{"no flow", func(_ *played, f *oidc.Flow, q url.Values) { *f = oidc.Flow{}; q.Set("state", "") }, shingle.CodeUnauthorized},
		{"too late", func(_ *played, f *oidc.Flow, _ url.Values) { f.Until = time.Now().Add(-time.Second) }, shingle.CodeUnauthorized},
		{"denied", func(_ *played, _ *oidc.Flow, q url.Values) { q.Set("error", "access_denied") }, shingle.CodeUnauthorized},
		{"code without its verifier", func(_ *played, f *oidc.Flow, _ url.Values) { f.Verifier = strings.Repeat("x", 43) }, shingle.CodeUnauthorized},
		{"another code", func(_ *played, _ *oidc.Flow, q url.Values) { q.Set("code", "x") }, shingle.CodeUnauthorized},
		{"nonce of another sign-in", func(p *played, _ *oidc.Flow, _ url.Values) { p.claims = map[string]any{"nonce": "x"} }, shingle.CodeUnauthorized},
		{"for another client", func(p *played, _ *oidc.Flow, _ url.Values) { p.claims = map[string]any{"aud": "x"} }, shingle.CodeUnauthorized},
		{"of another issuer", func(p *played, _ *oidc.Flow, _ url.Values) { p.claims = map[string]any{"iss": "https://x.test"} }, shingle.CodeUnauthorized},
		{"expired", func(p *played, _ *oidc.Flow, _ url.Values) { p.claims = map[string]any{"exp": 1} }, shingle.CodeUnauthorized},
		{"signed by a stranger", func(p *played, _ *oidc.Flow, _ url.Values) { p.signWith = stranger }, shingle.CodeUnauthorized},
		{"malformed", func(p *played, _ *oidc.Flow, _ url.Values) { p.claims = map[string]any{"groups": 7} }, shingle.CodeUnauthorized},
		{"provider out of order", func(p *played, _ *oidc.Flow, _ url.Values) { p.status = http.StatusServiceUnavailable }, shingle.CodeUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlayed(t)
			provider := newProvider(t, p, nil, "admin=ann@example.com")
			to, flow, err := provider.Begin(t.Context(), redirect)
			if err != nil {
				t.Fatal(err)
			}
			query := p.agree(t, to)
			p.mu.Lock()
			tt.spoil(p, &flow, query)
			p.mu.Unlock()
			if got, err := provider.Finish(t.Context(), flow, query); shingle.CodeOf(err) != tt.want || got != (oidc.Person{}) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// TestProvider_OutageIsNotForEver has an issuer that cannot be reached at first.
func TestProvider_OutageIsNotForEver(t *testing.T) {
	p := newPlayed(t)
	p.status = http.StatusBadGateway
	provider := newProvider(t, p, nil, "admin=ann@example.com")
	if _, _, err := provider.Begin(t.Context(), redirect); !errors.Is(err, shingle.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	p.mu.Lock()
	p.status = 0
	p.mu.Unlock()
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
		p := newPlayed(t)
		p.scopes = tt.known
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
