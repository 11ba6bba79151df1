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
	"github.com/shingle-proxy/shingle/internal/storetest"
	"github.com/shingle-proxy/shingle/internal/tokens"
)

// faulty fails as told, behind a token that works.
type faulty struct {
	memory.Store
	fail error // nil: panic
}

const secretDetail = "dial 10.0.0.7: no route"

func (f *faulty) act() error {
	if f.fail == nil {
		panic(secretDetail)
	}
	return f.fail
}

func (f *faulty) Domain(context.Context, string) (d shingle.Domain, err error) { return d, f.act() }

func (f *faulty) FindDomains(context.Context, shingle.DomainQuery) ([]shingle.Domain, error) {
	return nil, f.act()
}

func (f *faulty) CreateDomain(context.Context, shingle.Domain, time.Time) (d shingle.Domain, err error) {
	return d, f.act()
}

func (f *faulty) DeleteDomain(context.Context, string, int64, string, time.Time) error {
	return f.act()
}

// wrong is a request that must be answered by a problem.
type wrong struct {
	name, method, path, body string
	header                   []string
	status                   int
	code                     shingle.Code
	detail                   string // part of it
	location                 string // of the first field at fault
	op                       string // where the OpenAPI document must mention it; empty: nowhere
}

const (
	collection = "/v1/domains"
	item       = "/v1/domains/{host}"
	there      = "/v1/domains/there.example.com"
	gone       = "/v1/domains/gone.example.com"
)

