package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

const hostnamesPath = "/client/v4/zones/" + zone + "/custom_hostnames"

// envelope is what every answer of Cloudflare's form has.
type envelope struct {
	Success *bool
	Errors  []struct {
		Code    int
		Message string
		Source  struct{ Pointer string }
	}
	Messages []struct{ Message string }
	Result   json.RawMessage
	Info     struct {
		Page       int
		Count      int
		TotalCount int `json:"total_count"`
		TotalPages int `json:"total_pages"`
	} `json:"result_info"`
}

// enveloped reads an answer, and fails unless it has Cloudflare's form.
func enveloped(t *testing.T, r reply) (e envelope) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.text), &e); err != nil || e.Success == nil || e.Errors == nil || e.Messages == nil || r.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("not Cloudflare's form: %s %s", r.Status, r.text)
	}
	if *e.Success != (r.StatusCode < 300) || *e.Success != (len(e.Errors) == 0) {
		t.Errorf("%s with %s", r.Status, r.text)
	}
	return e
}

// TestCloudflare_SaysWhatItDoesNotTake refuses each field that would be without effect.
func TestCloudflare_SaysWhatItDoesNotTake(t *testing.T) {
	s := moved(t)
	ssl := func(member string) string { return `{"hostname":"a.customer.com","ssl":{` + member + `}}` }
	for body, want := range map[string]string{
		`{`:                        "1400",
		`[]`:                       "1400",
		`{}`:                       "1407 /hostname",
		`{"hostname":7}`:           "1407 /hostname",
		`{"hostname":"192.0.2.1"}`: "1407 /hostname",
		`{"hostname":"a.customer.com","plan":"pro"}`:                                                               "99001 /plan",
		`{"hostname":"a.customer.com","custom_metadata":[1]}`:                                                      "1401 /custom_metadata",
		`{"hostname":"a.customer.com","custom_metadata":{"a":"` + strings.Repeat("x", 5000) + `"}}`:                "1401 /custom_metadata",
		`{"hostname":"a.customer.com","custom_origin_server":"ftp://x"}`:                                           "1415 /custom_origin_server",
		`{"hostname":"a.customer.com","custom_origin_server":"127.0.0.1"}`:                                         "1415 /custom_origin_server",
		`{"hostname":"a.customer.com","custom_origin_sni":":request_host_header:"}`:                                "99001 /custom_origin_sni",
		`{"hostname":"a.customer.com","custom_origin_server":"x.example.net","custom_origin_sni":"y.example.net"}`: "99001 /custom_origin_sni",
		`{"hostname":"a.customer.com","ssl":null}`:                                                                 "99001 /ssl",
		`{"hostname":"a.customer.com","ssl":"on"}`:                                                                 "1434 /ssl",
		ssl(`"method":"email"`):                           "99001 /ssl/method",
		ssl(`"method":"txt"`):                             "99001 /ssl/method",
		ssl(`"method":"post"`):                            "1432 /ssl/method",
		ssl(`"type":"ov"`):                                "1433 /ssl/type",
		ssl(`"wildcard":true`):                            "99001 /ssl/wildcard",
		ssl(`"bundle_method":"force"`):                    "99001 /ssl/bundle_method",
		ssl(`"bundle_method":"best"`):                     "1449 /ssl/bundle_method",
		ssl(`"certificate_authority":"google"`):           "99001 /ssl/certificate_authority",
		ssl(`"cloudflare_branding":true`):                 "99001 /ssl/cloudflare_branding",
		ssl(`"custom_csr_id":"7"`):                        "99001 /ssl/custom_csr_id",
		ssl(`"custom_certificate":"x"`):                   "1428 /ssl/custom_key",
		ssl(`"custom_key":"x"`):                           "1426 /ssl/custom_certificate",
		ssl(`"custom_cert_bundle":[{},{}]`):               "99001 /ssl/custom_cert_bundle",
		ssl(`"colour":"red"`):                             "99001 /ssl/colour",
		ssl(`"settings":{"http2":"off"}`):                 "99001 /ssl/settings/http2",
		ssl(`"settings":{"http2":"maybe"}`):               "1422 /ssl/settings/http2",
		ssl(`"settings":{"http3":"maybe"}`):               "1434 /ssl/settings/http3",
		ssl(`"settings":{"tls_1_3":"off"}`):               "99001 /ssl/settings/tls_1_3",
		ssl(`"settings":{"min_tls_version":"1.0"}`):       "99001 /ssl/settings/min_tls_version",
		ssl(`"settings":{"min_tls_version":"2"}`):         "1425 /ssl/settings/min_tls_version",
		ssl(`"settings":{"ciphers":["AES128"]}`):          "99001 /ssl/settings/ciphers",
		ssl(`"settings":{"early_hints":"on"}`):            "99001 /ssl/settings/early_hints",
		ssl(`"settings":{"http2":"off","tls_1_3":"off"}`): "99001 /ssl/settings/http2, 99001 /ssl/settings/tls_1_3",
	} {
		r := s.do("POST", hostnamesPath, body)
		var got []string
		for _, e := range enveloped(t, r).Errors {
			got = append(got, strings.TrimSpace(fmt.Sprint(e.Code, " ", e.Source.Pointer)))
			if _, field, ok := strings.Cut(want, " /"); ok && e.Code == 99001 && !strings.Contains(want, ",") && !strings.HasPrefix(e.Message, strings.ReplaceAll(field, "/", ".")+": ") {
				t.Errorf("%s does not name the field: %s", body, e.Message)
			}
		}
		if r.StatusCode != http.StatusBadRequest || strings.Join(got, ", ") != want {
			t.Errorf("%.120s: %s %v, want %s", body, r.Status, got, want)
		}
	}
	for query, want := range map[string]string{
		"colour=red": "99001 ?colour", "order=ssl": "99001 ?order", "direction=desc": "99001 ?direction", "page=0": "1400 ?page", "page=x": "1400 ?page",
		"per_page=51": "1400 ?per_page", "hostname_status=tired": "1400 ?hostname_status", "ssl_status=tired": "1400 ?ssl_status", "wildcard=1": "1400 ?wildcard",
		"certificate_authority=google": "99001 ?certificate_authority", "hostname=a..b": "1407 ?hostname", "id=x&hostname=a.customer.com": "1438 ?hostname",
		"page=1&page=2": "1400 ?page", "custom_origin_server=ftp://x": "1415 ?custom_origin_server", "ssl=2": "1400 ?ssl",
	} {
		r := s.do("GET", hostnamesPath+"?"+query, "")
		if e := enveloped(t, r).Errors; r.StatusCode != http.StatusBadRequest || fmt.Sprint(e[0].Code, " ", e[0].Source.Pointer) != want {
			t.Errorf("%s: %s %s, want %s", query, r.Status, r.text, want)
		}
	}
	if d := s.do("GET", "/v1/domains", ""); strings.Contains(d.text, "customer.com") {
		t.Errorf("something was created: %s", d.text)
	}
}

