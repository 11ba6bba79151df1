package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"html/template"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/browsertest"
)

// operatorDomain is whose templates a played provider has.
const operatorDomain = "operator.localhost"

// dnsProvider is a DNS provider that speaks Domain Connect: it has the zone of the customers
// of a running `shingle dev`, knows the operator's templates from where they are published,
// and believes what is signed by the key in the operator's DNS.
type dnsProvider struct {
	*httptest.Server
	dev       *dev
	connect   api.DomainConnect
	templates map[string]dcTemplate // by their services

	mu      sync.Mutex
	applied []string // requests that were carried out
	refused []string // why others were not
	records []string // that it has entered
}

// dcTemplate is as much of a template as a provider needs.
type dcTemplate struct {
	ServiceID        string
	ProviderName     string
	SyncPubKeyDomain string
	Records          []struct{ Type, Host, PointsTo, Data string }
}

// domainConnect plays a provider. The operator has published key and templates.
func (d *dev) domainConnect() *dnsProvider {
	d.t.Helper()
	p := &dnsProvider{dev: d, templates: map[string]dcTemplate{}}
	if err := json.Unmarshal([]byte(d.run("domains", "connect-setup", "--json")), &p.connect); err != nil {
		d.t.Fatal(err)
	}
	for _, published := range p.connect.Templates {
		resp, err := http.Get(published.URL)
		if err != nil {
			d.t.Fatal(err)
		}
		var t dcTemplate
		err = json.NewDecoder(resp.Body).Decode(&t)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			d.t.Fatal(err)
		}
		p.templates[t.ServiceID] = t
	}
	m := http.NewServeMux()
	m.HandleFunc("GET /dc/v2/{zone}/settings", p.settings)
	m.HandleFunc("GET /api/v2/domainTemplates/providers/"+operatorDomain+"/services/{service}", p.hasTemplate)
	m.HandleFunc("GET /ux/v2/domainTemplates/providers/"+operatorDomain+"/services/{service}/apply", p.ask)
	m.HandleFunc("POST /agree", p.agree)
	p.Server = httptest.NewUnstartedServer(m)
	p.TLS = &tls.Config{Certificates: []tls.Certificate{d.certificate()}}
	p.StartTLS()
	d.t.Cleanup(p.Close)
	p.publish("shop.customer.localhost. 60 A 127.0.0.2")
	return p
}