func wrongs() []wrong {
	large := `{"host":"` + strings.Repeat("a", 65<<10) + `"}`
	list := []wrong{
		{name: "unknown route", method: "GET", path: "/nowhere", status: 404, code: "not_found", detail: "nothing at this address"},
		{name: "unknown route, no token", method: "GET", path: "/nowhere", header: []string{"Authorization", ""}, status: 404, code: "not_found"},
		{name: "unknown route below v1", method: "GET", path: "/v1/nowhere", status: 404, code: "not_found"},
		{name: "method of the collection", method: "PUT", path: collection, status: 405, code: "invalid", detail: "GET, HEAD, POST"},
		{name: "method of an item", method: "POST", path: there, status: 405, code: "invalid", detail: "DELETE, GET, HEAD, PATCH"},
		{name: "method of ask", method: "POST", path: "/ask", status: 405, code: "invalid", detail: "GET, HEAD"},
		{name: "no such shape of token", method: "GET", path: collection, header: []string{"Authorization", "Bearer x"}, status: 401, code: "unauthorized", detail: "Bearer shingle_"},
		{name: "unknown token", method: "GET", path: collection, header: []string{"Authorization", "Bearer shingle_a_b"}, status: 401, code: "unauthorized", detail: "not known"},
		{name: "basic", method: "GET", path: collection, header: []string{"Authorization", "Basic eDp5"}, status: 401, code: "unauthorized"},

		{name: "exists", method: "POST", path: collection, body: `{"host":"THERE.example.com"}`, status: 409, code: "exists", detail: "there.example.com exists already", op: "POST " + collection},
		{name: "host", method: "POST", path: collection, body: `{"host":"192.0.2.1"}`, status: 422, code: "invalid", detail: "host: an IP address", location: "body.host", op: "POST " + collection},
		{name: "origin", method: "POST", path: collection, body: `{"host":"a.example.com","origin":"ftp://x"}`, status: 422, code: "invalid", detail: "origin: ", location: "body.origin"},
		{name: "redirect", method: "POST", path: collection, body: `{"host":"a.example.com","redirect":"a.example.com"}`, status: 422, code: "invalid", detail: "itself", location: "body.redirect"},
		{name: "tenant", method: "POST", path: collection, body: `{"host":"a.example.com","tenant":" "}`, status: 422, code: "invalid", location: "body.tenant"},
		{name: "no host", method: "POST", path: collection, body: `{}`, status: 422, code: "invalid", detail: "host", location: "body"},
		{name: "type", method: "POST", path: collection, body: `{"host":7}`, status: 422, code: "invalid", detail: "host: expected string", location: "body.host"},
		{name: "member", method: "POST", path: collection, body: `{"host":"a.example.com","orgin":"x"}`, status: 422, code: "invalid", detail: "orgin: there is no such member", location: "body.orgin"},
		{name: "array", method: "POST", path: collection, body: `[]`, status: 422, code: "invalid", location: "body"},

		{name: "query", method: "GET", path: collection + "?limt=1", status: 422, code: "invalid", detail: "limt", location: "query.limt", op: "GET " + collection},
		{name: "limit", method: "GET", path: collection + "?limit=1001", status: 422, code: "invalid", detail: "limit", location: "query.limit"},
		{name: "limit 0", method: "GET", path: collection + "?limit=0", status: 422, code: "invalid", location: "query.limit"},
		{name: "cursor", method: "GET", path: collection + "?after=%20", status: 422, code: "invalid", detail: "unchanged", location: "query.after"},
		{name: "long cursor", method: "GET", path: collection + "?after=" + strings.Repeat("A", 400), status: 422, code: "invalid", location: "query.after"},

		{name: "stale update", method: "PATCH", path: there, body: `{}`, header: []string{"If-Match", `"0"`}, status: 412, code: "conflict", detail: "read it again", op: "PATCH " + item},
		{name: "stale delete", method: "DELETE", path: there, header: []string{"If-Match", `"0"`}, status: 412, code: "conflict", op: "DELETE " + item},
		{name: "bad field", method: "PATCH", path: there, body: `{"redirect":"there.example.com"}`, status: 422, code: "invalid", location: "body.redirect", op: "PATCH " + item},
		{name: "null where none is", method: "PATCH", path: there, body: `{"paused":null}`, status: 422, code: "invalid", detail: "paused cannot be null", location: "body"},
		{name: "host cannot change", method: "PATCH", path: there, body: `{"host":"x.example.com"}`, status: 422, code: "invalid", location: "body.host"},
	}
	for _, method := range []string{"POST", "PATCH"} {
		path, op := collection, "POST "+collection
		if method == "PATCH" {
			path, op = there, "PATCH "+item
		}
		list = append(list,
			wrong{name: "broken JSON", method: method, path: path, body: `{"tenant":`, status: 400, code: "invalid", detail: "JSON", op: op},
			wrong{name: "no body", method: method, path: path, status: 400, code: "invalid", detail: "body", op: op},
			wrong{name: "form", method: method, path: path, body: `{}`, header: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415, code: "invalid", detail: "application/json", op: op},
			wrong{name: "large", method: method, path: path, body: large, status: 413, code: "invalid", detail: "65536", op: op},
		)
	}
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		body := ""
		if method == "PATCH" {
			body = "{}"
		}
		list = append(list,
			wrong{name: "not there", method: method, path: gone, body: body, status: 404, code: "not_found", detail: "gone.example.com is not set up here", op: method + " " + item},
			wrong{name: "bad host in the path", method: method, path: "/v1/domains/co.uk", body: body, status: 422, code: "invalid", detail: "public suffix", location: "path.host", op: method + " " + item},
		)
	}
	return list
}

// documented returns "METHOD path status" of every error in the OpenAPI
// document, and checks that each is said to be a problem.
func documented(s *site) map[string]bool {
	s.t.Helper()
	var doc struct {
		Paths map[string]map[string]struct {
			Responses map[string]struct {
				Content map[string]struct {
					Schema struct {
						Ref string `json:"$ref"`
					}
				}
			}
		}
	}
	check(s.t, json.Unmarshal([]byte(s.do("GET", "/openapi.json", "").text), &doc))
	out := map[string]bool{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			for status, r := range op.Responses {
				if status < "400" || !strings.HasPrefix(path, collection) {
					continue
				}
				if len(r.Content) != 1 || r.Content["application/problem+json"].Schema.Ref != "#/components/schemas/Problem" {
					s.t.Errorf("%s %s: %s is documented as %+v", method, path, status, r.Content)
				}
				out[strings.ToUpper(method)+" "+path+" "+status] = true
			}
		}
	}
	if len(out) == 0 {
		s.t.Fatal("no errors are documented")
	}
	return out
}

