package kit_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/kit"
	"github.com/shingle-proxy/shingle/internal/memory"
)

const host = "blog.customer.com"

// desk is a kit with a world of its own.
type desk struct {
	t       *testing.T
	kit     *kit.Kit
	url     string
	store   *memory.Store
	checker *checker
	mu      sync.Mutex
	now     time.Time
}

func open(t *testing.T, edit ...func(*kit.Config)) *desk {
	t.Helper()
	d := &desk{t: t, store: &memory.Store{}, now: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	d.checker = &checker{desk: d}
	cfg := kit.Config{
		Blobs: d.store, Sealer: &sealer{}, Domains: d.store, Statuses: d.checker, Checker: d.checker, Service: "Acme Sites", Now: d.clock,
		Delegation: func(_ context.Context, domain, tenant string) (shingle.Delegation, error) {
			return shingle.Delegation{Name: "_acme-challenge." + strings.TrimPrefix(domain, "*."), Target: tenant + ".acme.example.com"}, nil
		},
	}
	for _, e := range edit {
		e(&cfg)
	}
	k, err := kit.New(cfg)
	check(t, err)
	d.kit = k
	s := httptest.NewServer(k)
	t.Cleanup(s.Close)
	d.url = s.URL
	return d
}

func (d *desk) clock() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

func (d *desk) wait(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = d.now.Add(by)
}

func (d *desk) add(host, tenant string) shingle.Domain {
	d.t.Helper()
	made, err := d.store.CreateDomain(d.t.Context(), shingle.Domain{Host: host, Tenant: tenant}, d.clock())
	check(d.t, err)
	return made
}

// link is the URL of a domain's page, good for a day.
func (d *desk) link(of shingle.Domain) string {
	d.t.Helper()
	path, err := d.kit.SetupPath(d.t.Context(), of, d.clock().Add(24*time.Hour))
	check(d.t, err)
	return d.url + path
}

func (d *desk) do(method, url string, header ...string) (*http.Response, string) {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.t.Context(), method, url, nil)
	check(d.t, err)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	check(d.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	check(d.t, err)
	return resp, string(body)
}

// shows fails unless a request is answered with the status and all texts.
func (d *desk) shows(method, url string, status int, texts ...string) string {
	d.t.Helper()
	resp, body := d.do(method, url)
	if resp.StatusCode != status {
		d.t.Errorf("%s %s: got %s, want %d", method, url, resp.Status, status)
	}
	for _, text := range texts {
		if !strings.Contains(body, text) {
			d.t.Errorf("%s %s: no %q in\n%s", method, url, text, body)
		}
	}
	return body
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sealer seals by turning every bit, and remembers what was in it.
type sealer struct{}

func (sealer) Seal(_ context.Context, plain []byte, record string) ([]byte, error) {
	return append([]byte(record+" "), turned(plain)...), nil
}

func (sealer) Open(_ context.Context, sealed []byte, record string) ([]byte, error) {
	rest, ok := strings.CutPrefix(string(sealed), record+" ")
	if !ok {
		return nil, errors.New("sealed for another record")
	}
	return turned([]byte(rest)), nil
}

func turned(b []byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[i] = ^b[i]
	}
	return out
}

// checker is what a check finds, and what follows from it.
type checker struct {
	*desk
	mu     sync.Mutex
	result shingle.CheckResult
	status shingle.Status
	checks int
	err    error
}

func (c *checker) CheckDomain(_ context.Context, host string) (shingle.CheckResult, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checks++
	r := c.result
	r.Host, r.At = host, c.clock()
	c.status.Host, c.status.Checked = host, r.At
	return r, c.err
}

func (c *checker) Status(context.Context, string) (shingle.Status, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status.Host == "" {
		return c.status, shingle.ErrNotFound
	}
	return c.status, nil
}

func (c *checker) Instructions(host, tenant string) shingle.Instructions {
	return shingle.Instructions{
		Target: tenant + ".edge.example.com", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
		ProofName: "_shingle-challenge." + host, ProofText: "proof-of-" + tenant,
	}
}

func (c *checker) AtProvider(r shingle.DNSRecord, at *shingle.DNSResult) shingle.DNSRecord {
	r.Name = strings.TrimSuffix(r.FQDN, "."+at.Zone)
	return r
}

// finds has the next checks find this, and the domain be in a state.
func (c *checker) finds(state shingle.State, f shingle.Finding, r shingle.CheckResult) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.DNS.Reason == "" {
		r.DNS.Finding = f
	}
	c.result = r
	c.status = shingle.Status{Host: host, Tenant: "acme", State: state, Reason: f.Reason, Message: f.Message, Who: f.Reason.Who()}
}

func (c *checker) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.checks
}

// other is a link whose last character is another one.
func other(link string) string {
	last := len(link) - 1
	if link[last] == 'A' {
		return link[:last] + "B"
	}
	return link[:last] + "A"
}

