package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libdns/libdns"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/certs"
	probe "github.com/shingle-proxy/shingle/internal/check"
	"github.com/shingle-proxy/shingle/internal/devenv"
	"github.com/shingle-proxy/shingle/internal/dns01"
)

const (
	wildcard = "*.customer.localhost"
	zoneName = "acme.operator.localhost"
)

// challengeZone returns the zone in the played DNS, or nil without one.
func challengeZone(addr string, provider dns01.Provider) (certs.ChallengeZone, error) {
	if addr == "" {
		return nil, nil
	}
	lookup, err := probe.New(probe.Config{
		Resolvers: []string{addr}, RootServers: []string{addr}, Private: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	if err != nil {
		return nil, err
	}
	return dns01.New(dns01.Config{Name: zoneName, Provider: provider, Lookup: lookup, Poll: 20 * time.Millisecond})
}

// obey has the played customers set the records that m tells.
func obey(dns *devenv.DNS, m *certs.Manager) {
	dns.SetAlias(func(name string) string {
		d, err := m.Delegation(context.Background(), strings.TrimPrefix(name, "_acme-challenge."), "")
		if err != nil {
			return ""
		}
		return d.Target
	})
}

// txtServer is who hosts the zone, for all processes.
type txtServer struct {
	url string
	mu  sync.Mutex
	has map[string]bool // values by name
	max int             // values of one moment
	on  func()          // after a value was published; may be nil
}

type txtChange struct {
	Zone, Name, Text string
	Remove           bool
}

func serveTXT(t *testing.T, dns *devenv.DNS) *txtServer {
	z := &txtServer{has: map[string]bool{}}
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var c txtChange
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			t.Error(err)
		}
		record := []libdns.Record{libdns.TXT{Name: c.Name, TTL: time.Second, Text: c.Text}}
		z.mu.Lock()
		if c.Remove {
			_, _ = dns.DeleteRecords(r.Context(), c.Zone, record)
			delete(z.has, c.Name+" "+c.Text)
		} else {
			_, _ = dns.AppendRecords(r.Context(), c.Zone, record)
			z.has[c.Name+" "+c.Text] = true
		}
		z.max = max(z.max, len(z.has))
		on := z.on
		z.mu.Unlock()
		if !c.Remove && on != nil {
			on()
		}
	}))
	t.Cleanup(s.Close)
	z.url = s.URL
	return z
}

func (z *txtServer) left() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return len(z.has)
}

// remoteProvider changes the records of a txtServer in another process.
type remoteProvider struct{ url string }

func (p *remoteProvider) AppendRecords(ctx context.Context, zone string, list []libdns.Record) ([]libdns.Record, error) {
	return list, p.send(ctx, zone, list, false)
}

func (p *remoteProvider) DeleteRecords(ctx context.Context, zone string, list []libdns.Record) ([]libdns.Record, error) {
	return list, p.send(ctx, zone, list, true)
}

func (p *remoteProvider) send(ctx context.Context, zone string, list []libdns.Record, remove bool) error {
	for _, r := range list {
		body, err := json.Marshal(txtChange{zone, r.RR().Name, r.RR().Data, remove})
		if err != nil {
			return err
		}
		q, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			return err
		}
		resp.Body.Close()
	}
	return nil
}

// withoutTrace waits until nothing is published or journalled any more.
func (w *world) withoutTrace() {
	w.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		keys, err := w.db.List(w.t.Context(), "txt/", "", 10)
		check(w.t, err)
		if len(keys) == 0 && w.txt.left() == 0 {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("left behind: %q, %d published", keys, w.txt.left())
		}
	}
}

// TestWildcard_KilledWithItsChallengePublished kills the process whose DNS-01
// validation is under way, at the CA, at the DNS provider and at its journal.
func TestWildcard_KilledWithItsChallengePublished(t *testing.T) {
	for name, prepare := range map[string]func(w *world, s *setting) (arm func(kill func())){
		"published": func(w *world, _ *setting) func(func()) {
			return func(kill func()) { w.txt.mu.Lock(); w.txt.on = kill; w.txt.mu.Unlock() }
		},
		"validated": func(w *world, _ *setting) func(func()) {
			return func(kill func()) {
				w.ca.Inject(devenv.At(devenv.Observe(func(*devenv.Request) { kill() }), devenv.StepFinalize))
			}
		},
		"journalled": func(_ *world, s *setting) func(func()) {
			s.Fault, s.Op, s.Prefix = "die after", "Put", "txt/"
			return nil
		},
		"withdrawn": func(_ *world, s *setting) func(func()) {
			s.Fault, s.Op, s.Prefix = "die before", "Delete", "txt/"
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := w.setting
			arm := prepare(w, &s)
			victim := start(t, s)
			if arm != nil {
				var once sync.Once
				arm(func() { once.Do(victim.kill) })
			}
			if a := victim.ask(wildcard); a != "gone" {
				t.Fatalf("the victim answers %q", a)
			}
			_, err := w.db.CreateDomain(t.Context(), shingle.Domain{Host: wildcard}, time.Now())
			check(t, err)
			p, q := w.worker(), w.worker()
			if a, b := p.persist(wildcard), q.persist(wildcard); a != b || strings.HasPrefix(a, "error") {
				t.Fatalf("the processes answer %q and %q", a, b)
			}
			w.withoutTrace()
			if n := w.ca.Orders(); n > 2 { // that of the host of newWorld, and the wildcard's
				t.Errorf("%d orders", n)
			}
		})
	}
}

