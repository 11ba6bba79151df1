// Package oidctest plays an OpenID Connect provider, for tests.
package oidctest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Provider is an OpenID Connect provider with one person, who always agrees.
type Provider struct {
	*httptest.Server
	key *ecdsa.PrivateKey

	// What follows is changed under Lock alone.
	sync.Mutex
	nonce     string            // of the sign-in that is under way
	challenge string            // of its PKCE
	Claims    map[string]any    // over the usual ones, in the next ID token
	SignWith  *ecdsa.PrivateKey // nil: key
	Status    int               // of every answer; 0: as it should be
	Scopes    []string
}

// New starts a provider, and ends it with the test. Its clients are "client" with the
// secret "client-secret".
func New(t testing.TB) *Provider {
	t.Helper()
	p := &Provider{Scopes: []string{"openid", "email", "groups"}}
	var err error
	if p.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /keys", p.keys)
	mux.HandleFunc("POST /token", p.token)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.Lock()
		defer p.Unlock()
		if p.Status != 0 {
			http.Error(w, "{}", p.Status)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	_ = json.NewEncoder(w).Encode(map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
		"id_token_signing_alg_values_supported": []string{"ES256"}, "scopes_supported": p.Scopes,
	})
}

func (p *Provider) keys(w http.ResponseWriter, _ *http.Request) {
	_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
}

// token refuses a code that comes without the verifier of its challenge.
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
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
	for k, v := range p.Claims {
		claims[k] = v
	}
	key := p.key
	if p.SignWith != nil {
		key = p.SignWith
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

// Agree is the person's browser at the provider: it returns what it brings back.
func (p *Provider) Agree(t testing.TB, to, redirect string) url.Values {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil || !strings.HasPrefix(to, p.URL+"/authorize?") {
		t.Fatalf("sent to %q, %v", to, err)
	}
	q := u.Query()
	if q.Get("code_challenge_method") != "S256" || q.Get("response_type") != "code" || q.Get("client_id") != "client" || q.Get("redirect_uri") != redirect {
		t.Errorf("asked with %v", q)
	}
	p.Lock()
	defer p.Unlock()
	p.nonce, p.challenge = q.Get("nonce"), q.Get("code_challenge")
	return url.Values{"state": {q.Get("state")}, "code": {"the-code"}}
}