// TestCloudflare_TakesWhatAnOlderClientSends sends what Cloudflare's SDK of before
// version 2 does: empty objects for what is not set, and what it received.
func TestCloudflare_TakesWhatAnOlderClientSends(t *testing.T) {
	s := moved(t)
	const rest = `,"ownership_verification":{},"ownership_verification_http":{}}`
	enveloped(t, s.want(201, s.do("POST", hostnamesPath, `{"hostname":"a.customer.com","ssl":{"method":"http","type":"dv","wildcard":false,"bundle_method":"ubiquitous","settings":{}}`+rest)))
	id := "a.customer.com"
	got := enveloped(t, s.want(200, s.do("GET", hostnamesPath+"/"+id, "")))
	back := enveloped(t, s.want(202, s.do("PATCH", hostnamesPath+"/"+id, string(got.Result))))
	if string(back.Result) != string(got.Result) {
		t.Errorf("sent back, it became %s\n%s", back.Result, got.Result)
	}
	r := s.do("PATCH", hostnamesPath+"/"+id, `{"hostname":"b.customer.com"}`)
	if e := enveloped(t, r).Errors; r.StatusCode != http.StatusConflict || e[0].Code != 1439 {
		t.Errorf("renamed: %s", r.text)
	}
	enveloped(t, s.want(202, s.do("PATCH", hostnamesPath+"/"+id, `{"custom_origin_server":"x.example.net","custom_origin_sni":"x.example.net","custom_metadata":{"n":7}}`)))
	last := enveloped(t, s.want(202, s.do("PATCH", hostnamesPath+"/"+id, `{"custom_origin_server":null,"custom_metadata":null,"ssl":{"settings":{"min_tls_version":"1.2","http3":"off"}}}`)))
	if strings.Contains(string(last.Result), "custom_origin") || strings.Contains(string(last.Result), "custom_metadata") {
		t.Errorf("null did not end it: %s", last.Result)
	}
	if d, err := s.client().Domain(t.Context(), "a.customer.com"); err != nil || !strings.Contains(string(d.Settings), `"http3":"off"`) || !strings.Contains(string(last.Result), `"http3":"off"`) {
		t.Errorf("HTTP/3 is not off: %+v, %v, %s", d, err, last.Result)
	}
}