// TestProblems provokes every error that the document mentions, and more.
func TestProblems(t *testing.T) {
	s := open(t, &memory.Store{})
	s.want(201, s.do("POST", collection, `{"host":"there.example.com"}`))
	missing := documented(s)
	for _, x := range wrongs() {
		t.Run(x.method+" "+x.name, func(t *testing.T) {
			s := &site{t: t, url: s.url, token: s.token, log: s.log}
			isProblem(t, x, s.do(x.method, x.path, x.body, x.header...))
		})
		delete(missing, fmt.Sprint(x.op, " ", x.status))
	}
	reader := s.as(shingle.RoleRead, "")
	for op, path := range map[string]string{"POST " + collection: collection, "PATCH " + item: there, "DELETE " + item: there} {
		method, _, _ := strings.Cut(op, " ")
		isProblem(t, wrong{status: 403, code: "forbidden", detail: "has the role read"}, reader.do(method, path, ""))
		delete(missing, op+" 403")
	}
	for _, x := range faults() {
		t.Run(x.method+" "+x.name, func(t *testing.T) {
			s := open(t, x.store)
			isProblem(t, x.wrong, s.do(x.method, x.path, x.body, x.header...))
			if x.status == 500 && !strings.Contains(s.log.String(), secretDetail) {
				t.Errorf("the log does not say why:\n%s", s.log)
			}
		})
		delete(missing, fmt.Sprint(x.op, " ", x.status))
	}
	for what := range missing {
		t.Errorf("%s is documented, and nothing provokes it", what)
	}
}

type fault struct {
	wrong
	store shingle.DomainStore
}

// faults are the errors that every operation has.
func faults() (list []fault) {
	for _, x := range []wrong{
		{method: "POST", path: collection, body: `{"host":"a.example.com"}`, op: "POST " + collection},
		{method: "GET", path: collection, op: "GET " + collection},
		{method: "GET", path: there, op: "GET " + item},
		{method: "PATCH", path: there, body: "{}", op: "PATCH " + item},
		{method: "DELETE", path: there, op: "DELETE " + item},
	} {
		with := func(name string, status int, code shingle.Code, fail error) {
			x.name, x.status, x.code, x.header = name, status, code, nil
			list = append(list, fault{x, &faulty{fail: fail}})
		}
		with("panic", 500, "internal", nil)
		with("store fails", 500, "internal", errors.New(secretDetail))
		with("store out of reach", 503, "unavailable", &shingle.Error{Code: shingle.CodeUnavailable, Message: "later", Err: errors.New(secretDetail)})
		with("limited", 429, "limited", shingle.ErrLimited)
		with("code of the future", 500, "internal", &shingle.Error{Code: "new", Message: "new", Err: errors.New(secretDetail)})
		with("no token", 401, "unauthorized", errors.New("not reached"))
		list[len(list)-1].header = []string{"Authorization", ""}
	}
	return list
}

func isProblem(t *testing.T, x wrong, r reply) {
	t.Helper()
	var p api.Problem
	if err := json.Unmarshal([]byte(r.text), &p); err != nil || r.StatusCode != x.status {
		t.Fatalf("%s: %v\n%s", r.Status, err, r.text)
	}
	if p.Status != x.status || p.Code != x.code || p.Title != http.StatusText(x.status) || !strings.Contains(p.Detail, x.detail) || p.Detail == "" {
		t.Errorf("want %d %s with %q\n%s", x.status, x.code, x.detail, r.text)
	}
	if p.Type != "about:blank" && p.Type != "urn:shingle:problem:"+string(x.code) {
		t.Errorf("type %q", p.Type)
	}
	if x.location != "" && (len(p.Errors) == 0 || p.Errors[0].Location != x.location || p.Errors[0].Message == "") {
		t.Errorf("want a field at %s\n%s", x.location, r.text)
	}
	if strings.Contains(r.text, secretDetail) {
		t.Errorf("internals are shown: %s", r.text)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/problem+json", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if challenge := r.Header.Get("WWW-Authenticate"); strings.HasPrefix(challenge, "Bearer") != (x.status == 401) {
		t.Errorf("WWW-Authenticate: %q", challenge)
	}
	if allow := r.Header.Get("Allow"); (allow != "") != (x.status == 405) {
		t.Errorf("Allow: %q", allow)
	}
}

