package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/tokens"
)

// newTokens returns a keeper of tokens, and the text of one that may everything,
// whose name is test.
func newTokens(t testing.TB, now func() time.Time) (*tokens.Keeper, string) {
	t.Helper()
	keeper, err := tokens.New(tokens.Config{Blobs: &memory.Store{}, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := keeper.CreateToken(t.Context(), shingle.Token{Name: "test", Role: shingle.RoleAdmin})
	if err != nil {
		t.Fatal(err)
	}
	return keeper, text
}

// as returns the site as the owner of another token sees it.
func (s *site) as(role shingle.TokenRole, tenant string) *site {
	s.t.Helper()
	var made api.Token
	name := string(role) + tenant
	r := s.want(201, s.do("POST", "/v1/tokens", fmt.Sprintf(`{"name":%q,"role":%q,"tenant":%q}`, name, role, tenant)))
	check(s.t, json.Unmarshal([]byte(r.text), &made))
	return &site{t: s.t, url: s.url, token: made.Token, log: s.log}
}

// everything is an API with all that there can be.
func everything(t *testing.T) *site {
	return open(t, &memory.Store{}, func(c *api.Config) {
		c.Certificates, c.Checker, c.Events, c.Keys, c.Blobs, c.Edges = &shelf{}, &lens{}, &diary{fail: errNoWebhook}, &safe{}, &memory.Store{}, &crew{}
		c.SetupKit, c.Jobs, c.Traffic = &clerk{}, &foreman{}, &meter{}
	})
}

// operations returns every operation of the document that needs a token, by its
// ID, as "METHOD path".
func operations(s *site) map[string]string {
	s.t.Helper()
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string
			Security    []map[string][]string
		}
	}
	check(s.t, json.Unmarshal([]byte(s.do("GET", "/openapi.json", "").text), &doc))
	out := map[string]string{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			if len(op.Security) == 0 {
				out[op.OperationID] = strings.ToUpper(method) + " " + path
			}
		}
	}
	return out
}

// mayUse is what each role may do, said once more than in roles.go, so that
// neither changes unnoticed: a admin, o operator, r read, t tenant.
var mayUse = map[string]string{
	"list-domains": "aort", "get-domain": "aort", "create-domain": "aot", "update-domain": "aot", "delete-domain": "aot", "check-domain": "aort",
	"claim-domain": "aot", "get-traffic": "aort",
	"create-setup-link": "aot", "create-setup-email": "aot", "revoke-setup-links": "aot", "get-domain-connect": "aor",
	"list-certificates": "aort", "get-certificate": "aort", "renew-certificate": "aot", "put-certificate": "aot", "get-queue": "aor",
	"get-calendar": "aor", "list-planned": "aor",
	"delete-certificate": "ao", "list-keys": "aor", "list-edges": "aor", "count-statuses": "aort", "get-edge": "aor", "rewrap": "a",
	"create-job": "aot", "list-jobs": "aort", "get-job": "aort", "get-job-report": "aort", "cancel-job": "aot",
	"list-events": "aort", "stream-events": "aort",
	"list-webhooks": "aor", "get-webhook": "aor", "create-webhook": "ao", "update-webhook": "ao", "delete-webhook": "ao",
	"rotate-webhook-secret": "ao", "test-webhook": "ao", "list-dead-letters": "aor", "replay-dead-letters": "ao",
	"list-tokens": "a", "get-token": "a", "create-token": "a", "delete-token": "a", "get-own-token": "aort",
}

