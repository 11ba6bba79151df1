package smoke

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/certtest"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/tokens"
)

// world is an installation: the real API over a store in memory, and around it edges,
// name servers and a zone that are played.
type world struct {
	*Installation
	t      *testing.T
	store  *memory.Store
	keeper *tokens.Keeper
	ca     *certtest.CA

	mu      sync.Mutex
	before  func(w http.ResponseWriter, r *http.Request) (done bool) // the API answers
	after   func(r *http.Request)
	state   shingle.State
	failed  string // why there is no certificate
	members []shingle.Member
	names   map[string][]netip.Addr // by server
	asked   error                   // what asking them ends with
	tenants []netip.Addr            // what one of them has for a tenant's name; nil: as for all
	zone    map[string]string
	broken  string        // what the zone does not do: set or remove
	edges   [2]playedEdge // at two addresses
}

// playedEdge is what is odd about an edge.
type playedEdge struct {
	health  int    // status of /health; 0: 200
	said    string // by /health; empty: that it is healthy
	product int    // status; 0: 200
	lags    bool   // it does not hear of what is deleted
	other   bool   // it is another server
	mute    bool   // the product does not hear of the domain
	known   map[string]bool
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, store: &memory.Store{}, ca: certtest.New(t, "smoke"), state: shingle.StateActive, zone: map[string]string{}}
	var err error
	w.keeper, err = tokens.New(tokens.Config{Blobs: &memory.Store{}, Now: time.Now})
	check(t, err)
	handler, err := api.New(api.Config{Store: w.store, Tokens: w.keeper, Edges: playedFleet{w}, Checker: playedChecker{}, Statuses: playedFleet{w}, Certificates: &playedCerts{world: w}, Version: "v1"})
	check(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		before, after := w.before, w.after
		w.mu.Unlock()
		if before != nil && before(rw, r) {
			return
		}
		handler.ServeHTTP(rw, r)
		if after != nil {
			after(r)
		}
	}))
	t.Cleanup(server.Close)
	for _, region := range []string{"us-east-1", "eu-west-1"} {
		w.members = append(w.members, shingle.Member{ID: "edge" + strings.ReplaceAll(region, "-", ""), Role: "edge", Region: region, Version: "v1", Every: time.Minute, Reported: time.Now()})
	}
	w.Installation = &Installation{
		API: server.URL, Edges: map[string]int{"us-east-1": 1, "eu-west-1": 1}, ByName: true, Target: "edge.example.com", Names: playedNames{w}, Zone: playedZone{w},
		Roots: w.ca.Pool(), Echo: "/echo", Wait: time.Minute, Settle: 30 * time.Millisecond, Old: time.Hour, pace: 5 * time.Millisecond,
	}
	w.Client = w.as(shingle.RoleAdmin)
	for i := range w.edges {
		w.Front = append(w.Front, w.startEdge(i))
	}
	w.names = map[string][]netip.Addr{"ns1.example.net": {w.Front[0].HTTPS.Addr()}, "ns2.example.net": {w.Front[0].HTTPS.Addr()}}
	w.dialTo = func(string) string { return w.Front[0].HTTPS.String() }
	return w
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// as returns a client with a token of a role.
func (w *world) as(role shingle.TokenRole) *api.Client {
	text, _, err := w.keeper.CreateToken(w.t.Context(), shingle.Token{Name: string(role), Role: role})
	check(w.t, err)
	c, err := api.NewClient(w.API, text)
	check(w.t, err)
	return c
}

// startEdge has an edge answer over HTTPS for what is added, and over HTTP for its health.
func (w *world) startEdge(i int) Address {
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		is := w.edges[i]
		w.mu.Unlock()
		switch {
		case is.other:
		case strings.HasPrefix(r.URL.Path, shingle.ProbePath):
			rw.Header().Set(shingle.ProbeField, "https mac")
		case is.product != 0:
			rw.WriteHeader(is.product)
		case !is.mute:
			_, _ = fmt.Fprintf(rw, "User-Custom-Domain: %s", r.Host)
		}
	}))
	secure.TLS = &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return w.certificate(i, hello.ServerName) }}
	secure.Config.ErrorLog = nil
	secure.StartTLS()
	secure.TLS.Certificates = nil // of httptest: a name without one is refused by an alert
	w.t.Cleanup(secure.Close)
	plain := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		is := w.edges[i]
		w.mu.Unlock()
		if is.health != 0 {
			rw.WriteHeader(is.health)
		}
		if is.said == "" {
			is.said = "Im healthy"
		}
		_, _ = fmt.Fprint(rw, is.said)
	}))
	w.t.Cleanup(plain.Close)
	return Address{HTTPS: netip.MustParseAddrPort(secure.Listener.Addr().String()), HTTP: netip.MustParseAddrPort(plain.Listener.Addr().String())}
}

