package fleet

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle/internal/aws"
	"github.com/shingle-proxy/shingle/internal/oidctest"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// functionOf is what a stage's template says of its function: the environment, and which
// parameters its role may read, as ends of their ARNs.
func functionOf(t *testing.T, d *aws.Deployment) (env []string, parameters []string) {
	t.Helper()
	var template struct {
		Resources struct {
			Control struct {
				Properties struct {
					Environment struct{ Variables map[string]string }
				}
			}
			Role struct {
				Properties struct {
					Policies []struct {
						PolicyDocument struct {
							Statement []struct {
								Action   []string
								Resource []any
							}
						}
					}
				}
			}
		}
	}
	for _, s := range d.Stacks() {
		if s.Kind == "control" {
			check(t, json.Unmarshal(s.Template.JSON(), &template))
		}
	}
	for name, value := range template.Resources.Control.Properties.Environment.Variables {
		env = append(env, name+"="+value)
	}
	for _, p := range template.Resources.Role.Properties.Policies {
		for _, s := range p.PolicyDocument.Statement {
			if slices.Contains(s.Action, "ssm:GetParameter") {
				_, name, _ := strings.Cut(fmt.Sprint(s.Resource), ":parameter")
				parameters = append(parameters, strings.TrimRight(name, "]"))
			}
		}
	}
	slices.Sort(parameters)
	return env, parameters
}

// visitor is a browser at the function's URL.
type visitor struct {
	*lambdaRuntime
	t       *testing.T
	cookies map[string]string
}

// visit has the function answer a request as Lambda passes it on.
func (v *visitor) visit(method, path string, want int) (header map[string]string, body string) {
	v.t.Helper()
	path, query, _ := strings.Cut(path, "?")
	var cookies []string
	for name, value := range v.cookies {
		cookies = append(cookies, name+"="+value)
	}
	out, err := v.call(20*time.Second, map[string]any{
		"version": "2.0", "rawPath": path, "rawQueryString": query, "cookies": cookies, "headers": map[string]string{"sec-fetch-site": "same-origin"},
		"requestContext": map[string]any{"domainName": "x.lambda-url.eu-central-1.on.aws", "http": map[string]string{"method": method, "sourceIp": "192.0.2.1"}},
	})
	check(v.t, err)
	var r struct {
		StatusCode int
		Headers    map[string]string
		Cookies    []string
		Body       string
	}
	check(v.t, json.Unmarshal(out, &r))
	for _, text := range r.Cookies {
		c, err := http.ParseSetCookie(text)
		check(v.t, err)
		if v.cookies[c.Name] = c.Value; !c.Secure {
			v.t.Errorf("the cookie %s goes over plain HTTP", c.Name)
		}
	}
	if r.StatusCode != want {
		v.t.Fatalf("%s %s: %d, want %d\n%s", method, path, r.StatusCode, want, r.Body)
	}
	return r.Headers, r.Body
}

// TestFunction_ShowsPagesToPeople runs the program as the function of a stage whose
// settings came through the template: an operator signs in at the provider, and a customer
// opens a set-up page at the address that was given.
func TestFunction_ShowsPagesToPeople(t *testing.T) {
	storetest.Endpoint(t, storetest.DynamoDB)
	t.Parallel()
	provider := oidctest.New(t)
	const at = "https://shingle.example.com"
	d := &aws.Deployment{
		Stage: "prd", Regions: []aws.Region{{Name: "eu-central-1", Edges: 1}}, InstanceType: "t4g.nano", Front: aws.FrontRoute53, MasterKey: aws.MasterKeyParameter,
		Zone: "example.com", Name: "edge.example.com", Target: "app.example.com", Email: "ops@example.com",
		Pages: aws.Pages{
			URL: at, Service: "Acme Sites", Support: "help@example.com", DomainConnect: "example.com", EdgeAddresses: []string{"192.0.2.7", "192.0.2.8"},
			SignIn: aws.SignIn{Issuer: provider.URL, ClientID: "client", Roles: []string{"operator=group:Ops, all", "admin=*@example.com"}},
		},
	}
	check(t, d.Validate())
	env, readable := functionOf(t, d)
	p := newPrograms(t, 1, 1)
	cloud := newRecorder(t)
	p.env = slices.Concat(env, p.env, cloud.env())
	v := &visitor{lambdaRuntime: p.runLambda(t.TempDir()), t: t, cookies: map[string]string{}}

	if _, text := v.visit("GET", "/panel/sign-in", http.StatusOK); !strings.Contains(text, "127.0.0.1") {
		t.Errorf("the page does not offer to sign in at the provider:\n%s", text)
	}
	if cloud.secrets["/shingle/prd/oidc-client-secret"] {
		t.Error("the client's secret was read although nobody came back")
	}
	to, _ := v.visit("GET", "/panel/sign-in/elsewhere", http.StatusSeeOther)
	query := provider.Agree(t, to["Location"], at+"/panel/sign-in/elsewhere/end")
	v.visit("GET", "/panel/sign-in/elsewhere/end?"+query.Encode(), http.StatusSeeOther)
	if _, text := v.visit("GET", "/panel/", http.StatusOK); !strings.Contains(text, "Ann@example.com-") {
		t.Errorf("the panel does not say who is signed in:\n%s", text)
	}
	cloud.mu.Lock()
	read := slices.Sorted(maps.Keys(cloud.secrets))
	cloud.mu.Unlock()
	if !slices.Equal(read, readable) {
		t.Errorf("the function reads %q, and its role may read %q", read, readable)
	}

	token := v.token(t)
	do := func(method, path, body string, want int) string {
		t.Helper()
		status, answer, err := v.request(method, path, token, body)
		if err != nil || status != want {
			t.Fatalf("%s %s: %d %s, %v", method, path, status, answer, err)
		}
		return answer
	}
	do("POST", "/v1/domains", `{"host":"customer.localhost","tenant":"acme"}`, http.StatusCreated)
	var link struct{ URL string }
	check(t, json.Unmarshal([]byte(do("POST", "/v1/domains/customer.localhost/setup-link", "{}", http.StatusOK)), &link))
	u, err := url.Parse(link.URL)
	check(t, err)
	if !strings.HasPrefix(link.URL, at+"/setup/customer.localhost/") {
		t.Errorf("the link is %s", link.URL)
	}
	customer := &visitor{lambdaRuntime: v.lambdaRuntime, t: t, cookies: map[string]string{}}
	_, page := customer.visit("GET", u.Path, http.StatusOK)
	for _, want := range []string{"Acme Sites", "mailto:help@example.com", "192.<wbr>0.<wbr>2.<wbr>7", url.QueryEscape(link.URL)} {
		if !strings.Contains(page, want) {
			t.Errorf("the set-up page has no %s:\n%s", want, page)
		}
	}
	if answer := do("GET", "/v1/domain-connect", "", http.StatusOK); !strings.Contains(answer, at+"/setup/domain-connect/example.com.shingle-root.json") {
		t.Errorf("for Domain Connect: %s", answer)
	}
}