func TestRoles_EveryRoute(t *testing.T) {
	s := everything(t)
	all := operations(s)
	for id := range mayUse {
		if all[id] == "" {
			t.Errorf("there is no operation %s", id)
		}
	}
	for _, role := range shingle.TokenRoles {
		tenant := ""
		if role == shingle.RoleTenant {
			tenant = "acme"
		}
		them := s.as(role, tenant)
		for id, op := range all {
			who, ok := mayUse[id]
			if !ok {
				t.Fatalf("%s (%s) is new: say here and in roles.go who may use it", id, op)
			}
			method, path, _ := strings.Cut(op, " ")
			r := them.do(method, strings.NewReplacer("{host}", "a.example.com", "{id}", "none", "{day}", "2026-12-01").Replace(path), "")
			refused := r.StatusCode == http.StatusForbidden || r.StatusCode == 404 && strings.Contains(r.text, "nothing at this address")
			if may := strings.Contains(who, string(role)[:1]); may == refused {
				t.Errorf("%s as %s: %s %s", id, role, r.Status, r.text)
			}
			if role == shingle.RoleTenant && r.StatusCode == http.StatusForbidden {
				t.Errorf("%s tells a tenant that there is something: %s", id, r.text)
			}
			if method == "GET" {
				if head := them.do("HEAD", strings.NewReplacer("{host}", "a.example.com", "{id}", "none", "{day}", "2026-12-01").Replace(path), ""); head.StatusCode != r.StatusCode {
					t.Errorf("%s as %s: HEAD %s", id, role, head.Status)
				}
			}
		}
	}
}

func TestRoles_TenantSeesItsOwnAlone(t *testing.T) {
	certs := &shelf{}
	log := &diary{}
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Certificates, c.Checker, c.Events = certs, &lens{}, log })
	for i := range 9 {
		host, tenant := fmt.Sprintf("h%d.example.com", i), []string{"acme", "rival", ""}[i%3]
		s.want(201, s.do("POST", "/v1/domains", fmt.Sprintf(`{"host":%q,"tenant":%q}`, host, tenant)))
		certs.list = append(certs.list, shingle.Certificate{Host: host, Tenant: tenant, State: shingle.CertificateValid})
	}
	acme := s.as(shingle.RoleTenant, "acme")

	var hosts []string
	for d, err := range acme.client().Domains(t.Context()) {
		check(t, err)
		hosts = append(hosts, d.Host)
	}
	want := []string{"h0.example.com", "h3.example.com", "h6.example.com"}
	if !slices.Equal(hosts, want) {
		t.Errorf("domains %q", hosts)
	}
	hosts = nil
	for c, err := range acme.client().Certificates(t.Context()) {
		check(t, err)
		hosts = append(hosts, c.Host)
	}
	if !slices.Equal(hosts, want) {
		t.Errorf("certificates %q", hosts)
	}
	acme.want(200, acme.do("GET", "/v1/events", ""))
	same(t, log.asked, shingle.EventFilter{Tenant: "acme"})

	// Another's domain, and one that nobody has, answer alike.
	for _, op := range []struct{ method, path, body string }{
		{"GET", "/v1/domains/HOST", ""}, {"PATCH", "/v1/domains/HOST", `{}`}, {"DELETE", "/v1/domains/HOST", ""},
		{"POST", "/v1/domains/HOST/check", ""}, {"GET", "/v1/certificates/HOST", ""}, {"POST", "/v1/certificates/HOST/renew", ""},
		{"PUT", "/v1/certificates/HOST", `{"chain":"x","key":"x"}`},
	} {
		answer := func(host string) string {
			r := acme.want(404, acme.do(op.method, strings.ReplaceAll(op.path, "HOST", host), op.body))
			return strings.ReplaceAll(r.text, host, "HOST")
		}
		if others, none := answer("h1.example.com"), answer("h8x.example.com"); others != none {
			t.Errorf("%s %s:\n%s\n%s", op.method, op.path, others, none)
		}
	}
	s.want(200, s.do("GET", "/v1/domains/h1.example.com", ""))
}