// certificate is of what is added, or was when the edge lags.
func (w *world) certificate(i int, host string) (*tls.Certificate, error) {
	d, err := w.store.Domain(w.t.Context(), host)
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &w.edges[i]
	if e.known == nil {
		e.known = map[string]bool{}
	}
	if err == nil && !d.Paused {
		e.known[host] = true
	} else if !e.lags || !e.known[host] {
		return nil, nil //nolint:nilnil // crypto/tls has an alert for that
	}
	leaf := w.ca.Issue(nil, host)
	return &tls.Certificate{Certificate: [][]byte{leaf.Cert.Raw, leaf.Above[0].Raw}, PrivateKey: leaf.Key}, nil
}

// playedFleet has the processes and the statuses of domains.
type playedFleet struct{ *world }

func (f playedFleet) Members(context.Context, string, int) ([]shingle.Member, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.members, "", nil
}

func (f playedFleet) Member(context.Context, string) (shingle.Member, error) {
	return shingle.Member{}, shingle.ErrNotFound
}

func (f playedFleet) Status(_ context.Context, host string) (shingle.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return shingle.Status{Host: host, Tenant: tenant, State: f.state, Message: "CAA records forbid it."}, nil
}

// playedChecker tells tenants' targets.
type playedChecker struct{}

func (playedChecker) CheckDomain(_ context.Context, host string) (shingle.CheckResult, error) {
	return shingle.CheckResult{Host: host}, nil
}

func (playedChecker) CheckFor(_ context.Context, host, _ string) (shingle.CheckResult, error) {
	return shingle.CheckResult{Host: host}, nil
}

func (playedChecker) CheckSoon(context.Context, string) error { return nil }

func (playedChecker) Instructions(_, tenant string) shingle.Instructions {
	if tenant == "" {
		return shingle.Instructions{Target: "edge.example.com"}
	}
	return shingle.Instructions{Target: "0123456789abcdef0123.edge.example.com"}
}

// playedCerts has certificates for all.
type playedCerts struct {
	api.Certificates
	*world
}

func (c *playedCerts) Info(_ context.Context, host string) (shingle.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	is := shingle.Certificate{Host: host, State: "valid", Issuer: "https://ca.example/dir", NotAfter: time.Now().Add(90 * 24 * time.Hour)}
	if c.failed != "" {
		is.State, is.Failed = "failing", &shingle.CertificateFailure{Message: c.failed}
	}
	return is, nil
}

func (c *playedCerts) Delegation(context.Context, string, string) (shingle.Delegation, error) {
	return shingle.Delegation{}, shingle.ErrNotFound
}

func (c *playedCerts) Drop(context.Context, string) error { return nil }

// playedNames are two name servers.
type playedNames struct{ *world }

func (n playedNames) NameServers(_ context.Context, name string) (map[string][]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := maps.Clone(n.names)
	if n.tenants != nil && name != n.Target {
		all["ns2.example.net"] = n.tenants
	}
	return all, n.asked
}

// playedZone is example.com.
type playedZone struct{ *world }

func (z playedZone) Name() string { return "example.com" }

func (z playedZone) SetCNAME(ctx context.Context, name, target string) error {
	if d, err := z.store.Domain(ctx, name); err != nil || !d.Paused || d.Tenant != tenant || !strings.HasSuffix(target, "."+z.Target) {
		return fmt.Errorf("somebody may have looked for it before it is there: %v, %w", d, err)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.zone[name] = target
	if z.broken == "set" {
		return errors.New("the answer was lost")
	}
	return nil
}

func (z playedZone) RemoveCNAME(_ context.Context, name string) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.broken == "remove" {
		return errors.New("throttled")
	}
	delete(z.zone, name)
	return nil
}

// left returns what is there besides what was there at first.
func (w *world) left() (list []string) {
	domains, err := w.store.Domains(w.t.Context(), "", 1000)
	check(w.t, err)
	for _, d := range domains {
		list = append(list, d.Host)
	}
	for name := range w.zone {
		list = append(list, "record "+name)
	}
	return list
}
