package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// FuzzRequests sends any bodies, queries and paths: no fault of ours, and every error is
// a problem with a code.
func FuzzRequests(f *testing.F) {
	for _, seed := range []string{
		`{"host":"a.example.com","tenant":"acme","origin":"https://x.example.net","redirect":"b.example.com","paused":true,"settings":{"tags":["eu"],"metadata":{"a":1e400}}}`,
		`{"settings":{"tls":null,"routes":[{"prefix":"/a","origin":"x"}],"access":{"allow":["::/0"]}},"tenant":null}`, `{"tenant":7}`, `[]`, `null`, `{"host":"\ud800"}`,
		`{"chain":"-----BEGIN CERTIFICATE-----","key":"x"}`, `{"url":"https://a.example.com","types":["domain.status"]}`, `{"name":"a","role":"tenant","tenant":"b","expires_at":"0001-01-01T00:00:00Z"}`,
		"limit=1000&after=YQ&state=active&text=%ff", "limit=-1", "after=%00&tenant=&paused=maybe", "a.example.com", "xn--a.example.com", "*.example.com", "..%2f..",
	} {
		f.Add(seed)
	}
	store := &memory.Store{}
	if _, err := store.CreateDomain(f.Context(), shingle.Domain{Host: "a.example.com"}, clock); err != nil {
		f.Fatal(err)
	}
	keeper, token := newTokens(f, time.Now)
	h, err := api.New(api.Config{
		Store: store, Tokens: keeper, Blobs: &memory.Store{}, Certificates: &shelf{}, Checker: &lens{}, Events: &diary{}, Keys: &safe{}, Statuses: &watch{},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, input string) {
		for _, try := range []struct{ method, path, query, body string }{
			{"POST", "/v1/domains", "", input}, {"PATCH", "/v1/domains/a.example.com", "", input}, {"POST", "/v1/domains/a.example.com/claim", "", input},
			{"PUT", "/v1/certificates/a.example.com", "", input}, {"POST", "/v1/webhooks", "", input}, {"PATCH", "/v1/webhooks/none", "", input}, {"POST", "/v1/tokens", "", input},
			{"GET", "/v1/domains", input, ""}, {"GET", "/v1/certificates", input, ""}, {"GET", "/v1/events", input, ""}, {"GET", "/v1/queue", input, ""},
			{"POST", "/v1/domains/a.example.com/check", input, ""}, {"DELETE", "/v1/domains/none.example.com", input, ""},
			{"GET", "/v1/domains/" + url.PathEscape(input), "", ""}, {"POST", "/v1/certificates/" + url.PathEscape(input) + "/renew", "", ""},
		} {
			w := serve(h, try.method, try.path, try.query, try.body, token)
			var p api.Problem
			problem := w.Header().Get("Content-Type") == "application/problem+json" && json.Unmarshal(w.Body.Bytes(), &p) == nil && p.Code != "" && p.Status == w.Code
			if w.Code >= 500 || w.Code >= 400 && !problem {
				t.Errorf("%s %s?%q %q: %d %s", try.method, try.path, try.query, try.body, w.Code, w.Body)
			}
		}
	})
}

// serve has a handler answer one request.
func serve(h http.Handler, method, path, query, body, token string) *httptest.ResponseRecorder {
	return serveAs(h, "application/json", method, path, query, body, token)
}

// serveAs is serve with a body of another type.
func serveAs(h http.Handler, kind, method, path, query, body, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.URL.RawQuery = query
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", kind)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