func TestRoles_TenantDecidesLittle(t *testing.T) {
	s := open(t, &memory.Store{})
	acme := s.as(shingle.RoleTenant, "acme")
	d := acme.domain(acme.want(201, acme.do("POST", "/v1/domains", `{"host":"a.example.com","redirect":"www.example.com"}`)))
	if d.Tenant != "acme" || d.UpdatedBy != "tenantacme" {
		t.Errorf("made %+v", d)
	}
	for _, body := range []string{
		`{"host":"b.example.com","tenant":"rival"}`, `{"host":"b.example.com","origin":"http://eu.example.net"}`, `{"host":"b.example.com","paused":true}`,
	} {
		acme.want(403, acme.do("POST", "/v1/domains", body))
	}
	for _, body := range []string{`{"tenant":"rival"}`, `{"tenant":""}`, `{"origin":"http://eu.example.net"}`, `{"paused":true}`} {
		acme.want(403, acme.do("PATCH", "/v1/domains/a.example.com", body))
	}
	acme.want(200, acme.do("PATCH", "/v1/domains/a.example.com", `{"redirect":"","paused":false}`))

	// What the operator decided stays, and is not undone.
	s.want(200, s.do("PATCH", "/v1/domains/a.example.com", `{"paused":true,"origin":"eu.example.net"}`))
	acme.want(403, acme.do("PATCH", "/v1/domains/a.example.com", `{"paused":false}`))
	acme.want(200, acme.do("PATCH", "/v1/domains/a.example.com", `{"redirect":"www.example.com"}`))
	acme.want(409, acme.do("POST", "/v1/domains", `{"host":"a.example.com"}`))
	acme.want(403, acme.do("DELETE", "/v1/domains/a.example.com", ""))
	s.want(200, s.do("PATCH", "/v1/domains/a.example.com", `{"paused":false}`))
	acme.want(204, acme.do("DELETE", "/v1/domains/a.example.com", ""))
}

func TestTokens_Life(t *testing.T) {
	s := open(t, &memory.Store{})
	made, err := s.client().CreateToken(t.Context(), api.NewToken{Name: "ci", Role: "read", ExpiresAt: clock.Add(time.Hour)})
	check(t, err)
	if made.Token == "" || made.Role != "read" || !made.ExpiresAt.Equal(clock.Add(time.Hour)) {
		t.Errorf("made %+v", made)
	}
	if _, err := s.client().CreateToken(t.Context(), api.NewToken{Name: "ci", Role: "read"}); shingle.CodeOf(err) != shingle.CodeExists {
		t.Errorf("the name twice: %v", err)
	}
	ci := &site{t: t, url: s.url, token: made.Token, log: s.log}
	ci.want(200, ci.do("GET", "/v1/domains", ""))
	own, err := ci.client().OwnToken(t.Context())
	check(t, err)
	if own.Name != "ci" || own.Role != "read" || own.Token != "" {
		t.Errorf("its own token is %+v", own)
	}
	var names []string
	for tok, err := range s.client().Tokens(t.Context()) {
		check(t, err)
		if names = append(names, tok.Name); tok.Token != "" || tok.LastUsed.IsZero() {
			t.Errorf("listed %+v", tok)
		}
	}
	if slices.Sort(names); !slices.Equal(names, []string{"ci", "test"}) {
		t.Errorf("listed %q", names)
	}
	s.want(200, s.do("GET", "/v1/tokens/"+made.ID, ""))
	check(t, s.client().DeleteToken(t.Context(), made.ID))
	ci.want(401, ci.do("GET", "/v1/domains", ""))
	s.want(404, s.do("DELETE", "/v1/tokens/"+made.ID, ""))
	s.want(404, s.do("GET", "/v1/tokens/a%2Fb", ""))
	for _, body := range []string{
		`{"name":"a b","role":"read"}`, `{"name":"shingle","role":"read"}`, `{"name":"x","role":"root"}`, `{"name":"x","role":"tenant"}`,
		`{"name":"x","role":"read","tenant":"acme"}`, `{"name":"x","role":"read","expires_at":"2020-01-01T00:00:00Z"}`,
	} {
		s.want(422, s.do("POST", "/v1/tokens", body))
	}
	if strings.Contains(s.log.String(), made.Token) || strings.Contains(s.log.String(), s.token) {
		t.Error("the log holds a token")
	}
}
