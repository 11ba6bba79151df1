package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

type fixture struct {
	url    string
	token  string
	client *api.Client
}

func start(t *testing.T, edit ...func(*api.Config)) *fixture {
	t.Helper()
	store := &memory.Store{}
	keeper, text := newTokens(t, time.Now)
	cfg := api.Config{Store: store, Tokens: keeper, Version: "test", Now: time.Now}
	for _, f := range edit {
		f(&cfg)
	}
	h, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	f := &fixture{url: s.URL, token: text}
	if f.client, err = api.NewClient(s.URL, text); err != nil {
		t.Fatal(err)
	}
	return f
}

// do sends a request with the token and returns status, header and body.
func (f *fixture) do(t *testing.T, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, f.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+f.token)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestAPI_ClientGoesThroughADomainsLife(t *testing.T) {
	f := start(t)
	ctx := t.Context()
	d, err := f.client.CreateDomain(ctx, api.NewDomain{Host: "Bücher.example.com", Tenant: "acme"})
	if err != nil || d.Host != "xn--bcher-kva.example.com" || d.Unicode != "bücher.example.com" || d.Version != 1 {
		t.Fatalf("created %+v, %v", d, err)
	}
	if _, err := f.client.CreateDomain(ctx, api.NewDomain{Host: d.Host}); !errors.Is(err, shingle.ErrExists) {
		t.Errorf("again: %v", err)
	}
	paused, origin := true, "other.example.com"
	if d, err = f.client.UpdateDomain(ctx, "bücher.example.com", api.DomainPatch{Paused: &paused, Origin: &origin}); err != nil || !d.Paused || d.Origin != "https://other.example.com" || d.Tenant != "acme" || d.Version != 2 {
		t.Errorf("updated %+v, %v", d, err)
	}
	if got, err := f.client.Domain(ctx, d.Host); err != nil || got != d {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := f.client.DeleteDomain(ctx, d.Host); err != nil {
		t.Error(err)
	}
	if err := f.client.DeleteDomain(ctx, d.Host); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
}

func TestAPI_ListIsPaged(t *testing.T) {
	f := start(t)
	for _, h := range []string{"c.example.com", "a.example.com", "b.example.com"} {
		if _, err := f.client.CreateDomain(t.Context(), api.NewDomain{Host: h}); err != nil {
			t.Fatal(err)
		}
	}
	_, body := f.do(t, "GET", "/v1/domains?limit=2", "")
	var page api.DomainList
	if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.Domains) != 2 || page.Next == "" {
		t.Errorf("%s, %v", body, err)
	}
	_, body = f.do(t, "GET", "/v1/domains?limit=2&after="+page.Next, "")
	page = api.DomainList{}
	if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.Domains) != 1 || page.Next != "" {
		t.Errorf("%s, %v", body, err)
	}
	n := 0
	for _, err := range f.client.Domains(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 3 {
		t.Errorf("the client listed %d", n)
	}
}

func TestAPI_ListHasTheOrderThatCostsNothing(t *testing.T) {
	f := start(t)
	for query, want := range map[string]int{"sort=host": 200, "sort=": 200, "sort=-created": 200, "sort=-host": 422, "sort=updated": 422} {
		resp, body := f.do(t, "GET", "/v1/domains?"+query, "")
		if resp.StatusCode != want || want == 422 && !strings.Contains(body, "sorted by host, created") {
			t.Errorf("%s: %s %s", query, resp.Status, body)
		}
	}
}

