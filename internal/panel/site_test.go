package panel_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/events"
	"github.com/shingle-proxy/shingle/internal/jobs"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/panel"
	"github.com/shingle-proxy/shingle/internal/tokens"
)

// site is a panel over an API, with a clock that can be set forward.
type site struct {
	t       *testing.T
	url     string
	pages   http.Handler
	keeper  *tokens.Keeper
	store   *memory.Store
	certs   *shelf
	crew    *crew
	status  watch
	events  *events.Hub
	jobs    *jobs.Hub
	traffic day
	forward atomic.Int64 // of the panel's clock
}

// open opens a panel. Jobs and deliveries wait until something of the site runs.
func open(t *testing.T, edit ...func(*panel.Config)) *site {
	t.Helper()
	s := &site{t: t, store: &memory.Store{}, certs: &shelf{}, crew: &crew{}, status: watch{}}
	var err error
	s.keeper, err = tokens.New(tokens.Config{Blobs: &memory.Store{}})
	check(t, err)
	s.events, err = events.New(events.Config{Blobs: s.store, Sealer: noSealer{}, AllowPrivate: true, Schedule: []time.Duration{time.Millisecond}, Poll: 5 * time.Millisecond})
	check(t, err)
	cfg := api.Config{Store: s.store, Tokens: s.keeper, Certificates: s.certs, Edges: s.crew, Events: s.events, SetupKit: clerk{}, Statuses: s.status, Checker: lens{}}
	s.jobs = jobs.New(jobs.Config{Blobs: s.store, Worker: api.NewBulk(cfg), Events: s.events, Poll: 5 * time.Millisecond, PerSecond: 100_000})
	cfg.Jobs, cfg.Traffic = s.jobs, &s.traffic
	h, err := api.New(cfg)
	check(t, err)
	shown := panel.Config{API: h, Key: [32]byte{1}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: func() time.Time { return time.Now().Add(time.Duration(s.forward.Load())) }}
	for _, f := range edit {
		f(&shown)
	}
	s.pages, err = panel.New(shown)
	check(t, err)
	srv := httptest.NewServer(s.pages)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

// run has a part of the fleet work until the test ends.
func (s *site) run(work func(context.Context) error) {
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = work(ctx) }()
	s.t.Cleanup(func() { cancel(); <-done })
}