func TestLink_ShowsItsDomainAlone(t *testing.T) {
	d := open(t)
	link := d.link(d.add(host, "acme"))
	d.shows("GET", link, 200, "Connect blog.<wbr>customer.<wbr>com", "acme.edge.example.com", "Acme Sites")

	shop := d.link(d.add("shop.customer.com", "acme"))
	u, err := url.Parse(link)
	check(t, err)
	token := u.Path[strings.LastIndex(u.Path, "/")+1:]
	for _, path := range []string{
		strings.Replace(link, host, "shop.customer.com", 1),
		strings.Replace(shop, "shop.customer.com", host, 1),
		link + "A", link[:len(link)-1], other(link), d.url + "/setup/" + host + "/x", d.url + "/setup/192.0.2.1/" + token,
		d.url + "/setup/" + host + "/B" + token[1:], // a token begins with A
	} {
		d.shows("GET", path, 404, "This address does not exist")
		d.shows("POST", path+"/check", 404, "This address does not exist")
	}
	if n := d.checker.count(); n != 0 {
		t.Errorf("%d checks for links that are not good", n)
	}
	if _, body := d.do("GET", link); strings.Contains(body, "acme") && strings.Count(body, "acme") != strings.Count(body, "acme.edge.example.com")+strings.Count(body, "acme.<wbr>edge")+strings.Count(body, "proof-of-acme") {
		t.Errorf("the page tells the tenant:\n%s", body)
	}
}

func TestLink_Ends(t *testing.T) {
	d := open(t)
	row := d.add(host, "acme")
	link := d.link(row)
	d.wait(24*time.Hour - time.Second)
	d.shows("GET", link, 200)
	d.wait(time.Second)
	d.shows("GET", link, 410, "This link has expired")

	// Another tenant's is not this one's.
	link = d.link(row)
	row.Tenant = "rival"
	row, err := d.store.UpdateDomain(t.Context(), row, d.clock())
	check(t, err)
	d.shows("GET", link, 410, "This link is no longer good")
	d.shows("POST", link+"/check", 410)

	// Nor is it good again when the first one has it back.
	returned := d.link(row)
	row.Tenant = "acme"
	row, err = d.store.UpdateDomain(t.Context(), row, d.clock())
	check(t, err)
	d.shows("GET", link, 410, "This link is no longer good")
	d.shows("GET", returned, 410)
	d.shows("GET", d.link(row), 200)

	// One that was revoked ends, with all that were made before; those of others stay.
	other := d.link(d.add("shop.customer.com", "acme"))
	link, returned = d.link(row), d.link(row)
	row.SetupGeneration++
	row, err = d.store.UpdateDomain(t.Context(), row, d.clock())
	check(t, err)
	d.shows("GET", link, 410, "This link is no longer good")
	d.shows("POST", returned+"/check", 410)
	d.shows("GET", other, 200)
	d.shows("GET", d.link(row), 200)

	// Nor is one that was deleted, and added again.
	link = d.link(row)
	check(t, d.store.DeleteDomain(t.Context(), host, 0, "", d.clock()))
	d.shows("GET", link, 410)
	d.wait(time.Second)
	d.add(host, "rival")
	d.shows("GET", link, 410)

	for _, until := range []time.Duration{0, -time.Hour, kit.MaxLife + time.Second} {
		if _, err := d.kit.SetupPath(t.Context(), row, d.clock().Add(until)); !errors.Is(err, shingle.ErrInvalid) {
			t.Errorf("a link for %s: %v", until, err)
		}
	}
}

func TestLink_AllProcessesAgree(t *testing.T) {
	d := open(t)
	row := d.add(host, "acme")
	links := []string{d.link(row), ""}
	other := open(t, func(c *kit.Config) { c.Blobs, c.Domains = d.store, d.store })
	links[1] = other.link(row)
	for _, link := range links {
		u, err := url.Parse(link)
		check(t, err)
		d.shows("GET", d.url+u.Path, 200)
		other.shows("GET", other.url+u.Path, 200)
	}
	b, err := d.store.Get(t.Context(), kit.KeyRecord)
	check(t, err)
	if len(b.Value) < 32 {
		t.Errorf("the record is %s", b.Value)
	}

	// A key that was lost is made again, and ends the links; a minute later everybody
	// knows.
	check(t, d.store.Delete(t.Context(), kit.KeyRecord, b.Version))
	fresh := d.link(row)
	other.wait(time.Minute)
	u, err := url.Parse(fresh)
	check(t, err)
	other.shows("GET", other.url+u.Path, 200)
	d.shows("GET", links[0], 404)
}

// counted is a store that counts reads.
type counted struct {
	shingle.Blobs
	shingle.DomainStore
	mu   sync.Mutex
	gets int
	down bool
}

func (c *counted) Get(ctx context.Context, key string) (shingle.Blob, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gets++; c.down {
		return shingle.Blob{}, shingle.ErrUnavailable
	}
	return c.Blobs.Get(ctx, key)
}

func (c *counted) Domain(ctx context.Context, host string) (shingle.Domain, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gets++
	return c.DomainStore.Domain(ctx, host)
}

func TestLink_ForgeriesCostNothing(t *testing.T) {
	store := &memory.Store{}
	c := &counted{Blobs: store, DomainStore: store}
	d := open(t, func(cfg *kit.Config) { cfg.Blobs, cfg.Domains = c, c })
	forged := d.url + "/setup/" + host + "/AGsQDDaebePWL5sNMsq_Y7q8-cuLBWypTwG-8wgXyOUD"
	for range 20 { // before there is a key
		d.shows("GET", forged, 404)
	}
	if c.gets != 1 {
		t.Errorf("%d reads", c.gets)
	}
	row, err := store.CreateDomain(t.Context(), shingle.Domain{Host: host, Tenant: "acme"}, d.clock())
	check(t, err)
	link := d.link(row)
	c.gets = 0
	for range 20 {
		d.shows("POST", forged, 404)
	}
	if c.gets != 0 {
		t.Errorf("%d reads", c.gets)
	}
	c.down = true
	d.wait(2 * time.Minute)
	d.shows("GET", link, 200) // by the key as it was
}