// TestWildcard_LeftoverOfADomainThatIsGone has nobody ask for the wildcard again.
func TestWildcard_LeftoverOfADomainThatIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	victim := start(t, w.setting)
	var once sync.Once
	w.txt.mu.Lock()
	w.txt.on = func() { once.Do(victim.kill) }
	w.txt.mu.Unlock()
	if a := victim.ask(wildcard); a != "gone" || w.txt.left() != 1 {
		t.Fatalf("the victim answers %q and leaves %d", a, w.txt.left())
	}
	w.worker()
	w.withoutTrace()
}

// dnsTown is a town whose edge has a challenge zone.
func dnsTown(t *testing.T, provider func(dns01.Provider) dns01.Provider) (*town, *devenv.CA) {
	t.Helper()
	w := newTown(t)
	ca := w.authority(nil)
	var p dns01.Provider = w.dns
	if provider != nil {
		p = provider(p)
	}
	zone, err := challengeZone(w.dns.Addr(), p)
	check(t, err)
	w.cfg.DNS01, w.cfg.HandshakeWait = zone, time.Minute
	return w, ca
}

func TestWildcard_NoDelegationNoOrder(t *testing.T) {
	t.Parallel()
	w, ca := dnsTown(t, nil)
	m := w.open()
	elsewhere := "x.elsewhere.localhost"
	for what, alias := range map[string]string{"has no CNAME record": "", "leads to " + elsewhere: elsewhere} {
		w.dns.SetAlias(func(string) string { return alias })
		check(t, m.Want(t.Context(), wildcard, ""))
		check(t, m.Renew(t.Context(), wildcard))
		_, err := m.Certificate(t.Context(), wildcard)
		d, err2 := m.Delegation(t.Context(), wildcard, "")
		check(t, err2)
		if err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "set this record: _acme-challenge.customer.localhost CNAME "+d.Target) {
			t.Errorf("%s: %v", what, err)
		}
		if c, err := m.Info(t.Context(), wildcard); err != nil || c.State != shingle.CertificateFailing || c.Failed.Who != shingle.WhoCustomer {
			t.Errorf("%s: %+v, %v", what, c, err)
		}
	}
	// A chain of the customer's own leads on to us.
	check(t, w.dns.Set("_acme-challenge.customer.localhost", "CNAME one.customer.localhost."))
	check(t, w.dns.Set("one.customer.localhost", "CNAME two.customer.localhost."))
	d, err := m.Delegation(t.Context(), wildcard, "")
	check(t, err)
	check(t, w.dns.Set("two.customer.localhost", "CNAME "+d.Target+"."))
	check(t, m.Renew(t.Context(), wildcard))
	if _, err := m.Certificate(t.Context(), wildcard); err != nil || len(ca.NewOrders()) != 1 {
		t.Errorf("%v, %d orders", err, len(ca.NewOrders()))
	}
}

func TestWildcard_DelegationIsTheTenants(t *testing.T) {
	t.Parallel()
	w, _ := dnsTown(t, nil)
	m := w.open()
	targets := map[string]string{}
	for _, x := range []struct{ domain, tenant, same string }{
		{"*.customer.localhost", "acme", "a"}, {"customer.localhost", "acme", "a"},
		{"*.customer.localhost", "other", "b"}, {"*.customer.localhost", "", "c"}, {"*.shop.localhost", "acme", "d"},
	} {
		d, err := m.Delegation(t.Context(), x.domain, x.tenant)
		check(t, err)
		if is, ok := targets[x.same]; ok && is != d.Target {
			t.Errorf("%s of %q: %s, not %s", x.domain, x.tenant, d.Target, is)
		}
		targets[x.same] = d.Target
	}
	seen := map[string]bool{}
	for _, target := range targets {
		seen[target] = true
	}
	if len(seen) != 4 {
		t.Errorf("not all differ: %v", targets)
	}
}

