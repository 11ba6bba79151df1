package kit_test

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/kit"
)

// played is a DNS provider that speaks Domain Connect.
type played struct {
	t       *testing.T
	server  *httptest.Server
	setup   shingle.ConnectSetup // what it knows of the operator
	mu      sync.Mutex
	asked   []string
	records map[string]string // that it has entered
	cancel  bool              // the customer does not agree
	// settings answers in place of the provider, when it is a liar.
	settings func(w http.ResponseWriter, r *http.Request)
}

func (p *played) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, r.URL.Path)
	service, apply := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/api/v2/domainTemplates/providers/example.com/services/"), "/apply")
	switch {
	case r.URL.Path == "/dc/v2/customer.com/settings" && p.settings != nil:
		p.settings(w, r)
	case r.URL.Path == "/dc/v2/customer.com/settings":
		_, _ = fmt.Fprintf(w, `{"providerId":"dns.example","providerName":"DNS","providerDisplayName":"DNS & Co","urlSyncUX":"%[1]s/api/","urlAPI":"%[1]s/api","urlControlPanel":"%[1]s/panel/%%domain%%/dns"}`, p.server.URL)
	case apply:
		p.apply(w, r, service)
	case p.template(service) == nil:
		http.NotFound(w, r)
	}
}

func (p *played) template(service string) map[string]any {
	for _, t := range p.setup.Templates {
		if t.File == "example.com."+service+".json" {
			var out map[string]any
			check(p.t, json.Unmarshal(t.JSON, &out))
			return out
		}
	}
	return nil
}

// apply verifies a request as providers do, and enters the template's records.
func (p *played) apply(w http.ResponseWriter, r *http.Request, service string) {
	signed, rest, _ := strings.Cut(r.URL.RawQuery, "&sig=")
	sig, label, _ := strings.Cut(rest, "&key=")
	t := p.template(service)
	if t == nil || label+"."+t["syncPubKeyDomain"].(string) != p.setup.KeyName || !p.verifies(signed, sig) {
		http.Error(w, "not signed", http.StatusForbidden)
		return
	}
	q := r.URL.Query()
	back, err := url.Parse(q.Get("redirect_uri"))
	check(p.t, err)
	if p.cancel {
		back.RawQuery = "error=access_denied&error_description=user_cancel"
		http.Redirect(w, r, back.String(), http.StatusFound)
		return
	}
	fqdn := strings.TrimPrefix(q.Get("host")+"."+q.Get("domain"), ".")
	for _, x := range t["records"].([]any) {
		record := x.(map[string]any)
		name, value := fqdn, ""
		if at := record["host"].(string); at != "@" {
			name = at + "." + fqdn
		}
		for _, member := range []string{"pointsTo", "data"} {
			s, _ := record[member].(string)
			value += s
		}
		for name := range q {
			value = strings.ReplaceAll(value, "%"+name+"%", q.Get(name))
		}
		p.records[record["type"].(string)+" "+name] += value
	}
	http.Redirect(w, r, back.String(), http.StatusFound)
}

func (p *played) verifies(signed, sig string) bool {
	data := ""
	for i, text := range p.setup.KeyTexts {
		part, ok := strings.CutPrefix(text, fmt.Sprintf("p=%d,a=RS256,d=", i+1))
		if !ok || len(text) > 255 {
			p.t.Errorf("a TXT record has %s", text)
		}
		data += part
	}
	der, err := base64.StdEncoding.DecodeString(data)
	check(p.t, err)
	key, err := x509.ParsePKIXPublicKey(der)
	check(p.t, err)
	sig, err = url.QueryUnescape(sig)
	check(p.t, err)
	raw, err := base64.StdEncoding.DecodeString(sig)
	check(p.t, err)
	sum := sha256.Sum256([]byte(signed))
	return rsa.VerifyPKCS1v15(key.(*rsa.PublicKey), crypto.SHA256, sum[:], raw) == nil
}