// TestCloudflare_ErrorsHaveItsForm gives no client of Cloudflare's a problem of ours.
func TestCloudflare_ErrorsHaveItsForm(t *testing.T) {
	s := moved(t, func(c *api.Config) { c.RateLimit = 4 })
	for _, tt := range []struct {
		method, path, body string
		status, code       int
		header             []string
	}{
		{"GET", hostnamesPath, "", 401, 10000, []string{"Authorization", ""}},
		{"GET", hostnamesPath, "", 401, 10000, []string{"Authorization", "", "X-Auth-Email", "a@example.com", "X-Auth-Key", "144c9defac04969c7bfad8efaa8ea194"}},
		{"GET", hostnamesPath, "", 401, 10000, []string{"Authorization", "Bearer shingle_abcdefghij_x"}},
		{"GET", strings.Replace(hostnamesPath, zone, "other", 1), "", 404, 7003, nil},
		{"PUT", hostnamesPath, "{}", 405, 7001, nil},
		{"GET", "/client/v4/zones", "", 404, 7000, nil},
		{"GET", hostnamesPath + "/none.customer.com", "", 404, 1436, nil},
		{"GET", hostnamesPath + "/0d89c70d-ad9f-4843-b99f-6cc0252067e9", "", 404, 1436, nil},
		{"GET", hostnamesPath + "/a..b", "", 404, 1436, nil},
		{"DELETE", hostnamesPath + "/none.customer.com", "", 404, 1436, nil},
		{"POST", hostnamesPath, `{"hostname":"` + strings.Repeat("a", 70<<10) + `"}`, 413, 1400, nil},
		{"POST", hostnamesPath, `{"hostname":"a.customer.com"}`, 400, 1400, []string{"Idempotency-Key", "two words"}},
	} {
		r := s.do(tt.method, tt.path, tt.body, tt.header...)
		if e := enveloped(t, r).Errors; r.StatusCode != tt.status || e[0].Code != tt.code {
			t.Errorf("%s %s: %s %s, want %d with %d", tt.method, tt.path, r.Status, r.text, tt.status, tt.code)
		}
	}
	if r := s.do("GET", hostnamesPath, "", "Authorization", "", "X-Auth-Key", "144c9defac04969c7bfad8efaa8ea194"); !strings.Contains(r.text, "keys of Cloudflare's") || strings.Contains(r.text, "144c9") {
		t.Errorf("a key of Cloudflare's: %s", r.text)
	}
	for range 60 {
		if r := s.do("GET", hostnamesPath, ""); r.StatusCode != 200 {
			if e := enveloped(t, r).Errors; r.StatusCode != 429 || e[0].Code != 971 || r.Header.Get("Retry-After") == "" {
				t.Errorf("too many: %s", r.text)
			}
			return
		}
	}
	t.Error("no limit")
}

// TestCloudflare_Off has none of it unless it is set up.
func TestCloudflare_Off(t *testing.T) {
	s := open(t, &memory.Store{})
	if r := s.do("GET", hostnamesPath, ""); r.StatusCode != 404 || r.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s %s", r.Status, r.text)
	}
}

