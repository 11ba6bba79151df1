package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

var updateGolden = flag.Bool("update", false, "write the golden files anew")

var clock = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// site is an API that listens, and what a test needs to see of it.
type site struct {
	t     *testing.T
	url   string
	token string
	log   *logBuffer
}

// open starts an API over store.
func open(t *testing.T, store shingle.DomainStore, change ...func(*api.Config)) *site {
	t.Helper()
	keeper, token := newTokens(t, func() time.Time { return clock })
	log := &logBuffer{}
	cfg := api.Config{
		Store: store, Tokens: keeper, Version: "test", Now: func() time.Time { return clock },
		Logger: slog.New(slog.NewJSONHandler(log, nil)),
	}
	for _, f := range change {
		f(&cfg)
	}
	h, err := api.New(cfg)
	check(t, err)
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.Start()
	t.Cleanup(srv.Close)
	return &site{t: t, url: srv.URL, token: token, log: log}
}

func (s *site) client() *api.Client {
	s.t.Helper()
	c, err := api.NewClient(s.url, s.token)
	check(s.t, err)
	return c
}

type reply struct {
	*http.Response
	text string
}

// do sends a request with the token. A header "" is left out, also the ones
// that do sets by itself.
func (s *site) do(method, path, body string, header ...string) reply {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	check(s.t, err)
	req.Header.Set("Authorization", "Bearer "+s.token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			req.Header.Del(header[i])
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	check(s.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	check(s.t, err)
	return reply{resp, string(text)}
}

func (s *site) want(status int, r reply) reply {
	s.t.Helper()
	if r.StatusCode != status {
		s.t.Fatalf("%s %s: got %s, want %d\n%s", r.Request.Method, r.Request.URL, r.Status, status, r.text)
	}
	return r
}

// domain reads a domain out of an answer.
func (s *site) domain(r reply) (d api.Domain) {
	s.t.Helper()
	check(s.t, json.Unmarshal([]byte(r.text), &d))
	return d
}

func TestDomains_Lifecycle(t *testing.T) {
	s := open(t, &memory.Store{})
	made := s.want(201, s.do("POST", "/v1/domains", `{"host":"Blog.Customer.com.","tenant":"acme","origin":"eu.app.example.com"}`))
	if got := made.Header.Get("Location"); got != "/v1/domains/blog.customer.com" {
		t.Errorf("Location %q", got)
	}
	want := api.Domain{
		Host: "blog.customer.com", Tenant: "acme", Origin: "https://eu.app.example.com",
		Version: 1, CreatedAt: clock, UpdatedAt: clock, UpdatedBy: "test",
	}
	same(t, s.domain(made), want)

	shown := s.want(200, s.do("GET", "/v1/domains/BLOG.customer.com", ""))
	same(t, s.domain(shown), want)
	if etag := shown.Header.Get("ETag"); etag == "" || etag != made.Header.Get("ETag") {
		t.Errorf("ETag %q, and %q when created", etag, made.Header.Get("ETag"))
	}

	changed := s.want(200, s.do("PATCH", "/v1/domains/blog.customer.com", `{"redirect":"www.customer.com","paused":true}`))
	want.Redirect, want.Paused, want.Version = "www.customer.com", true, 2
	same(t, s.domain(changed), want)
	if changed.Header.Get("ETag") == shown.Header.Get("ETag") {
		t.Error("the ETag outlived a change")
	}
	if r := s.want(200, s.do("HEAD", "/v1/domains/blog.customer.com", "")); r.text != "" || r.Header.Get("ETag") == "" {
		t.Errorf("HEAD: body %q, ETag %q", r.text, r.Header.Get("ETag"))
	}
	if r := s.want(204, s.do("DELETE", "/v1/domains/blog.customer.com", "")); r.text != "" {
		t.Errorf("DELETE: body %q", r.text)
	}
	s.want(404, s.do("GET", "/v1/domains/blog.customer.com", ""))
}

func TestDomains_UnicodeNames(t *testing.T) {
	s := open(t, &memory.Store{})
	d := s.domain(s.want(201, s.do("POST", "/v1/domains", `{"host":"Bücher.example.com"}`)))
	if d.Host != "xn--bcher-kva.example.com" || d.Unicode != "bücher.example.com" {
		t.Errorf("host %q, unicode %q", d.Host, d.Unicode)
	}
	s.want(200, s.do("GET", "/v1/domains/b%C3%BCcher.example.com", ""))
	s.want(204, s.do("DELETE", "/v1/domains/B%C3%9CCHER.example.com", ""))
}

func TestDomains_Pages(t *testing.T) {
	store := &memory.Store{}
	s := open(t, store)
	if r := s.want(200, s.do("GET", "/v1/domains", "")); strings.TrimSpace(r.text) != `{"domains":[]}` {
		t.Errorf("an empty list is %s", r.text)
	}
	for _, host := range []string{"c.example.com", "a.example.com", "b.example.com"} {
		_, err := store.CreateDomain(t.Context(), shingle.Domain{Host: host}, clock)
		check(t, err)
	}
	var got []string
	for after, pages := "", 0; pages == 0 || after != ""; pages++ {
		var page api.DomainList
		r := s.want(200, s.do("GET", "/v1/domains?limit=2&after="+after, ""))
		check(t, json.Unmarshal([]byte(r.text), &page))
		for _, d := range page.Domains {
			got = append(got, d.Host)
		}
		if after = page.Next; strings.Contains(after, "example") {
			t.Errorf("the cursor %q is not opaque", after)
		}
	}
	same(t, strings.Join(got, " "), "a.example.com b.example.com c.example.com")
}

func TestPatch_Merges(t *testing.T) {
	const all = `{"host":"a.example.com","tenant":"acme","origin":"o.example.com","redirect":"r.example.com","paused":true}`
	for name, x := range map[string]struct {
		patch string
		want  api.Domain
	}{
		"absent stays":        {`{"tenant":"other"}`, api.Domain{Tenant: "other", Origin: "https://o.example.com", Redirect: "r.example.com", Paused: true, Version: 2}},
		"null removes":        {`{"origin":null,"redirect":null}`, api.Domain{Tenant: "acme", Paused: true, Version: 2}},
		"null in any case":    {`{"Origin":null}`, api.Domain{Tenant: "acme", Redirect: "r.example.com", Paused: true, Version: 2}},
		"empty removes":       {`{"tenant":"","paused":false}`, api.Domain{Origin: "https://o.example.com", Redirect: "r.example.com", Version: 2}},
		"nothing: no write":   {`{}`, api.Domain{Tenant: "acme", Origin: "https://o.example.com", Redirect: "r.example.com", Paused: true, Version: 1}},
		"the same: no write":  {`{"origin":"O.example.com"}`, api.Domain{Tenant: "acme", Origin: "https://o.example.com", Redirect: "r.example.com", Paused: true, Version: 1}},
		"merge-patch+json ok": {`{"paused":false}`, api.Domain{Tenant: "acme", Origin: "https://o.example.com", Redirect: "r.example.com", Version: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, &memory.Store{})
			s.want(201, s.do("POST", "/v1/domains", all))
			kind := "application/json"
			if strings.Contains(name, "+") {
				kind = "application/merge-patch+json"
			}
			x.want.Host, x.want.CreatedAt, x.want.UpdatedAt, x.want.UpdatedBy = "a.example.com", clock, clock, "test"
			same(t, s.domain(s.want(200, s.do("PATCH", "/v1/domains/a.example.com", x.patch, "Content-Type", kind))), x.want)
		})
	}
}

func TestIfMatch(t *testing.T) {
	const path, patch = "/v1/domains/a.example.com", `{"tenant":"x"}`
	now := clock
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Now = func() time.Time { return now } })
	create := func() string {
		return s.want(201, s.do("POST", "/v1/domains", `{"host":"a.example.com"}`)).Header.Get("ETag")
	}
	first := create()
	second := s.want(200, s.do("PATCH", path, patch, "If-Match", first)).Header.Get("ETag")
	s.want(412, s.do("PATCH", path, patch, "If-Match", first))
	s.want(412, s.do("PATCH", path, patch, "If-Match", "W/"+second)) // strong comparison
	s.want(200, s.do("PATCH", path, patch, "If-Match", first+", "+second))
	s.want(200, s.do("PATCH", path, patch, "If-Match", "*"))
	s.want(412, s.do("DELETE", path, "", "If-Match", first))
	s.want(204, s.do("DELETE", path, "", "If-Match", second))

	// The row made anew counts from 1 again, and is another one all the same.
	now = now.Add(time.Second)
	create()
	s.want(412, s.do("PATCH", path, patch, "If-Match", first))
}