// connect opens a kit whose customers are at a provider that knows its templates.
func connect(t *testing.T) (*desk, *played) {
	p := &played{t: t, records: map[string]string{}}
	p.server = httptest.NewTLSServer(p)
	t.Cleanup(p.server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(p.server.Certificate())
	d := open(t, func(c *kit.Config) {
		c.Private, c.Roots = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, roots
		c.Connect = kit.Connect{Provider: "example.com", Name: "Acme Sites", Target: "edge.example.com", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
		c.Texts = func(_ context.Context, name string) ([]string, error) {
			if name != "_domainconnect.customer.com" {
				return nil, nil
			}
			return []string{strings.TrimPrefix(p.server.URL, "https://") + "/dc"}, nil
		}
	})
	var err error
	p.setup, err = d.kit.ConnectSetup(t.Context())
	check(t, err)
	return d, p
}

var applyLink = regexp.MustCompile(`href="([^"]+/apply\?[^"]+)"`)

// offered returns the URL behind the button, or "".
func offered(body string) string {
	m := applyLink.FindStringSubmatch(body)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}

func (p *played) client() *http.Client {
	c := p.server.Client()
	c.Transport.(*http.Transport).Proxy = nil
	return c
}

func TestConnect_ProviderEntersTheRecords(t *testing.T) {
	d, p := connect(t)
	link := d.link(d.add(host, "acme"))
	d.checker.finds(shingle.StatePending, shingle.Finding{Reason: shingle.ReasonPointsElsewhere}, away)
	body := d.shows("POST", link+"/check?lang=de", 200, "Bei DNS &amp; Co einrichten", p.server.URL+"/panel/customer.com/dns")
	apply := offered(body)
	resp, err := p.client().Get(apply)
	check(t, err)
	check(t, resp.Body.Close())
	if got := resp.Request.URL.String(); got != link || resp.StatusCode != 200 {
		t.Errorf("the provider leads to %s: %s", got, resp.Status)
	}
	if got := p.records["CNAME "+host]; got != "acme.edge.example.com" || len(p.records) != 1 {
		t.Errorf("it entered %q", p.records)
	}

	// What is asked for cannot be changed on the way.
	resp, err = p.client().Get(strings.Replace(apply, "label=acme", "label=evil", 1))
	check(t, err)
	check(t, resp.Body.Close())
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a forged request: %s", resp.Status)
	}

	// Who does not agree is led back, and told what else can be done.
	p.cancel = true
	resp, err = p.client().Get(apply)
	check(t, err)
	check(t, resp.Body.Close())
	if got := resp.Request.URL; got.Query().Get("error") == "" {
		t.Errorf("led to %s", got)
	}
	d.shows("GET", link+"?error=access_denied", 200, "has not entered anything")
}

func TestConnect_Root(t *testing.T) {
	d, p := connect(t)
	d.checker.finds(shingle.StatePending, shingle.Finding{Reason: shingle.ReasonNoRecord}, shingle.CheckResult{DNS: shingle.DNSResult{Zone: "customer.com"}})
	resp, err := p.client().Get(offered(d.shows("POST", d.link(d.add("customer.com", "acme"))+"/check", 200)))
	check(t, err)
	check(t, resp.Body.Close())
	if p.records["A customer.com"] != "192.0.2.1" || p.records["TXT _shingle-challenge.customer.com"] != "proof-of-acme" {
		t.Errorf("it entered %q", p.records)
	}
}

func TestConnect_IsOfferedOnlyWhereItWorks(t *testing.T) {
	d, p := connect(t)
	at := func(domain, zone string) string {
		t.Helper()
		d.wait(time.Hour) // nothing is remembered so long
		row, err := d.store.Domain(t.Context(), domain)
		if err != nil {
			row = d.add(domain, "acme")
		}
		d.checker.finds(shingle.StatePending, shingle.Finding{Reason: shingle.ReasonNoRecord}, shingle.CheckResult{DNS: shingle.DNSResult{Zone: zone}})
		return offered(d.shows("POST", d.link(row)+"/check", 200))
	}
	for _, x := range []struct {
		domain, zone string
		want         bool
	}{{host, "customer.com", true}, {host, "", false}, {"blog.other.com", "other.com", false}, {"*.customer.com", "customer.com", false}} {
		if got := at(x.domain, x.zone); (got != "") != x.want {
			t.Errorf("%s in %q: %q", x.domain, x.zone, got)
		}
	}
	templates := p.setup.Templates
	p.setup.Templates = nil
	if got := at(host, "customer.com"); got != "" {
		t.Errorf("the provider has no template: %q", got)
	}
	p.setup.Templates = templates

	// It is asked once in a while, not for each check.
	at(host, "customer.com")
	p.asked = nil
	for range 3 {
		d.wait(time.Minute)
		d.shows("POST", d.url+strings.TrimPrefix(d.link(shingle.Domain{Host: host, Tenant: "acme", CreatedAt: d.row(host).CreatedAt}), d.url), 200)
	}
	if len(p.asked) != 0 {
		t.Errorf("it was asked %q", p.asked)
	}
}

func (d *desk) row(host string) shingle.Domain {
	d.t.Helper()
	row, err := d.store.Domain(d.t.Context(), host)
	check(d.t, err)
	return row
}

// TestConnect_KnocksAtNoDoorOfOurs: whoever has a zone says where its provider is.
func TestConnect_KnocksAtNoDoorOfOurs(t *testing.T) {
	knocked := false
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { knocked = true }))
	t.Cleanup(s.Close)
	for _, text := range []string{strings.TrimPrefix(s.URL, "https://"), "localhost" + s.URL[strings.LastIndex(s.URL, ":"):], "user@127.0.0.1", "169.254.169.254/latest", "x?y=", "#"} {
		d := open(t, func(c *kit.Config) {
			c.Roots = x509.NewCertPool()
			c.Roots.AddCert(s.Certificate())
			c.Texts = func(context.Context, string) ([]string, error) { return []string{text}, nil }
		})
		d.checker.finds(shingle.StatePending, shingle.Finding{Reason: shingle.ReasonNoRecord}, shingle.CheckResult{DNS: shingle.DNSResult{Zone: "customer.com"}})
		d.shows("POST", d.link(d.add(host, "acme")), 200)
	}
	if knocked {
		t.Error("a server of ours was asked")
	}
}

