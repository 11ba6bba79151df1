package kit

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Bounds of what is asked of DNS providers.
const (
	connectWait   = 4 * time.Second // for all of it
	maxSettings   = 64 << 10        // bytes
	maxConnects   = 1000            // zones that are remembered
	connectLife   = 10 * time.Minute
	maxName       = 64 // bytes of what a provider calls itself
	connectPrefix = "_domainconnect."
)

// connectHost is what a zone may say of where its provider answers: a host and, where the
// provider has one, a path.
var connectHost = regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?$`)

// connecter finds out what a zone's DNS provider offers by Domain Connect. Who has the zone says
// where to ask, so it asks hosts of the Internet only, by HTTPS, and believes little.
type connecter struct {
	texts   func(ctx context.Context, name string) ([]string, error)
	client  *http.Client
	private []netip.Prefix
	own     string // the operator's domain, by which its templates are known
	now     func() time.Time

	mu    sync.Mutex
	zones map[string]connectZone
}

// connectZone is what was learned of a zone.
type connectZone struct {
	connectSettings
	services []string // of ours that the provider has templates for
	at       time.Time
}

// connectSettings is what a provider says of itself and a zone. Its members are empty
// where it does not.
type connectSettings struct {
	Name    string `json:"providerName"`
	Shown   string `json:"providerDisplayName"`
	SyncUX  string `json:"urlSyncUX"`
	API     string `json:"urlAPI"`
	Control string `json:"urlControlPanel"`
}

func newConnecter(cfg *Config) *connecter {
	c := &connecter{texts: cfg.Texts, private: cfg.Private, own: cfg.Connect.Provider, now: cfg.Now, zones: map[string]connectZone{}}
	dialer := &net.Dialer{Timeout: connectWait, Control: c.allow}
	c.client = &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, DisableKeepAlives: true, TLSHandshakeTimeout: connectWait, MaxResponseHeaderBytes: maxSettings,
			TLSClientConfig: &tls.Config{RootCAs: cfg.Roots, MinVersion: tls.VersionTLS12},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// allow refuses addresses that a stranger must not have us connect to.
func (c *connecter) allow(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("parse address: %w", err)
	}
	addr := to.Addr().Unmap()
	if slices.ContainsFunc(c.private, func(p netip.Prefix) bool { return p.Contains(addr) }) || to.Port() == 443 && shingle.IsPublic(addr) {
		return nil
	}
	return errors.New("not an address of the Internet's, or not the port of HTTPS")
}

// find returns what a zone's provider offers, of our services too. That there is nothing is no error; it is
// remembered too.
func (c *connecter) find(ctx context.Context, zone string, services []string) connectZone {
	key := zone + " " + strings.Join(services, " ")
	c.mu.Lock()
	known, ok := c.zones[key]
	c.mu.Unlock()
	if ok && c.now().Sub(known.at) < connectLife {
		return known
	}
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	found := c.ask(ctx, zone, services)
	found.at = c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.zones) >= maxConnects {
		clear(c.zones)
	}
	c.zones[key] = found
	return found
}

func (c *connecter) ask(ctx context.Context, zone string, services []string) (z connectZone) {
	texts, err := c.texts(ctx, connectPrefix+zone)
	if err != nil || len(texts) != 1 || !connectHost.MatchString(texts[0]) {
		return z
	}
	body, err := c.get(ctx, "https://"+strings.TrimSuffix(texts[0], "/")+"/v2/"+zone+"/settings")
	if err != nil || json.Unmarshal(body, &z.connectSettings) != nil {
		return connectZone{}
	}
	z.believe(zone)
	if z.SyncUX == "" || z.API == "" {
		return z
	}
	for _, service := range services {
		if _, err := c.get(ctx, z.API+connectPath(c.own, service)); err == nil {
			z.services = append(z.services, service)
		}
	}
	return z
}

// believe drops what no page can show, or no path can be put behind.
func (s *connectSettings) believe(zone string) {
	s.Control = strings.ReplaceAll(s.Control, "%domain%", url.QueryEscape(zone))
	for _, u := range []*string{&s.SyncUX, &s.API, &s.Control} {
		*u = strings.TrimSuffix(*u, "/")
		if !isHTTPS(*u) || u != &s.Control && strings.ContainsAny(*u, "?#") {
			*u = ""
		}
	}
	for _, name := range []*string{&s.Name, &s.Shown} {
		if len(*name) > maxName || strings.ContainsFunc(*name, func(r rune) bool { return !strconv.IsPrint(r) }) {
			*name = ""
		}
	}
}

func connectPath(provider, service string) string {
	return "/v2/domainTemplates/providers/" + url.PathEscape(provider) + "/services/" + url.PathEscape(service)
}

func isHTTPS(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && len(s) <= 1024
}

// get returns the body of an answer with a status of 2xx.
func (c *connecter) get(ctx context.Context, at string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, fmt.Errorf("ask DNS provider: %w", err)
	}
	resp, err := c.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask DNS provider: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, fmt.Errorf("ask DNS provider: %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxSettings))
	if err != nil {
		return nil, fmt.Errorf("ask DNS provider: %w", err)
	}
	return body, nil
}

// offer is what a customer's DNS provider can do for them.
type offer struct {
	panel string // URL where the zone's records are edited; empty: not known
	name  string // of the provider, as it says
	apply string // URL where the provider asks whether to enter the records; empty: it does not
	back  string // where that leads back to: the link of whoever had the check made
}

// offer returns what the provider of a checked domain can do, and after it leads back to
// the page at back.
func (k *Kit) offer(ctx context.Context, d *shingle.Domain, r *shingle.CheckResult, back string) (o offer) {
	zone := r.DNS.Zone
	if k.cfg.Texts == nil || zone == "" || r.DNS.Reason.Outcome() == shingle.OutcomeGood {
		return o
	}
	cfg := &k.cfg.Connect
	var services []string
	if cfg.Provider != "" && !shingle.IsWildcard(d.Host) {
		for _, t := range cfg.templates() {
			if (t.ServiceID == serviceRoot) == (d.Host == zone) {
				services = append(services, t.ServiceID)
			}
		}
	}
	found := k.connecter.find(ctx, zone, services)
	o.panel = found.Control
	if len(found.services) == 0 {
		return o
	}
	apply, err := k.applyURL(ctx, d, zone, found.SyncUX, found.services[0], back)
	if err != nil {
		k.cfg.Logger.Warn("Domain Connect not offered", "host", d.Host, "error", err)
	}
	o.name, o.apply, o.back = cmp.Or(found.Shown, found.Name, r.DNS.Provider), apply, back
	return o
}

// applyURL is where a provider asks the customer whether to enter a template's records.
func (k *Kit) applyURL(ctx context.Context, d *shingle.Domain, zone, base, service, back string) (string, error) {
	is := k.cfg.Checker.Instructions(d.Host, d.Tenant)
	query := url.Values{"domain": {zone}, "redirect_uri": {back}}
	if service == serviceRoot {
		if is.ProofText == "" {
			return "", nil // without a tenant there is nothing to prove
		}
		query.Set("proof", is.ProofText)
	} else {
		label, own := strings.CutSuffix(is.Target, "."+k.cfg.Connect.Target)
		if !own {
			return "", nil // without a tenant it has no name of its own
		}
		query.Set("host", strings.TrimSuffix(d.Host, "."+zone))
		query.Set("label", label)
	}
	key, err := k.connectKey.get(ctx, false)
	if err != nil {
		return "", err
	}
	label, _, err := published(key)
	if err != nil {
		return "", err
	}
	asked := query.Encode()
	sig, err := sign(key, asked)
	if err != nil {
		return "", err
	}
	return base + connectPath(k.cfg.Connect.Provider, service) + "/apply?" + asked + "&sig=" + url.QueryEscape(sig) + "&key=" + label, nil
}