func TestProblem_NamesTenFieldsAtMost(t *testing.T) {
	s := open(t, &memory.Store{})
	members := []string{`"host":"a.example.com"`}
	for i := range 5000 {
		members = append(members, fmt.Sprintf(`"x%d":0`, i))
	}
	var p api.Problem
	r := s.want(422, s.do("POST", collection, "{"+strings.Join(members, ",")+"}"))
	check(t, json.Unmarshal([]byte(r.text), &p))
	if len(p.Errors) != 10 {
		t.Errorf("%d fields", len(p.Errors))
	}
}

func TestToken_StoreOutOfReach(t *testing.T) {
	store := &storetest.FaultyBlobs{Blobs: &memory.Store{}}
	store.Inject(func(context.Context, string, string, func() error) error { return errors.New(secretDetail) })
	keeper, err := tokens.New(tokens.Config{Blobs: store})
	check(t, err)
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Tokens = keeper })
	isProblem(t, wrong{status: 503, code: "unavailable", detail: "cannot be checked now"}, s.do("GET", collection, ""))
}

func TestAsk(t *testing.T) {
	store := &memory.Store{}
	for _, d := range []shingle.Domain{{Host: "on.example.com"}, {Host: "off.example.com", Paused: true}} {
		_, err := store.CreateDomain(t.Context(), d, clock)
		check(t, err)
	}
	free := open(t, store)
	closed := open(t, store, func(c *api.Config) { c.AskToken = "s3cret" })
	broken := open(t, &faulty{fail: errors.New(secretDetail)})
	for _, x := range []struct {
		site   *site
		query  string
		bearer string
		want   int
	}{
		{free, "?domain=on.example.com", "", 200},
		{free, "?domain=ON.example.com.", "", 200},
		{free, "?domain=off.example.com", "", 404},
		{free, "?domain=no.example.com", "", 404},
		{free, "", "", 400},
		{free, "?domain=", "", 400},
		{free, "?domain=192.0.2.1", "", 400},
		{free, "?domain=on.example.com:443", "", 400},
		{free, "?domain=com", "", 400},
		{closed, "?domain=on.example.com&token=s3cret", "", 200},
		{closed, "?domain=on.example.com", "Bearer s3cret", 200},
		{closed, "?domain=on.example.com", "", 403},
		{closed, "?domain=on.example.com&token=", "", 403},
		{closed, "?domain=on.example.com&token=s3cre", "", 403},
		{closed, "?domain=no.example.com", "Bearer wrong", 403},
		{closed, "?domain=192.0.2.1", "", 403},
		{broken, "?domain=on.example.com", "", 503},
	} {
		r := x.site.want(x.want, x.site.do("GET", "/ask"+x.query, "", "Authorization", x.bearer))
		if r.Header.Get("Content-Type") != "text/plain; charset=utf-8" || len(r.text) > 200 || strings.Contains(r.text, secretDetail) {
			t.Errorf("%s: %s %q", x.query, r.Header.Get("Content-Type"), r.text)
		}
		if head := x.site.want(x.want, x.site.do("HEAD", "/ask"+x.query, "", "Authorization", x.bearer)); head.text != "" {
			t.Errorf("%s: HEAD with a body", x.query)
		}
	}
}

func TestProblem_CodesAreDocumented(t *testing.T) {
	s := open(t, &memory.Store{})
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Properties struct{ Code struct{ Enum []shingle.Code } }
			}
		}
	}
	check(t, json.Unmarshal([]byte(s.do("GET", "/openapi.json", "").text), &doc))
	for _, code := range []shingle.Code{
		shingle.CodeInvalid, shingle.CodeUnauthorized, shingle.CodeForbidden, shingle.CodeNotFound, shingle.CodeExists,
		shingle.CodeConflict, shingle.CodeLimited, shingle.CodeThrottled, shingle.CodeUnavailable, shingle.CodeInternal,
	} {
		if !slices.Contains(doc.Components.Schemas["Problem"].Properties.Code.Enum, code) {
			t.Errorf("%q is not documented", code)
		}
		if !strings.Contains(api.ErrorsPage(), "| `"+string(code)+"` |") {
			t.Errorf("%q is not in docs/errors.md", code)
		}
	}
}