// TestConnect_LiesLeadNowhere has a provider say what would lead us to doors of our own
// network, or the customer to what is no page of a provider's.
func TestConnect_LiesLeadNowhere(t *testing.T) {
	knocked := make(chan string, 100)
	inside := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { knocked <- r.URL.Path }))
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil { // which is not in Private
		check(t, inside.Listener.Close())
		inside.Listener = l
	}
	inside.StartTLS()
	t.Cleanup(inside.Close)
	for name, settings := range map[string]func(p *played) string{
		"plain HTTP for the customer": func(p *played) string {
			return `{"urlSyncUX":"` + strings.Replace(p.server.URL, "https", "http", 1) + `/api","urlAPI":"` + p.server.URL + `/api"}`
		},
		"plain HTTP for us": func(p *played) string {
			return `{"urlSyncUX":"` + p.server.URL + `/api","urlAPI":"` + strings.Replace(p.server.URL, "https", "http", 1) + `/api"}`
		},
		"a door of ours": func(p *played) string {
			return `{"urlSyncUX":"` + p.server.URL + `/api","urlAPI":"` + inside.URL + `"}`
		},
		"a script": func(p *played) string {
			return `{"urlSyncUX":"javascript:alert(1)","urlAPI":"` + p.server.URL + `/api"}`
		},
		"a query": func(p *played) string {
			return `{"urlSyncUX":"https://evil.example/?x=","urlAPI":"` + p.server.URL + `/api"}`
		},
		"a fragment": func(p *played) string {
			return `{"urlSyncUX":"https://evil.example/#","urlAPI":"` + p.server.URL + `/api"}`
		},
		"a user": func(p *played) string {
			return `{"urlSyncUX":"https://godaddy.com@evil.example","urlAPI":"` + p.server.URL + `/api"}`
		},
		"a redirect to a door":       func(*played) string { return "redirect" },
		"more than can be":           func(*played) string { return "huge" },
		"no JSON":                    func(*played) string { return "<html>" },
		"another form":               func(*played) string { return `{"urlSyncUX":["https://evil.example"]}` },
		"that all is well, by error": func(*played) string { return "error" },
	} {
		d, p := connect(t)
		body := settings(p)
		p.settings = func(w http.ResponseWriter, r *http.Request) {
			good := fmt.Sprintf(`{"urlSyncUX":"%[1]s/api","urlAPI":"%[1]s/api","providerName":"`, p.server.URL)
			switch body {
			case "redirect":
				http.Redirect(w, r, inside.URL+"/v2/customer.com/settings", http.StatusFound)
			case "huge":
				_, _ = io.WriteString(w, good+strings.Repeat("x", 1<<20)+`"}`)
			case "error":
				w.WriteHeader(http.StatusInternalServerError)
				_, _ = io.WriteString(w, good+`x"}`)
			default:
				_, _ = io.WriteString(w, body)
			}
		}
		d.checker.finds(shingle.StatePending, shingle.Finding{Reason: shingle.ReasonPointsElsewhere}, away)
		page := d.shows("POST", d.link(d.add(host, "acme"))+"/check", 200, "acme.edge.example.com")
		if offered(page) != "" || strings.Contains(page, "evil") || strings.Contains(page, "javascript:") {
			t.Errorf("%s: it is believed:\n%s", name, page)
		}
	}
	select {
	case path := <-knocked:
		t.Errorf("it had us knock at a door of ours: %s", path)
	default:
	}
}