// TestCloudflare_Roles has the same roles as /v1.
func TestCloudflare_Roles(t *testing.T) {
	s := moved(t)
	check(t, func() error {
		_, err := s.client().CreateDomain(t.Context(), api.NewDomain{Host: "rival.customer.com", Tenant: "rival"})
		return err
	}())
	them := map[shingle.TokenRole]*site{}
	for _, role := range shingle.TokenRoles {
		owner := ""
		if role == shingle.RoleTenant {
			owner = "acme"
		}
		them[role] = s.as(role, owner)
	}
	tenant := them[shingle.RoleTenant]
	for _, tt := range []struct{ method, path, body, who string }{
		{"GET", "", "", "aort"}, {"POST", "", `{"hostname":"%s.customer.com"}`, "aot"}, {"GET", "/%s.customer.com", "", "aort"},
		{"PATCH", "/%s.customer.com", "{}", "aot"}, {"DELETE", "/%s.customer.com", "", "aot"},
		{"GET", "/fallback_origin", "", "aor"}, {"PUT", "/fallback_origin", `{"origin":"app.example.net"}`, "ao"}, {"DELETE", "/fallback_origin", "", "ao"},
	} {
		for _, role := range shingle.TokenRoles {
			fill := strings.NewReplacer("%s", string(role))
			r := them[role].do(tt.method, hostnamesPath+fill.Replace(tt.path), fill.Replace(tt.body))
			refused := r.StatusCode == 403 || r.StatusCode == 404 && strings.Contains(r.text, "7000")
			if may := strings.Contains(tt.who, string(role)[:1]); may == refused {
				t.Errorf("%s %s as %s: %s %s", tt.method, tt.path, role, r.Status, r.text)
			}
			enveloped(t, r)
		}
	}
	for _, r := range []reply{tenant.do("GET", hostnamesPath+"/rival.customer.com", ""), tenant.do("PATCH", hostnamesPath+"/rival.customer.com", "{}"), tenant.do("DELETE", hostnamesPath+"/rival.customer.com", "")} {
		if r.StatusCode != 404 || enveloped(t, r).Errors[0].Code != 1436 {
			t.Errorf("another tenant's: %s %s", r.Status, r.text)
		}
	}
	if r := tenant.do("GET", hostnamesPath, ""); strings.Contains(r.text, "rival") {
		t.Errorf("a tenant sees %s", r.text)
	}
	tenant.do("POST", hostnamesPath, `{"hostname":"mine.customer.com"}`)
	if r := tenant.do("PATCH", hostnamesPath+"/mine.customer.com", `{"custom_origin_server":"x.example.net"}`); r.StatusCode != 403 || enveloped(t, r).Errors[0].Code != 9109 {
		t.Errorf("a tenant sets an origin: %s %s", r.Status, r.text)
	}
}