// meddler changes a row behind the API's back, before each of the first
// `times` writes.
type meddler struct {
	memory.Store
	times int
}

func (m *meddler) meddle(ctx context.Context, host string) error {
	if m.times--; m.times < 0 {
		return nil
	}
	d, err := m.Domain(ctx, host)
	if err == nil {
		_, err = m.Store.UpdateDomain(ctx, d, clock)
	}
	return err
}

func (m *meddler) UpdateDomain(ctx context.Context, d shingle.Domain, now time.Time) (shingle.Domain, error) {
	if err := m.meddle(ctx, d.Host); err != nil {
		return d, err
	}
	return m.Store.UpdateDomain(ctx, d, now)
}

func (m *meddler) DeleteDomain(ctx context.Context, host string, version int64, by string, now time.Time) error {
	if err := m.meddle(ctx, host); err != nil {
		return err
	}
	return m.Store.DeleteDomain(ctx, host, version, by, now)
}

func TestDelete_GuardedToTheEnd(t *testing.T) {
	s := open(t, &meddler{times: 1})
	etag := s.want(201, s.do("POST", "/v1/domains", `{"host":"a.example.com"}`)).Header.Get("ETag")
	s.want(412, s.do("DELETE", "/v1/domains/a.example.com", "", "If-Match", etag))
	s.want(204, s.do("DELETE", "/v1/domains/a.example.com", ""))
}