// domain adds a domain, past the API.
func (s *site) domain(host, tenant string) {
	s.t.Helper()
	_, err := s.store.CreateDomain(s.t.Context(), shingle.Domain{Host: host, Tenant: tenant}, time.Now())
	check(s.t, err)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// visitor is a browser that follows no redirect.
type visitor struct {
	*site
	http  *http.Client
	token shingle.Token
	text  string
}

// as returns somebody who is signed in with a new token.
func (s *site) as(role shingle.TokenRole, tenant string) *visitor {
	s.t.Helper()
	text, token, err := s.keeper.CreateToken(s.t.Context(), shingle.Token{Name: string(role) + tenant, Role: role, Tenant: tenant})
	check(s.t, err)
	v := s.visitor()
	v.token, v.text = token, text
	v.want(303, v.post("sign-in", "token", text))
	return v
}

func (s *site) visitor() *visitor {
	jar, err := cookiejar.New(nil)
	check(s.t, err)
	return &visitor{site: s, http: &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

type answer struct {
	*http.Response
	text string
}

// content is the page without what all have in common, as far as people want to read it.
func (a answer) content() string {
	text := a.text
	if _, after, ok := strings.Cut(text, "<main"); ok {
		text = after
	}
	text, _, _ = strings.Cut(text, "</main>")
	return text[:min(len(text), 4000)]
}

func (v *visitor) do(method, path, body string, header ...string) answer {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.url+"/panel/"+path, strings.NewReader(body))
	check(v.t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := v.http.Do(r)
	check(v.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	check(v.t, err)
	return answer{resp, string(text)}
}

func (v *visitor) get(path string) answer { return v.do("GET", path, "") }

// see gets a page that is there, and says those words.
func (v *visitor) see(path string, words ...string) answer {
	v.t.Helper()
	a := v.want(200, v.get(path))
	v.says(a, words...)
	return a
}

func (v *visitor) post(path string, fields ...string) answer {
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return v.do("POST", path, form.Encode())
}

// sends sends a form that is taken, and returns the page to which that leads.
func (v *visitor) sends(path string, fields ...string) answer {
	v.t.Helper()
	to := v.want(303, v.post(path, fields...)).Header.Get("Location")
	return v.want(200, v.get(strings.TrimPrefix(to, "/panel/")))
}

func (v *visitor) want(status int, a answer) answer {
	v.t.Helper()
	if a.StatusCode != status {
		v.t.Fatalf("%s %s: %s, want %d\n%s", a.Request.Method, a.Request.URL, a.Status, status, a.content())
	}
	return a
}

func (v *visitor) says(a answer, words ...string) {
	v.t.Helper()
	text := html.UnescapeString(a.text)
	for _, w := range words {
		if !strings.Contains(text, w) {
			v.t.Errorf("%s does not say %q:\n%s", a.Request.URL, w, a.content())
		}
	}
}

func (v *visitor) saysNot(a answer, words ...string) {
	v.t.Helper()
	for _, w := range words {
		if strings.Contains(html.UnescapeString(a.text), w) {
			v.t.Errorf("%s says %q:\n%s", a.Request.URL, w, a.content())
		}
	}
}

// foreign sends a form as a page of another site would, which does nothing.
func (v *visitor) foreign(path string, fields ...string) {
	v.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	v.says(v.want(403, v.do("POST", path, form.Encode(), "Sec-Fetch-Site", "cross-site")), "This request came from another site")
}

// awaits gets a page until it says those words.
func (v *visitor) awaits(path string, words ...string) answer {
	v.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		a := v.see(path)
		missing := ""
		for _, w := range words {
			if !strings.Contains(a.text, w) {
				missing = w
			}
		}
		if missing == "" {
			return a
		}
		if time.Now().After(end) {
			v.t.Fatalf("%s never says %q: %s", path, missing, a.content())
		}
	}
}

// refuses sends a form that is not taken, and finds why beside the field.
func (v *visitor) refuses(path, field, why string, fields ...string) {
	v.t.Helper()
	a := v.want(422, v.post(path, fields...))
	root, err := html.Parse(strings.NewReader(a.text))
	check(v.t, err)
	says, chosen := "", map[string]bool{}
	for n := range root.Descendants() {
		if n.Data == "select" {
			chosen[attr(n, "name")] = true // of what there is
		}
		if attr(n, "name") == field && attr(n, "aria-invalid") == "true" {
			for id := range strings.FieldsSeq(attr(n, "aria-describedby")) {
				says += textOf(root, id)
			}
		}
	}
	if !strings.Contains(says, why) {
		v.t.Errorf("%s: beside %s it says %q, not %q:\n%s", path, field, says, why, a.content())
	}
	for i := 0; i+1 < len(fields); i += 2 { // what was entered is still there
		if value := strings.TrimSpace(fields[i+1]); !chosen[fields[i]] && !strings.Contains(html.UnescapeString(a.text), value) {
			v.t.Errorf("%s: what was entered for %s is lost", path, fields[i])
		}
	}
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// textOf is the text of the element with an ID.
func textOf(root *html.Node, id string) (text string) {
	for n := range root.Descendants() {
		if attr(n, "id") != id {
			continue
		}
		for m := range n.Descendants() {
			if m.Type == html.TextNode {
				text += m.Data
			}
		}
	}
	return text
}

// noSealer seals nothing.
type noSealer struct{}

func (noSealer) Seal(_ context.Context, plain []byte, _ string) ([]byte, error) { return plain, nil }
func (noSealer) Open(_ context.Context, sealed []byte, _ string) ([]byte, error) {
	return sealed, nil
}

// clerk is an [api.SetupKit].
type clerk struct{}

func (clerk) SetupPath(_ context.Context, d shingle.Domain, _ time.Time) (string, error) {
	return "/setup/" + d.Host + "/signed", nil
}

func (clerk) SetupEmail(d shingle.Domain, language, link string, _ time.Time) (subject, text string, err error) {
	if language == "tlh" {
		return "", "", &shingle.Error{Code: shingle.CodeInvalid, Field: "language", Message: "it is not written in tlh"}
	}
	return language + ": " + d.Host, "Follow " + link, nil
}

func (clerk) ConnectSetup(context.Context) (shingle.ConnectSetup, error) {
	return shingle.ConnectSetup{}, shingle.ErrNotFound
}

// watch is an [api.Statuses] with those of hosts.
type watch map[string]shingle.Status

func (w watch) Status(_ context.Context, host string) (shingle.Status, error) {
	if s, ok := w[host]; ok {
		return s, nil
	}
	return shingle.Status{}, shingle.ErrNotFound
}

// lens is an [api.Checker] that finds every domain at another service.
type lens struct{}

func (lens) CheckSoon(context.Context, string) error { return nil }

func (l lens) CheckFor(ctx context.Context, host, _ string) (shingle.CheckResult, error) {
	return l.CheckDomain(ctx, host)
}

func (lens) CheckDomain(_ context.Context, host string) (shingle.CheckResult, error) {
	elsewhere := netip.MustParseAddr("203.0.113.7")
	return shingle.CheckResult{Host: host, At: time.Now(), DNS: shingle.DNSResult{
		Finding: shingle.Finding{Reason: shingle.ReasonPointsElsewhere, Message: host + " points to Wix, 203.0.113.7, not here."},
		Chain:   []shingle.Alias{{Name: host, Target: "www.wixdns.example"}}, Addresses: []netip.Addr{elsewhere}, TTL: time.Hour, Provider: "GoDaddy",
		Set:    []shingle.DNSRecord{{Type: "CNAME", Name: "blog", FQDN: host, Value: "t-3k9f8a2m4q.edge.example.com"}},
		Remove: []shingle.DNSRecord{{Type: "A", Name: "blog", FQDN: host, Value: "203.0.113.7"}},
	}}, nil
}

func (lens) Instructions(host, _ string) shingle.Instructions {
	return shingle.Instructions{Target: "t-3k9f8a2m4q.edge.example.com", ProofName: "_shingle-challenge." + host, ProofText: "shingle-proof-7f3k2m9q"}
}

// crew is an [api.Edges] with those members.
type crew struct{ list []shingle.Member }

func (c *crew) Members(context.Context, string, int) ([]shingle.Member, string, error) {
	return c.list, "", nil
}

func (c *crew) Member(context.Context, string) (shingle.Member, error) {
	return shingle.Member{}, shingle.ErrNotFound
}

// shelf is an [api.Certificates] that says what it is told to say.
type shelf struct {
	api.Certificates // what no page asks for
	queue            shingle.IssuanceQueue
	calendar         shingle.RenewalCalendar
	planned          map[string][]shingle.PlannedRenewal // by day
	renewed          []string
	fail             error
}

func (s *shelf) Info(_ context.Context, host string) (shingle.Certificate, error) {
	return shingle.Certificate{}, shingle.Errorf(shingle.CodeNotFound, "there is no certificate for %s", host)
}

func (s *shelf) Delegation(context.Context, string, string) (shingle.Delegation, error) {
	return shingle.Delegation{}, shingle.ErrNotFound
}

func (s *shelf) Drop(context.Context, string) error { return s.fail }

func (s *shelf) Revoke(context.Context, string) error { return s.fail }

func (s *shelf) Renew(_ context.Context, host string) error {
	s.renewed = append(s.renewed, host)
	return s.fail
}

func (s *shelf) Queue(_ context.Context, limit int) (shingle.IssuanceQueue, error) {
	q := s.queue
	q.Waiting = q.Waiting[:min(limit, len(q.Waiting))]
	return q, nil
}

func (s *shelf) Drill(context.Context, int) (shingle.IssuanceQueue, error) {
	return shingle.IssuanceQueue{Renew: 4711}, nil
}

func (s *shelf) Calendar(context.Context) (shingle.RenewalCalendar, error) { return s.calendar, s.fail }

func (s *shelf) Planned(_ context.Context, day time.Time, after string, limit int) (list []shingle.PlannedRenewal, next string, err error) {
	for i, p := range s.planned[day.Format(time.DateOnly)] {
		if p.Host <= after {
			continue
		}
		if list = append(list, p); len(list) == limit && i+1 < len(s.planned[day.Format(time.DateOnly)]) {
			return list, p.Host, nil
		}
	}
	return list, "", nil
}