// TestCloudflare_Statuses is the table of docs/cloudflare.md.
func TestCloudflare_Statuses(t *testing.T) {
	eye, certs := &watch{}, &shelf{}
	s := moved(t, func(c *api.Config) { c.Statuses, c.Certificates = eye, certs })
	s.want(201, s.do("POST", hostnamesPath, `{"hostname":"a.customer.com"}`))
	valid := shingle.Certificate{State: shingle.CertificateValid, NotBefore: clock.Add(-time.Hour), NotAfter: clock.Add(time.Hour)}
	failing := func(state shingle.CertificateState, who string) shingle.Certificate {
		return shingle.Certificate{State: state, Failed: &shingle.CertificateFailure{Message: "It failed", Who: who}}
	}
	none := shingle.Certificate{}
	for _, tt := range []struct {
		state        shingle.State
		cert         shingle.Certificate
		status, want string
	}{
		{"", none, "pending", "initializing"},
		{"", valid, "active", "active"},
		{shingle.StatePending, none, "pending", "pending_validation"},
		{shingle.StatePending, valid, "pending", "active"},
		{shingle.StatePending, failing(shingle.CertificateStopped, shingle.WhoCustomer), "pending", "validation_timed_out"},
		{shingle.StateVerifying, none, "pending", "pending_validation"},
		{shingle.StateVerifying, failing(shingle.CertificateFailing, shingle.WhoCA), "pending", "pending_validation"},
		{shingle.StateIssuing, none, "pending", "pending_issuance"},
		{shingle.StateIssuing, shingle.Certificate{State: shingle.CertificateWaiting}, "pending", "pending_issuance"},
		{shingle.StateIssuing, failing(shingle.CertificateFailing, shingle.WhoCustomer), "pending", "pending_validation"},
		{shingle.StateIssuing, failing(shingle.CertificateFailing, shingle.WhoCA), "pending", "pending_issuance"},
		{shingle.StateIssuing, failing(shingle.CertificateStopped, shingle.WhoOperator), "pending", "issuance_timed_out"},
		{shingle.StateIssuing, shingle.Certificate{State: shingle.CertificateWaiting, NotAfter: clock}, "pending", "expired"},
		{shingle.StateActive, valid, "active", "active"},
		{shingle.StateDrifting, valid, "active", "active"},
		{shingle.StatePaused, none, "moved", "pending_validation"},
		{shingle.StateBlocked, valid, "blocked", "active"}, // the flag paused decides, and is not set here
	} {
		eye.status = shingle.Status{State: tt.state, Who: shingle.WhoCustomer, Message: "Do something."}
		if tt.state != "" {
			eye.status.Host = "a.customer.com"
		}
		certs.list = nil
		if tt.cert.State != "" {
			tt.cert.Host = "a.customer.com"
			certs.list = []shingle.Certificate{tt.cert}
		}
		var h struct {
			Status string
			SSL    struct {
				Status           string
				ValidationErrors []struct{ Message string } `json:"validation_errors"`
			}
			VerificationErrors    []string `json:"verification_errors"`
			OwnershipVerification any      `json:"ownership_verification"`
		}
		check(t, json.Unmarshal(enveloped(t, s.do("GET", hostnamesPath+"/a.customer.com", "")).Result, &h))
		if h.Status != tt.status || h.SSL.Status != tt.want {
			t.Errorf("%q with %+v: %s and %s, want %s and %s", tt.state, tt.cert, h.Status, h.SSL.Status, tt.status, tt.want)
		}
		if (len(h.VerificationErrors) > 0) != (tt.state != "") || (len(h.SSL.ValidationErrors) > 0) != (tt.cert.Failed != nil) || (h.OwnershipVerification == nil) != (h.Status == "active") {
			t.Errorf("%q with %+v: %+v", tt.state, tt.cert, h)
		}
	}
	paused := true
	_, err := s.client().UpdateDomain(t.Context(), "a.customer.com", api.DomainPatch{Paused: &paused})
	check(t, err)
	if r := s.do("GET", hostnamesPath+"/a.customer.com", ""); !strings.Contains(r.text, `"status":"blocked"`) || !strings.Contains(r.text, `"status":"inactive"`) {
		t.Errorf("blocked: %s", r.text)
	}
}

// TestCloudflare_KeepsIDs finds domains by the IDs that Cloudflare gave them.
func TestCloudflare_KeepsIDs(t *testing.T) {
	s := moved(t)
	const id = "0d89c70d-ad9f-4843-b99f-6cc0252067e9"
	client := s.client()
	_, err := client.CreateDomain(t.Context(), api.NewDomain{Host: "a.customer.com", Settings: api.Settings(`{"cloudflare_id":"` + id + `"}`)})
	check(t, err)
	for _, path := range []string{"/" + id, "?id=" + id, "/a.customer.com", "?hostname=a.customer.com"} {
		if r := s.want(200, s.do("GET", hostnamesPath+path, "")); !strings.Contains(r.text, `"id":"`+id+`","hostname":"a.customer.com"`) {
			t.Errorf("%s: %s", path, r.text)
		}
	}
	_, err = client.CreateDomain(t.Context(), api.NewDomain{Host: "b.customer.com", Settings: api.Settings(`{"cloudflare_id":"` + id + `"}`)})
	if !errors.Is(err, shingle.ErrInvalid) {
		t.Errorf("two domains with one ID: %v", err)
	}
	patch := api.SettingsPatch(`{"cloudflare_id":"another-id"}`)
	_, err = client.UpdateDomain(t.Context(), "a.customer.com", api.DomainPatch{Settings: &patch})
	check(t, err)
	if r := s.do("GET", hostnamesPath+"/"+id, ""); r.StatusCode != 404 {
		t.Errorf("by the ID of before: %s", r.text)
	}
	_, err = client.CreateDomain(t.Context(), api.NewDomain{Host: "b.customer.com", Settings: api.Settings(`{"cloudflare_id":"` + id + `"}`)})
	check(t, err)
	if r := s.do("GET", hostnamesPath+"/"+id, ""); !strings.Contains(r.text, "b.customer.com") {
		t.Errorf("the ID's next domain: %s", r.text)
	}
}