func TestPatch_ConflictsAreRetriedWithinBounds(t *testing.T) {
	const path, patch = "/v1/domains/a.example.com", `{"tenant":"x"}`
	for _, x := range []struct {
		meddled, want int
		guarded       bool
	}{{0, 200, true}, {1, 412, true}, {4, 200, false}, {5, 412, false}} {
		store := &meddler{times: x.meddled}
		s := open(t, store)
		header := []string{"If-Match", ""}
		if etag := s.do("POST", "/v1/domains", `{"host":"a.example.com"}`).Header.Get("ETag"); x.guarded {
			header[1] = etag
		}
		s.want(x.want, s.do("PATCH", path, patch, header...))
	}
}

func TestOpenRoutes(t *testing.T) {
	s := open(t, &memory.Store{})
	for path, kind := range map[string]string{
		"/openapi.json": "application/json", "/openapi.yaml": "application/yaml", "/health": "text/plain; charset=utf-8",
	} {
		if r := s.want(200, s.do("GET", path, "", "Authorization", "")); r.Header.Get("Content-Type") != kind || r.text == "" {
			t.Errorf("%s: %s %q", path, r.Header.Get("Content-Type"), r.text)
		}
	}
	for _, path := range []string{"/docs/", "/schemas/Domain", "/schemas/Domain.json", "/openapi-3.0.json"} {
		s.want(404, s.do("GET", path, "", "Authorization", ""))
	}
	// However the path is written, what is below /v1 stays closed.
	for _, path := range []string{"//v1/domains", "/x/../v1/domains", "/%76%31/domains", "/v1%2fdomains", "/v1/", "/v1"} {
		if r := s.do("GET", path, "", "Authorization", ""); r.StatusCode != 401 {
			t.Errorf("%s without a token: %s", path, r.Status)
		}
	}
}

func TestHealth_TellsWhatIsDegraded(t *testing.T) {
	var why []string
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Degraded = func() []string { return why } })
	for _, want := range []string{"ok", "degraded\nthe store is away\nthe moon too"} {
		if r := s.want(200, s.do("GET", "/health", "", "Authorization", "")); strings.TrimSpace(r.text) != want {
			t.Errorf("got %q, want %q", r.text, want)
		}
		why = []string{"the store is away", "the moon too"}
	}
}