// certificate is one for this machine, of the CA of `shingle dev`.
func (d *dev) certificate() tls.Certificate {
	d.t.Helper()
	root, err := tls.LoadX509KeyPair(filepath.Join(d.data, "ca", "root.pem"), filepath.Join(d.data, "ca", "root-key.pem"))
	if err != nil {
		d.t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		d.t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, root.Leaf, &key.PublicKey, root.PrivateKey)
	if err != nil {
		d.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// publish sets the customers' zone, which says where its provider is, and the operator's.
func (p *dnsProvider) publish(records ...string) {
	lines := []string{
		"customer.localhost. 60 NS ns1.provider.localhost.", "customer.localhost. 60 SOA ns1.provider.localhost. x. 1 60 60 60 1",
		fmt.Sprintf(`_domainconnect.customer.localhost. 60 TXT "%s/dc"`, strings.TrimPrefix(p.URL, "https://")),
	}
	for _, text := range p.connect.KeyTexts {
		lines = append(lines, fmt.Sprintf(`%s. 60 TXT "%s"`, p.connect.KeyName, text))
	}
	p.dev.zone(append(lines, records...)...)
}

func (p *dnsProvider) settings(w http.ResponseWriter, r *http.Request) {
	if r.PathValue("zone") != "customer.localhost" {
		http.NotFound(w, r)
		return
	}
	_, _ = fmt.Fprintf(w, `{"providerId":"dns.example","providerName":"DNS","providerDisplayName":"DNS & Co","urlSyncUX":"%[1]s/ux","urlAPI":"%[1]s/api","urlControlPanel":"%[1]s/zones/%%domain%%"}`, p.URL)
}

func (p *dnsProvider) hasTemplate(w http.ResponseWriter, r *http.Request) {
	if _, ok := p.templates[r.PathValue("service")]; !ok {
		http.NotFound(w, r)
	}
}

// ask shows the customer, who is signed in at the provider, what would change.
func (p *dnsProvider) ask(w http.ResponseWriter, r *http.Request) {
	t, ok := p.templates[r.PathValue("service")]
	if err := p.verify(r.Context(), &t, r.URL.RawQuery); !ok || err != nil {
		p.mu.Lock()
		p.refused = append(p.refused, fmt.Sprint(err))
		p.mu.Unlock()
		http.Error(w, "this request is not the operator's", http.StatusForbidden)
		return
	}
	page := template.Must(template.New("").Parse(`<!doctype html><html lang="en"><head><title>DNS &amp; Co</title><link rel="icon" href="data:,"></head><body><main>
<h1>{{.T.ProviderName}} asks to change {{.Q.Get "domain"}}</h1>
<form method="post" action="/agree?{{.Raw}}"><input type="hidden" name="service" value="{{.T.ServiceID}}"><button id="agree">Agree</button></form>
<p><a id="decline" href="{{.Back}}">Decline</a></p></main></body></html>`))
	back := r.URL.Query().Get("redirect_uri") + "?error=access_denied&error_description=user_cancel"
	_ = page.Execute(w, map[string]any{"T": t, "Q": r.URL.Query(), "Raw": template.URL(r.URL.RawQuery), "Back": back})
}

// agree enters the records of the template.
func (p *dnsProvider) agree(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	t := p.templates[r.PostFormValue("service")]
	if err := p.verify(r.Context(), &t, r.URL.RawQuery); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.applied = append(p.applied, r.URL.RawQuery)
	fqdn := strings.TrimPrefix(q.Get("host")+"."+q.Get("domain"), ".")
	for _, record := range t.Records {
		name := strings.TrimPrefix(record.Host+"."+fqdn, "@.")
		value := record.PointsTo + record.Data
		for variable := range q {
			value = strings.ReplaceAll(value, "%"+variable+"%", q.Get(variable))
		}
		if record.Type == "CNAME" {
			value += "."
		}
		p.records = append(p.records, fmt.Sprintf("%s. 60 %s %s", name, record.Type, value))
	}
	p.publish(p.records...) // in the place of what was there
	http.Redirect(w, r, q.Get("redirect_uri"), http.StatusSeeOther)
}

// verify checks a request by the key that is published in DNS, as the specification has it:
// the signature is of the query before it.
func (p *dnsProvider) verify(ctx context.Context, t *dcTemplate, query string) error {
	signed, rest, _ := strings.Cut(query, "&sig=")
	sig, label, _ := strings.Cut(rest, "&key=")
	sig, err := url.QueryUnescape(sig)
	if err != nil {
		return err
	}
	raw, err := base64.StdEncoding.DecodeString(sig)
	if err != nil {
		return err
	}
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, p.dev.ends.DNS)
	}}
	texts, err := resolver.LookupTXT(ctx, label+"."+t.SyncPubKeyDomain)
	if err != nil {
		return err
	}
	parts := make([]string, len(texts))
	for _, text := range texts { // p=1,a=RS256,d=...
		var n int
		if _, err := fmt.Sscanf(text, "p=%d,a=RS256,d=", &n); err != nil || n < 1 || n > len(parts) {
			return fmt.Errorf("the key has %q", text)
		}
		_, parts[n-1], _ = strings.Cut(text, ",d=")
	}
	block, _ := pem.Decode([]byte("-----BEGIN PUBLIC KEY-----\n" + strings.Join(parts, "") + "\n-----END PUBLIC KEY-----\n"))
	if block == nil {
		return fmt.Errorf("no key: %q", texts)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(signed))
	return rsa.VerifyPKCS1v15(key.(*rsa.PublicKey), crypto.SHA256, sum[:], raw)
}