// TestCloudflare_OwnCertificate uploads a certificate with a hostname, and leaves
// nothing behind when that is refused.
func TestCloudflare_OwnCertificate(t *testing.T) {
	eye, certs := &lens{}, &shelf{}
	s := moved(t, func(c *api.Config) { c.Certificates, c.Checker = certs, eye })
	body := `{"hostname":"a.customer.com","ssl":{"custom_certificate":"chain","custom_key":"key"}}`
	certs.list = []shingle.Certificate{{Host: "a.customer.com", State: shingle.CertificateValid, NotAfter: clock.Add(time.Hour)}}
	r := s.do("POST", hostnamesPath, body)
	if e := enveloped(t, r).Errors; r.StatusCode != 400 || e[0].Code != 1428 || e[0].Source.Pointer != "/ssl/custom_key" {
		t.Errorf("a bad key: %s", r.text)
	}
	if r := s.do("GET", "/v1/domains/a.customer.com", ""); r.StatusCode != 404 {
		t.Errorf("the hostname stayed: %s", r.text)
	}
	s.want(201, s.do("POST", hostnamesPath, strings.Replace(body, `"key"`, `"PRIVATE KEY"`, 1)))
	if n := len(certs.uploads); n == 0 || certs.uploads[n-1].Chain != "chain" || !certs.uploads[n-1].Keep {
		t.Errorf("uploaded %d", n)
	}
	if !slices.Equal(eye.soon, []string{"a.customer.com"}) {
		t.Errorf("checked soon: %v", eye.soon)
	}
}

// TestCloudflare_EditBeginsAgain has attempts begun again, and costs a valid
// certificate nothing.
func TestCloudflare_EditBeginsAgain(t *testing.T) {
	eye, certs := &lens{}, &shelf{}
	s := moved(t, func(c *api.Config) { c.Certificates, c.Checker = certs, eye })
	s.want(201, s.do("POST", hostnamesPath, `{"hostname":"a.customer.com"}`))
	certs.list = []shingle.Certificate{{Host: "a.customer.com", State: shingle.CertificateStopped}}
	s.want(202, s.do("PATCH", hostnamesPath+"/a.customer.com", `{"custom_metadata":{}}`))
	if certs.renewed != nil || eye.soon != nil {
		t.Errorf("without ssl: %v, %v", certs.renewed, eye.soon)
	}
	s.want(202, s.do("PATCH", hostnamesPath+"/a.customer.com", `{"ssl":{"method":"http","type":"dv"}}`))
	certs.list[0].State = shingle.CertificateValid
	s.want(202, s.do("PATCH", hostnamesPath+"/a.customer.com", `{"ssl":{"method":"http","type":"dv"}}`))
	if !slices.Equal(certs.renewed, []string{"a.customer.com"}) || len(eye.soon) != 2 {
		t.Errorf("with ssl: %v, %v", certs.renewed, eye.soon)
	}
}

// countingStore counts the rows that are read.
type countingStore struct {
	shingle.DomainStore
	rows int
}

func (c *countingStore) FindDomains(ctx context.Context, q shingle.DomainQuery) ([]shingle.Domain, error) {
	list, err := c.DomainStore.FindDomains(ctx, q)
	c.rows += len(list)
	return list, err
}

// TestCloudflare_PagesCostWhatTheyShow goes through a long list page by page, and does
// not pass over what was before each page.
func TestCloudflare_PagesCostWhatTheyShow(t *testing.T) {
	store := &countingStore{DomainStore: &memory.Store{}}
	s := moved(t, func(c *api.Config) { c.Store = store })
	const n = 4000
	for i := range n {
		_, err := store.CreateDomain(t.Context(), shingle.Domain{Host: fmt.Sprintf("h%04d.customer.com", i)}, clock)
		check(t, err)
	}
	seen, pages := 0, 0
	for page, last := 1, 1; page <= last; page++ {
		e := enveloped(t, s.want(200, s.do("GET", fmt.Sprintf("%s?per_page=50&page=%d", hostnamesPath, page), "")))
		if e.Info.TotalCount != n || e.Info.TotalPages != n/50 || e.Info.Page != page || e.Info.Count != 50 {
			t.Fatalf("page %d: %+v", page, e.Info)
		}
		seen, pages, last = seen+e.Info.Count, pages+1, e.Info.TotalPages
	}
	if seen != n || store.rows > n+pages*100+1000 {
		t.Errorf("%d hostnames in %d pages, %d rows read", seen, pages, store.rows)
	}
	if e := enveloped(t, s.do("GET", hostnamesPath+"?per_page=50&page=81", "")); e.Info.Count != 0 || e.Info.TotalPages != 80 || string(e.Result) != "[]" {
		t.Errorf("behind the last page: %+v %s", e.Info, e.Result)
	}
	if e := enveloped(t, s.do("GET", hostnamesPath+"?per_page=50&page=900", "")); e.Info.Count != 0 || e.Info.TotalPages != 80 {
		t.Errorf("far behind the last page: %+v", e.Info)
	}
}