func TestLog_OneLineWithoutSecrets(t *testing.T) {
	s := open(t, &memory.Store{}, func(c *api.Config) { c.AskToken = "ask-secret" })
	s.want(404, s.do("GET", "/v1/domains/a.example.com", ""))
	s.want(404, s.do("GET", "/ask?domain=a.example.com&token=ask-secret", ""))
	s.want(404, s.do("GET", "/nowhere", ""))
	s.want(200, s.do("GET", "/health", "")) // a probe's, every few seconds
	lines := strings.Split(strings.TrimSpace(s.log.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines:\n%s", len(lines), s.log)
	}
	var line struct {
		Msg, Method, Route string
		Status             int
		Bytes              int64
		Duration           *int64
	}
	check(t, json.Unmarshal([]byte(lines[0]), &line))
	if line.Msg != "api request" || line.Method != "GET" || line.Route != "GET /v1/domains/{host}" ||
		line.Status != 404 || line.Bytes == 0 || line.Duration == nil {
		t.Errorf("got %s", lines[0])
	}
	_, secret, _ := strings.Cut(strings.TrimPrefix(s.token, "shingle_"), "_")
	if log := s.log.String(); strings.Contains(log, secret) || strings.Contains(log, "ask-secret") {
		t.Errorf("a secret in the log:\n%s", log)
	}
}

// hung is a store that answers when its caller has given up.
type hung struct{ memory.Store }

func (*hung) FindDomains(ctx context.Context, _ shingle.DomainQuery) ([]shingle.Domain, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestStore_HungIsNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keeper, token := newTokens(t, time.Now)
		h, err := api.New(api.Config{Store: &hung{}, Tokens: keeper})
		check(t, err)
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/v1/domains", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		start := time.Now()
		h.ServeHTTP(w, r)
		if w.Code != 503 || time.Since(start) > 15*time.Second {
			t.Errorf("%d after %s", w.Code, time.Since(start))
		}
	})
}

func TestOpenAPI_Golden(t *testing.T) {
	const file = "testdata/openapi.json"
	s := open(t, &memory.Store{}, func(c *api.Config) {
		c.Certificates, c.Checker, c.Events, c.Keys, c.Blobs = &shelf{}, &lens{}, &diary{}, &safe{}, &memory.Store{}
		c.Traffic = &meter{}
	})
	got := s.want(200, s.do("GET", "/openapi.json", "")).text
	if *updateGolden {
		check(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	check(t, err)
	if got != string(want) {
		t.Errorf("the API changed: if that was meant, run go test ./internal/api -update and look at the difference\n%s", got)
	}
}

// forgetful takes any number of domains.
type forgetful struct{ memory.Store }

func (*forgetful) CreateDomain(_ context.Context, d shingle.Domain, _ time.Time) (shingle.Domain, error) {
	return d, nil
}

// FuzzCreate wants -fuzzminimizetime=1x: minimising takes all its time.
func FuzzCreate(f *testing.F) {
	for _, body := range []string{
		`{"host":"a.example.com"}`, `{"host":"bücher.example.com","tenant":"x","origin":"http://[::1]:80","redirect":"b.example.com","paused":true}`,
		`{"host":1}`, `{"Host":"a.example.com","HOST":null}`, `[]`, `null`, `{`, `{"host":"a.example.com","x":{}}`, "\x00", `{"host":"\ud800.com"}`,
	} {
		f.Add([]byte(body))
	}
	keeper, text := newTokens(f, time.Now)
	h, err := api.New(api.Config{Store: &forgetful{}, Tokens: keeper})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, w := httptest.NewRequest("POST", "/v1/domains", bytes.NewReader(body)), httptest.NewRecorder()
		r.Header.Set("Authorization", "Bearer "+text)
		h.ServeHTTP(w, r)
		switch w.Code {
		case 201:
			var d api.Domain
			check(t, json.Unmarshal(w.Body.Bytes(), &d))
			if host, err := shingle.NormalizeHost(d.Host); err != nil || host != d.Host {
				t.Errorf("%q was stored", d.Host)
			}
		case 400, 413, 422:
			var p api.Problem
			check(t, json.Unmarshal(w.Body.Bytes(), &p))
			if p.Code != shingle.CodeInvalid || p.Detail == "" || p.Status != w.Code {
				t.Errorf("%d: %+v", w.Code, p)
			}
		default:
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// logBuffer is a bytes.Buffer for several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}
