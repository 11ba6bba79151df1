package api_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// clerk is a [api.SetupKit].
type clerk struct{ until time.Time }

func (c *clerk) SetupPath(_ context.Context, d shingle.Domain, until time.Time) (string, error) {
	if c.until = until; until.Sub(clock) > 1000*time.Hour {
		return "", &shingle.Error{Code: shingle.CodeInvalid, Field: "expires_at", Message: "too late"}
	}
	return "/setup/" + d.Host + "/token", nil
}

func (c *clerk) SetupEmail(d shingle.Domain, language, link string, _ time.Time) (subject, text string, err error) {
	return language + " " + d.Host, "see " + link + "\n", nil
}

func (c *clerk) ConnectSetup(context.Context) (shingle.ConnectSetup, error) {
	return shingle.ConnectSetup{
		Provider: "example.com", KeyName: "_dcx.example.com", KeyTexts: []string{"p=1"},
		Templates: []shingle.ConnectTemplate{{File: "example.com.x.json", JSON: []byte("{}")}},
	}, nil
}

func TestSetup_DomainConnect(t *testing.T) {
	s := open(t, &memory.Store{}, func(c *api.Config) { c.SetupKit = &clerk{} })
	is, err := s.client().DomainConnect(t.Context())
	check(t, err)
	if is.KeyName != "_dcx.example.com" || len(is.Templates) != 1 || is.Templates[0].URL != s.url+"/setup/domain-connect/example.com.x.json" || is.Templates[0].JSON != "{}" {
		t.Errorf("%+v", is)
	}
}

func TestSetup_LinkAndEmail(t *testing.T) {
	kit, store := &clerk{}, &memory.Store{}
	s := open(t, store, func(c *api.Config) { c.SetupKit = kit })
	for _, d := range []string{`{"host":"a.example.com","tenant":"acme"}`, `{"host":"b.example.com","tenant":"rival"}`} {
		s.want(201, s.do("POST", "/v1/domains", d))
	}
	l, err := s.client().SetupLink(t.Context(), "A.example.com", api.NewSetupLink{})
	check(t, err)
	if l.URL != s.url+"/setup/a.example.com/token" || !l.ExpiresAt.Equal(clock.Add(7*24*time.Hour)) || !kit.until.Equal(l.ExpiresAt) {
		t.Errorf("link %+v", l)
	}
	if want := `<script src="` + s.url + `/setup/kit.js" data-link="` + l.URL + `" async></script>`; l.Widget != want {
		t.Errorf("widget %s", l.Widget)
	}
	e, err := s.client().SetupEmail(t.Context(), "a.example.com", api.NewSetupEmail{Language: "de", NewSetupLink: api.NewSetupLink{ExpiresAt: clock.Add(time.Hour)}})
	check(t, err)
	if e.Subject != "de a.example.com" || e.Text != "see "+l.URL+"\n" || !e.ExpiresAt.Equal(clock.Add(time.Hour)) {
		t.Errorf("e-mail %+v", e)
	}
	for body, status := range map[string]int{
		`{"expires_at":"2090-01-01T00:00:00Z"}`: 422, `{"expires_at":"soon"}`: 422, `{"x":1}`: 422, `{}`: 200,
	} {
		s.want(status, s.do("POST", "/v1/domains/a.example.com/setup-link", body))
	}
	s.want(200, s.do("POST", "/v1/domains/a.example.com/setup-email", ""))
	s.want(422, s.do("POST", "/v1/domains/a.example.com/setup-email", `{"language":"tlh"}`))
	s.want(404, s.do("POST", "/v1/domains/none.example.com/setup-link", `{}`))
	acme := s.as(shingle.RoleTenant, "acme")
	acme.want(200, acme.do("POST", "/v1/domains/a.example.com/setup-link", `{}`))
	acme.want(404, acme.do("POST", "/v1/domains/b.example.com/setup-link", `{}`))
	s.want(404, s.do("DELETE", "/v1/domains/none.example.com/setup-link", ""))
	acme.want(404, acme.do("DELETE", "/v1/domains/b.example.com/setup-link", ""))
	acme.want(204, acme.do("DELETE", "/v1/domains/a.example.com/setup-link", ""))
	check(t, s.client().RevokeSetupLinks(t.Context(), "a.example.com"))
	if d, err := store.Domain(t.Context(), "a.example.com"); err != nil || d.SetupGeneration != 2 || d.Version != 3 || d.Tenant != "acme" {
		t.Errorf("revoked twice: %+v, %v", d, err)
	}
	if strings.Contains(s.log.String(), "a.example.com/token") {
		t.Error("the log holds a link")
	}
}

func TestSetup_LinksLeadWhereCustomersCome(t *testing.T) {
	s := open(t, &memory.Store{}, func(c *api.Config) { c.SetupKit, c.ControlURL = &clerk{}, "https://setup.example.com/x" })
	s.want(201, s.do("POST", "/v1/domains", `{"host":"a.example.com"}`))
	var l api.SetupLink
	check(t, json.Unmarshal([]byte(s.want(200, s.do("POST", "/v1/domains/a.example.com/setup-link", `{}`)).text), &l))
	if l.URL != "https://setup.example.com/x/setup/a.example.com/token" {
		t.Errorf("link %+v", l)
	}
}