// TestCloudflare_FarPagesAreBounded says so, and does not read a million rows, when
// somebody asks for a page far away.
func TestCloudflare_FarPagesAreBounded(t *testing.T) {
	store := &countingStore{DomainStore: endless{&memory.Store{}}}
	s := moved(t, func(c *api.Config) { c.Store = store })
	e := enveloped(t, s.want(200, s.do("GET", hostnamesPath, "")))
	if e.Info.Count != 20 || e.Info.TotalPages < 2 || len(e.Messages) != 1 {
		t.Errorf("the first page: %+v %v", e.Info, e.Messages)
	}
	r := s.do("GET", hostnamesPath+"?page=100000", "")
	if e := enveloped(t, r); r.StatusCode != 400 || e.Errors[0].Source.Pointer != "?page" {
		t.Errorf("a page far away: %s", r.text)
	}
	if r := s.do("GET", hostnamesPath+"?hostname_status=active", ""); r.StatusCode != 400 {
		t.Errorf("a filter that nothing passes: %s", r.text)
	}
	if store.rows > 100_000 {
		t.Errorf("%d rows were read", store.rows)
	}
}

// endless is a store with more domains than anybody reads.
type endless struct{ shingle.DomainStore }

func (endless) FindDomains(_ context.Context, q shingle.DomainQuery) (list []shingle.Domain, _ error) {
	n := 0
	if q.After.Host != "" {
		_, _ = fmt.Sscanf(q.After.Host, "h%d.customer.com", &n)
	}
	for range q.Limit {
		n++
		list = append(list, shingle.Domain{Host: fmt.Sprintf("h%09d.customer.com", n), CreatedAt: clock, Version: 1})
	}
	return list, nil
}

// FuzzCloudflare sends any bodies and queries: no fault of ours, and always
// Cloudflare's form.
func FuzzCloudflare(f *testing.F) {
	for _, seed := range []string{
		`{"hostname":"a.customer.com","custom_metadata":{"a":"b"},"custom_origin_server":"x.example.net","ssl":{"method":"http","type":"dv","settings":{"min_tls_version":"1.2","ciphers":[]}}}`,
		`{"hostname":"*.customer.com","ssl":{"wildcard":true,"custom_cert_bundle":[{"custom_certificate":"a","custom_key":"b"}]}}`,
		`{"hostname":null,"ssl":{"settings":null}}`, `null`, `{"custom_metadata":{"a":1e999}}`, `{"ssl":{"ssl":{}}}`, "page=2&per_page=5&hostname.contain=a", "id=%00", "hostname=*",
	} {
		f.Add(seed)
	}
	keeper, token := newTokens(f, time.Now)
	h, err := api.New(api.Config{
		Store: &memory.Store{}, Tokens: keeper, Blobs: &memory.Store{}, CloudflareZone: zone, Certificates: &shelf{}, Checker: &lens{}, Statuses: &watch{},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, input string) {
		for _, try := range []struct{ method, path, query, body string }{
			{"POST", hostnamesPath, "", input}, {"PATCH", hostnamesPath + "/a.customer.com", "", input},
			{"PUT", hostnamesPath + "/fallback_origin", "", input}, {"GET", hostnamesPath, input, ""}, {"DELETE", hostnamesPath + "/a.customer.com", input, ""},
		} {
			w := serve(h, try.method, try.path, try.query, try.body, token)
			var e envelope
			if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Success == nil || w.Code >= 500 || *e.Success != (w.Code < 300) {
				t.Errorf("%s %s?%q %q: %d %s", try.method, try.path, try.query, try.body, w.Code, w.Body)
			}
		}
	})
}
