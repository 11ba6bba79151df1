package app

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/oidctest"
	"github.com/shingle-proxy/shingle/internal/panel"
)

// TestSignIn_PersonHasATokenForASession follows somebody from the provider to the
// panel and out again.
func TestSignIn_PersonHasATokenForASession(t *testing.T) {
	provider := oidctest.New(t)
	r := runDev(t, Config{ControlURL: "https://shingle.example.com", OIDC: OIDCConfig{
		Issuer: provider.URL, ClientID: "client", ClientSecret: "client-secret", Roles: []string{"read=*@example.com"},
	}})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	visit := func(method, path string, status int) (location, text string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+r.Control+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != status {
			t.Fatalf("%s %s: %s, %v\n%s", method, path, resp.Status, err, body)
		}
		return resp.Header.Get("Location"), string(body)
	}
	to, _ := visit("GET", "/panel/sign-in/elsewhere", http.StatusSeeOther)
	query := provider.Agree(t, to, "https://shingle.example.com"+panel.EndPath)
	visit("GET", panel.EndPath+"?"+query.Encode(), http.StatusSeeOther)
	if _, text := visit("GET", "/panel/", http.StatusOK); !strings.Contains(text, "Ann@example.com-") {
		t.Errorf("the page does not say who is signed in:\n%s", text)
	}
	named := func() (n int) {
		for token, err := range r.api(t).Tokens(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(token.Name, "Ann@example.com-") && token.Role == "read" && token.ExpiresAt.After(time.Now()) {
				n++
			}
		}
		return n
	}
	if n := named(); n != 1 {
		t.Errorf("%d tokens for the session", n)
	}
	visit("POST", "/panel/sign-out", http.StatusSeeOther)
	if n := named(); n != 0 {
		t.Errorf("%d tokens of the session are of use", n)
	}
}

func TestOIDCConfig_WhatIsMissingIsNamed(t *testing.T) {
	good := OIDCConfig{Issuer: "https://id.example.com", ClientID: "c", Roles: []string{"admin=a@b.test"}}
	at := "https://shingle.example.com"
	for flag, spoil := range map[string]func(*OIDCConfig, *string){
		"--oidc-issuer: name":   func(c *OIDCConfig, _ *string) { c.Issuer = "" },
		"--oidc-issuer: an":     func(c *OIDCConfig, _ *string) { c.Issuer = "id.example.com" },
		"--oidc-client-id":      func(c *OIDCConfig, _ *string) { c.ClientID = "" },
		"--oidc-role: say who":  func(c *OIDCConfig, _ *string) { c.Roles = nil },
		`--oidc-role: "root=x"`: func(c *OIDCConfig, _ *string) { c.Roles = []string{"root=x"} },
		"--oidc-client-secret":  func(c *OIDCConfig, _ *string) { c.ClientSecret = "parameter:" },
		"--control-url: with":   func(_ *OIDCConfig, at *string) { *at = "" },
	} {
		c, url := good, at
		spoil(&c, &url)
		cfg := Config{OIDC: c, ControlURL: url}
		if _, err := cfg.provider(); err == nil || !strings.HasPrefix(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
	}
	cfg := Config{OIDC: good, ControlURL: at}
	if _, err := cfg.provider(); err != nil {
		t.Error(err)
	}
}

func TestSessionName_IsATokensName(t *testing.T) {
	for _, person := range []string{"ann@example.com", "", "@", "Jürgen <j@x.de>", strings.Repeat("x", 300), "auth0|12345"} {
		token := shingle.Token{Name: sessionName(person), Role: shingle.RoleRead}
		if err := token.Validate(time.Now()); err != nil {
			t.Errorf("%q becomes %q: %v", person, token.Name, err)
		}
	}
}