// TestConnect_NamesAreShort: what a provider calls itself is on a button.
func TestConnect_NamesAreShort(t *testing.T) {
	for name, want := range map[string]string{"Short": "Set up at Short", strings.Repeat("n", 65): "Set up at GoDaddy", "\\u202egnuf": "Set up at GoDaddy", "a\\nb": "Set up at GoDaddy"} {
		d, p := connect(t)
		p.settings = func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(w, `{"urlSyncUX":"%[1]s/api","urlAPI":"%[1]s/api","providerDisplayName":"%[2]s"}`, p.server.URL, name)
		}
		d.checker.finds(shingle.StatePending, shingle.Finding{Reason: shingle.ReasonPointsElsewhere}, away)
		d.shows("POST", d.link(d.add(host, "acme"))+"/check", 200, want)
	}
}

// TestConnect_TemplatesAreThoseOfTheDocs keeps docs/domain-connect, which has the templates
// of an operator who is example.com, in step.
func TestConnect_TemplatesAreThoseOfTheDocs(t *testing.T) {
	d, p := connect(t)
	if len(p.setup.Templates) != 2 {
		t.Fatalf("%d templates", len(p.setup.Templates))
	}
	for _, x := range p.setup.Templates {
		d.shows("GET", d.url+"/setup/domain-connect/"+x.File, 200, string(x.JSON))
		file := filepath.Join("..", "..", "docs", "domain-connect", x.File)
		want, err := os.ReadFile(file)
		if err != nil || string(want) != string(x.JSON) {
			t.Errorf("%s is to be:\n%s", file, x.JSON)
		}
	}
	off := open(t)
	if _, err := off.kit.ConnectSetup(t.Context()); shingle.CodeOf(err) != shingle.CodeNotFound {
		t.Errorf("where it is off: %v", err)
	}
	off.shows("GET", off.url+"/setup/domain-connect/example.com.shingle-host.json", 404)
}
