package aws

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
)

// pages are settings of all that the control plane shows to people.
func pages() Pages {
	return Pages{
		URL: "https://shingle.example.com", Service: "Acme & Söhne", Support: "help@example.com", DomainConnect: "example.com",
		EdgeAddresses: []string{"192.0.2.1", "2001:db8::1"},
		SignIn:        SignIn{Issuer: "https://id.example.com", ClientID: "shingle", Roles: []string{"admin=group:Ops, all", "read=*@example.com"}},
	}
}

// environmentOf is that of the function in a template, and its role what the role may do
// with parameters.
func environmentOf(t *testing.T, d *Deployment) (environment map[string]string, role string) {
	t.Helper()
	for _, s := range d.Stacks() {
		if s.Kind != kindControl {
			continue
		}
		var template struct {
			Resources struct {
				Control struct {
					Properties struct {
						Environment struct{ Variables map[string]any }
					}
				}
				Role json.RawMessage
			}
		}
		if err := json.Unmarshal(s.Template.JSON(), &template); err != nil {
			t.Fatal(err)
		}
		environment = map[string]string{}
		for name, value := range template.Resources.Control.Properties.Environment.Variables {
			environment[name] = fmt.Sprint(value)
		}
		return environment, string(template.Resources.Role)
	}
	t.Fatal("no function")
	return nil, ""
}

func TestPages_ReachTheFunction(t *testing.T) {
	d := deployment(FrontRoute53, usEast, euWest)
	plain, role := environmentOf(t, d)
	if strings.Contains(role, "oidc") {
		t.Errorf("without a sign-in the role is %s", role)
	}
	d.Pages = pages()
	got, role := environmentOf(t, d)
	for name, want := range map[string]string{
		"SHINGLE_CONTROL_URL": "https://shingle.example.com", "SHINGLE_SERVICE_NAME": "Acme & Söhne", "SHINGLE_SUPPORT": "help@example.com",
		"SHINGLE_DOMAIN_CONNECT": "example.com", "SHINGLE_EDGE_ADDRESS": "192.0.2.1,2001:db8::1", "SHINGLE_OIDC_ISSUER": "https://id.example.com",
		"SHINGLE_OIDC_CLIENT_ID": "shingle", "SHINGLE_OIDC_ROLE": `admin=group:Ops\, all,read=*@example.com`,
		"SHINGLE_OIDC_CLIENT_SECRET": "parameter:/shingle/prd/oidc-client-secret",
	} {
		if got[name] != want || plain[name] != "" {
			t.Errorf("%s is %q, and %q without the setting", name, got[name], plain[name])
		}
	}
	if !strings.Contains(role, "parameter/shingle/prd/oidc-client-secret") {
		t.Errorf("the role is %s", role)
	}
	d.Pages.SignIn.Public = true
	if got, role = environmentOf(t, d); got["SHINGLE_OIDC_CLIENT_SECRET"] != "" || strings.Contains(role, "oidc") {
		t.Errorf("a public client: %v, %s", got, role)
	}
	for _, s := range d.Stacks() {
		if body := string(s.Template.JSON()); s.Kind == kindEdge && (strings.Contains(body, "id.example.com") || strings.Contains(body, "SHINGLE_CONTROL_URL")) {
			t.Errorf("edges are told too: %s", body)
		}
	}
}

// TestClientSecret_IsInItsParameterAlone has a secret given, kept and changed.
func TestClientSecret_IsInItsParameterAlone(t *testing.T) {
	const first, second, parameter = "the-first-secret", "the-second-secret", "us-east-1/shingle/prd/oidc-client-secret"
	d := deployment(FrontRoute53, usEast, euWest)
	d.Pages = pages()
	w := newWorld(t, d)
	if err := w.CheckClientSecret(t.Context()); shingle.CodeOf(err) != shingle.CodeInvalid || !strings.HasPrefix(shingle.MessageOf(err), "--oidc-client-secret: the parameter /shingle/prd/oidc-client-secret is not there yet") {
		t.Errorf("without a secret: %v", err)
	}
	if err := w.Deploy(t.Context(), Plan{}); shingle.CodeOf(err) != shingle.CodeInvalid || len(w.cloud.stacks) > 0 || len(w.cloud.parameters) > 0 {
		t.Errorf("deployed without a secret: %v, %v", err, w.cloud.parameters)
	}
	for _, step := range []struct{ given, want string }{{first, first}, {"", first}, {first, first}, {second, second}} {
		w.ClientSecret = step.given
		if err := w.CheckClientSecret(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.deploy(t)
		if got := w.cloud.parameters[parameter]; got != step.want {
			t.Errorf("given %q, it is %q", step.given, got)
		}
	}
	if n := w.cloud.calls["ssm:PutParameter"]; n != 5 { // two of the master key, one of the regions
		t.Errorf("%d parameters written", n)
	}
	if w.cloud.parameters["eu-west-1/shingle/prd/oidc-client-secret"] != "" {
		t.Error("it is in a region without a control plane")
	}
	said := slices.Clone(w.cloud.said)
	for _, e := range w.events {
		said = append(said, fmt.Sprint(e))
	}
	for _, s := range d.Stacks() {
		said = append(said, string(s.Template.JSON()))
	}
	said = append(said, string(d.DeployerPolicy()), d.recorded())
	for _, text := range said {
		if strings.Contains(text, first) || strings.Contains(text, second) {
			t.Errorf("the secret is in %s", text)
		}
	}

	open := newWorld(t, deployment(FrontRoute53, usEast))
	open.Deployment.Pages = pages()
	open.Deployment.Pages.SignIn.Public = true
	open.ClientSecret = first
	open.deploy(t)
	if len(open.cloud.parameters) != 2 { // the master key, and the regions
		t.Errorf("a public client: %v", open.cloud.parameters)
	}
}

func TestPages_WhatIsWrongIsNamed(t *testing.T) {
	for flag, spoil := range map[string]func(*Pages){
		"--control-url: \"http:":   func(p *Pages) { p.URL = "http://shingle.example.com" },
		"--control-url: with":      func(p *Pages) { p.URL = "" },
		"--edge-address: \"edge\"": func(p *Pages) { p.EdgeAddresses = []string{"edge"} },
		"--oidc-issuer: name":      func(p *Pages) { p.SignIn.Issuer = "" },
		"--oidc-role: with": func(p *Pages) {
			for i := range 100 {
				p.SignIn.Roles = append(p.SignIn.Roles, fmt.Sprintf("read=somebody-%d@customer.example.com", i))
			}
		},
	} {
		d := deployment(FrontRoute53, usEast)
		d.Pages = pages()
		spoil(&d.Pages)
		if err := d.Validate(); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

// TestBefore_KnowsTheirPages has what people are shown be part of what a stage was
// deployed as.
func TestBefore_KnowsTheirPages(t *testing.T) {
	d := deployment(FrontRoute53, usEast)
	d.Pages = pages()
	w := newWorld(t, d)
	w.ClientSecret = "secret"
	w.deploy(t)
	before, err := w.Before(t.Context())
	if err != nil || before.recorded() != d.recorded() {
		t.Errorf("%+v, %v", before, err)
	}
}