// rendezvous holds each value back until all are published.
type rendezvous struct {
	dns01.Provider
	all *sync.WaitGroup
}

func (r *rendezvous) AppendRecords(ctx context.Context, zone string, list []libdns.Record) ([]libdns.Record, error) {
	out, err := r.Provider.AppendRecords(ctx, zone, list)
	r.all.Done()
	r.all.Wait()
	return out, err
}

// TestWildcard_SideBySide validates a host and the wildcard below it, which share
// the name of their values, at the same time.
func TestWildcard_SideBySide(t *testing.T) {
	t.Parallel()
	r := &rendezvous{all: &sync.WaitGroup{}}
	r.all.Add(2)
	w, ca := dnsTown(t, func(p dns01.Provider) dns01.Provider { r.Provider = p; return r })
	m := w.open()
	check(t, w.dns.Set("customer.localhost", "A 127.0.0.99")) // nobody listens there
	obey(w.dns, m)
	var both sync.WaitGroup
	for _, name := range []string{wildcard, "customer.localhost"} { // the second has no port that can be reached
		both.Go(func() {
			cert, err := m.Certificate(t.Context(), name)
			if err != nil || leaf(t, cert).DNSNames[0] != name {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	both.Wait()
	if n := ca.Orders(); n != 3 {
		t.Errorf("%d orders, want one by HTTP-01 and two by DNS-01", n)
	}
	for _, name := range []string{wildcard, "customer.localhost"} {
		keys, err := w.store.List(t.Context(), "txt/"+name+"/", "", 10)
		if err != nil || len(keys) != 0 {
			t.Errorf("left behind: %q, %v", keys, err)
		}
	}
}

// gatekeeper takes no value until it is opened.
type gatekeeper struct {
	dns01.Provider
	waiting, open chan struct{}
}

func (g *gatekeeper) AppendRecords(ctx context.Context, zone string, list []libdns.Record) ([]libdns.Record, error) {
	g.waiting <- struct{}{}
	select {
	case <-g.open:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return g.Provider.AppendRecords(ctx, zone, list)
}

// TestWildcard_DNSTakesNoTurn has a single turn, and DNS that takes its time.
func TestWildcard_DNSTakesNoTurn(t *testing.T) {
	t.Parallel()
	g := &gatekeeper{waiting: make(chan struct{}, 3), open: make(chan struct{})}
	w, _ := dnsTown(t, func(p dns01.Provider) dns01.Provider { g.Provider = p; return g })
	w.cfg.MaxIssuing = 1
	m := w.open()
	obey(w.dns, m)
	done := make(chan error, 3)
	for i := range 3 {
		go func() {
			_, err := m.Certificate(t.Context(), fmt.Sprintf("*.customer%d.localhost", i))
			done <- err
		}()
	}
	for range 3 {
		<-g.waiting
	}
	w.add() // by the worker
	w.until(m, "issued while DNS is waited for", valid)
	close(g.open)
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// refusing is a provider without the rights, until it is given them.
type refusing struct {
	dns01.Provider
	allowed *atomic.Bool
}

func (r refusing) AppendRecords(ctx context.Context, zone string, list []libdns.Record) ([]libdns.Record, error) {
	if !r.allowed.Load() {
		return nil, errors.New("access denied")
	}
	return r.Provider.AppendRecords(ctx, zone, list)
}

func TestWildcard_ProviderRefusesAndTheOrderIsKept(t *testing.T) {
	t.Parallel()
	var allowed atomic.Bool
	w, ca := dnsTown(t, func(real dns01.Provider) dns01.Provider { return refusing{real, &allowed} })
	m := w.open()
	obey(w.dns, m)
	check(t, m.Want(t.Context(), wildcard, ""))
	_, err := m.Certificate(t.Context(), wildcard)
	c, infoErr := m.Info(t.Context(), wildcard)
	check(t, infoErr)
	if err == nil || c.Failed == nil || c.Failed.Who != shingle.WhoOperator || !strings.Contains(c.Failed.Message, "could not be published") {
		t.Fatalf("%v, %+v", err, c.Failed)
	}
	allowed.Store(true)
	again := w.open()
	check(t, again.Renew(t.Context(), wildcard))
	if _, err := again.Certificate(t.Context(), wildcard); err != nil || ca.Orders() != 1 {
		t.Errorf("%v, %d orders", err, ca.Orders())
	}
}