// TestSetupPage_DomainConnect has a customer press the button, decline once and then agree
// at the provider, and come back to a site that is live.
func TestSetupPage_DomainConnect(t *testing.T) {
	t.Parallel()
	browser := browsertest.Start(t)
	d := startDev(t, t.TempDir(), "--domain-connect", operatorDomain)
	p := d.domainConnect()
	const host, offer = "shop.customer.localhost", "[data-key=connect]"
	d.run("domains", "add", host, "--tenant", "acme")
	link := d.linkOf(host)
	look := browsertest.Phone
	look.Insecure = true // the provider's certificate
	phone := browser.Page(t, look)
	phone.Open(link)
	phone.Await(offer, "Set up at DNS & Co")
	phone.Await("[data-key=panel]", "Open")
	phone.IsAccessible()
	phone.Screenshot("setup-connect")
	if to := browsertest.Eval[string](phone, `document.querySelector("[data-key=panel]").href`); to != p.URL+"/zones/customer.localhost" {
		t.Errorf("the control panel is at %s", to)
	}

	at := phone.FollowOut(offer)
	at.Await("h1", "Sample Product asks to change customer.localhost")
	at.Follow("#decline")
	at.Await("[role=status]", "has not entered anything")

	forged := strings.Replace(browsertest.Eval[string](phone, `document.querySelector("`+offer+`").href`), "host=shop", "host=www", 1)
	stranger := browser.Page(t, look)
	if status := stranger.Open(forged); status != http.StatusForbidden {
		t.Errorf("a request that was changed on the way: %d", status)
	}

	at = phone.FollowOut(offer)
	at.Await("h1", "Sample Product asks to change")
	at.Follow("#agree")
	at.Await("[role=status]", "Your site is live")
	at.IsAccessible()
	phone.Await("[role=status]", "Your site is live") // it sees that by itself
	phone.StaysAt("http://" + d.ends.Control)
	if err := d.visit(d.client(true), host); err != nil {
		t.Errorf("the site that is live: %v", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.applied) != 1 || len(p.records) != 1 || !strings.HasPrefix(p.records[0], host+". 60 CNAME ") || len(p.refused) != 1 {
		t.Errorf("carried out: %q; entered: %q; refused: %q", p.applied, p.records, p.refused)
	}
}

// TestDomainConnect_ProviderThatLies has the provider of a zone lead the program to where it
// must not knock, or answer without end: the page goes on without it.
func TestDomainConnect_ProviderThatLies(t *testing.T) {
	t.Parallel()
	d := startDev(t, t.TempDir(), "--domain-connect", operatorDomain)
	private := netip.AddrPort{}
	knocked := make(chan string, 100)
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil { // dev takes 127.0.0.0/8 for the Internet, and no more
		inside := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { knocked <- r.URL.Path }))
		inside.Listener.Close()
		inside.Listener = l
		inside.TLS = &tls.Config{Certificates: []tls.Certificate{d.certificate()}}
		inside.StartTLS()
		t.Cleanup(inside.Close)
		private = netip.MustParseAddrPort(l.Addr().String())
	}
	liar := httptest.NewUnstartedServer(nil)
	liar.TLS = &tls.Config{Certificates: []tls.Certificate{d.certificate()}}
	gone := make(chan struct{})
	t.Cleanup(func() { close(gone) })
	settings := map[string]func(w http.ResponseWriter, r *http.Request){
		"door": func(w http.ResponseWriter, _ *http.Request) { say(w, liar.URL, "https://"+private.String()) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+private.String()+"/v2/x/settings", http.StatusFound)
		},
		"plain": func(w http.ResponseWriter, _ *http.Request) {
			say(w, strings.Replace(liar.URL, "https", "http", 1), liar.URL)
		},
		"metadata": func(w http.ResponseWriter, _ *http.Request) { say(w, liar.URL, "https://169.254.169.254/latest") },
		"endless": func(w http.ResponseWriter, r *http.Request) {
			for _, err := fmt.Fprint(w, `{"providerName":"`); err == nil && r.Context().Err() == nil; {
				_, err = fmt.Fprint(w, strings.Repeat("x", 1<<16))
			}
		},
		"silent": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-gone:
			}
		},
	}
	liar.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/v2/"), ".localhost/settings"); ok {
			settings[name](w, r)
			return
		}
		w.WriteHeader(http.StatusOK) // it has every template
	})
	liar.StartTLS()
	t.Cleanup(liar.Close)
	d.run("domains", "connect-setup")

	settings["honest"] = func(w http.ResponseWriter, _ *http.Request) { say(w, liar.URL, liar.URL) }
	var zone []string
	for name := range settings {
		zone = append(zone, name+".localhost. 60 NS ns1.provider.localhost.", name+".localhost. 60 SOA ns1.provider.localhost. x. 1 60 60 60 1",
			"shop."+name+".localhost. 60 A 127.0.0.2", fmt.Sprintf(`_domainconnect.%s.localhost. 60 TXT "%s"`, name, strings.TrimPrefix(liar.URL, "https://")))
	}
	d.zone(zone...)
	for name := range settings {
		host := "shop." + name + ".localhost"
		d.run("domains", "add", host, "--tenant", "acme")
		page := post(t, d.linkOf(host)+"/check")
		if !strings.Contains(page, `.edge.operator.localhost" data-key="copy`) {
			t.Errorf("%s: the page does not say what to set:\n%s", name, page)
		}
		if offered := strings.Contains(page, `data-key="connect"`); offered != (name == "honest") {
			t.Errorf("%s: offered: %v\n%s", name, offered, page)
		}
	}
	select {
	case path := <-knocked:
		t.Errorf("it knocked at a private address: %s", path)
	default:
	}
}

// say is what a provider says of itself.
func say(w http.ResponseWriter, ux, api string) {
	_, _ = fmt.Fprintf(w, `{"providerName":"Liar","urlSyncUX":%q,"urlAPI":%q}`, ux, api)
}

func post(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Post(url, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("POST %s: %s, %v", url, resp.Status, err)
	}
	return string(body)
}