func TestAPI_ErrorsAreProblems(t *testing.T) {
	f := start(t)
	if _, err := f.client.CreateDomain(t.Context(), api.NewDomain{Host: "a.example.com"}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
		header             []string
	}{
		{"GET", "/v1/domains", "", 401, "urn:shingle:problem:unauthorized", []string{"Authorization", ""}},
		{"GET", "/v1/domains", "", 401, "not known", []string{"Authorization", "Bearer shingle_abc_def"}},
		{"GET", "/v1/domains/none.example.com", "", 404, "none.example.com is not set up", nil},
		{"GET", "/nothing", "", 404, "urn:shingle:problem:not_found", nil},
		{"POST", "/v1/domains", `{"host":"localhost"}`, 422, "single label", nil},
		{"POST", "/v1/domains", `{"host":"b.example.com","origin":"ftp://x"}`, 422, "body.origin", nil},
		{"POST", "/v1/domains", `{"host":"a.example.com"}`, 409, "exists already", nil},
		{"POST", "/v1/domains", `{"host":"b.example.com","colour":"red"}`, 422, "colour", nil},
		{"POST", "/v1/domains", `{"host":`, 400, "", nil},
		{"POST", "/v1/domains", `{"host":"` + strings.Repeat("a", 70<<10) + `"}`, 413, "", nil},
		{"PATCH", "/v1/domains/a.example.com", `{"paused":true}`, 412, "changed in the meantime", []string{"If-Match", `"9"`}},
		{"PATCH", "/v1/domains/a.example.com", `{"redirect":"a.example.com"}`, 422, "itself", nil},
	} {
		resp, body := f.do(t, tt.method, tt.path, tt.body, tt.header...)
		if resp.StatusCode != tt.status || !strings.Contains(body, tt.want) || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s %.60s: %d %s %s, want %d with %q", tt.method, tt.path, tt.body, resp.StatusCode, resp.Header.Get("Content-Type"), body, tt.status, tt.want)
		}
		if strings.Contains(body, f.token) {
			t.Error("an answer holds the token")
		}
	}
	resp, _ := f.do(t, "GET", "/v1/domains/a.example.com", "")
	tag := resp.Header.Get("ETag")
	if resp, _ = f.do(t, "PATCH", "/v1/domains/a.example.com", `{"paused":true}`, "If-Match", tag); resp.StatusCode != 200 || resp.Header.Get("ETag") == tag {
		t.Errorf("a matching If-Match: %d, ETag %s and then %s", resp.StatusCode, tag, resp.Header.Get("ETag"))
	}
}

// brokenStore fails with something that must not be shown.
type brokenStore struct{ shingle.DomainStore }

func (brokenStore) Domains(context.Context, string, int) ([]shingle.Domain, error) {
	return nil, errors.New("secret detail")
}

func (brokenStore) Domain(context.Context, string) (shingle.Domain, error) {
	return shingle.Domain{}, errors.New("secret detail")
}

func TestAPI_StoreFailureGivesNothingAway(t *testing.T) {
	f := start(t, func(c *api.Config) { c.Store = brokenStore{} })
	for path, want := range map[string]int{"/v1/domains": 500, "/ask?domain=a.example.com": 503} {
		resp, body := f.do(t, "GET", path, "")
		if resp.StatusCode != want || strings.Contains(body, "secret") {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
}

func TestAPI_Ask(t *testing.T) {
	f := start(t, func(c *api.Config) { c.AskToken = "s3cret" })
	for _, d := range []api.NewDomain{{Host: "a.example.com"}, {Host: "p.example.com", Paused: true}} {
		if _, err := f.client.CreateDomain(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string]int{
		"domain=a.example.com&token=s3cret": 200, "domain=A.example.com.&token=s3cret": 200, "domain=p.example.com&token=s3cret": 404,
		"domain=n.example.com&token=s3cret": 404, "domain=1.2.3.4&token=s3cret": 400, "token=s3cret": 400,
		"domain=a.example.com": 403, "domain=a.example.com&token=other": 403,
	} {
		if resp, _ := f.do(t, "GET", "/ask?"+query, "", "Authorization", ""); resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", query, resp.StatusCode, want)
		}
	}
}

func TestAPI_DocumentNeedsNoToken(t *testing.T) {
	f := start(t)
	resp, body := f.do(t, "GET", "/openapi.json", "", "Authorization", "")
	var doc struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]any
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil || resp.StatusCode != 200 || doc.OpenAPI != "3.1.0" || doc.Paths["/v1/domains/{host}"] == nil {
		t.Errorf("%d %v %+v", resp.StatusCode, err, doc)
	}
}
