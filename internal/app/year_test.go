package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/certs"
	"github.com/shingle-proxy/shingle/internal/check"
	"github.com/shingle-proxy/shingle/internal/devenv"
	"github.com/shingle-proxy/shingle/internal/keyfile"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/tokens"
)

const (
	yearHost = "blog.customer.com"
	yearDay  = 24 * time.Hour
)

// year is a whole control plane in virtual time: the API, the keeper, the checks by
// a real DNS server, the permission, the certificate worker, and a played CA. Only
// what answers on ports 80 and 443 is made up: our edge, where DNS leads here.
type year struct {
	*App
	t      *testing.T
	dns    *devenv.DNS
	ca     *playedCA
	store  *memory.Store
	api    http.Handler
	token  string
	begun  time.Time
	events []string // since the last look
	mu     sync.Mutex
}

// Record implements [shingle.Events].
func (y *year) Record(_ context.Context, e shingle.Event) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	what := string(e.Type)
	if e.Type == shingle.EventDomainStatus {
		var data struct{ State, Reason string }
		if err := json.Unmarshal(e.Data, &data); err != nil {
			y.t.Error(err)
		}
		what = data.State + "/" + data.Reason
	}
	if !slices.Contains(y.events, what+" "+e.ID) { // told again, it has the same ID
		y.events = append(y.events, what+" "+e.ID)
	}
	return nil
}

// playedServer is DNS outside of virtual time: what waits for the network keeps the
// clock of a bubble from going on.
func playedServer(t *testing.T) *devenv.DNS {
	t.Helper()
	server, err := devenv.NewDNS(devenv.DNSConfig{ZoneFile: filepath.Join(t.TempDir(), "zone"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return server
}

func newYear(t *testing.T, dns *devenv.DNS, key shingle.MasterKey) *year {
	y := &year{t: t, dns: dns, store: &memory.Store{}, begun: time.Now()}
	wakeCerts, wakeKeeper := make(chan struct{}, 1), make(chan struct{}, 1)
	probeKey := shingle.ProbeKey{9}
	y.App = &App{
		cfg:      Config{CNAMETargets: []string{"edge.operator.net"}, Proof: ProofTenant},
		stores:   &stores{domains: y.store, blobs: y.store, near: y.store},
		probeKey: &probeKey, wakeCerts: wakeCerts, wakeKeeper: wakeKeeper,
	}
	y.ca = newPlayedCA(t, y.leadsHere)
	var err error
	y.certs, err = certs.New(certs.Config{
		Blobs: y.store, MasterKey: key, TermsAgreed: true, Domains: y.store, Events: y, Wake: wakeCerts, Poll: 10 * time.Minute, LeaseTime: time.Hour,
		Permission: shingle.PermissionFunc(y.mayIssue), CAs: []certs.CA{{Directory: playedDirectory, Transport: y.ca}},
	})
	y.must(err)
	y.keeper, err = check.NewKeeper(check.KeeperConfig{
		Blobs: y.store, Domains: y.store, Events: y, Wake: wakeKeeper, Poll: 10 * time.Minute, Lifecycle: y.cfg.lifecycle(), Check: y.look,
		Ready: func(ctx context.Context, d shingle.Domain) error { return y.certs.Want(ctx, d.Host, d.Tenant) },
	})
	y.must(err)
	probes, err := check.New(check.Config{
		Targets: y.cfg.CNAMETargets, Resolvers: []string{dns.Addr()}, RootServers: []string{dns.Addr()}, ProbeKey: probeKey,
		CAs: []check.CA{{Name: playedDirectory, Identities: []string{"ca.example"}}},
	})
	y.must(err)
	y.checker = &domainChecker{probes: probes, certs: y.certs, keeper: y.keeper, key: &probeKey, turns: make(chan struct{}, maxChecks)}
	keeper, err := tokens.New(tokens.Config{Blobs: y.store})
	y.must(err)
	y.token, _, err = keeper.CreateToken(t.Context(), shingle.Token{Name: "test", Role: shingle.RoleAdmin})
	y.must(err)
	y.api, err = api.New(api.Config{Store: y.store, Tokens: keeper, Certificates: y.certs, Checker: yearChecker{y}, Statuses: y.keeper})
	y.must(err)
	return y
}

func (y *year) must(err error) {
	y.t.Helper()
	if err != nil {
		y.t.Fatal(err)
	}
}

// leadsHere reports whether a validation of the CA would find our edge.
func (y *year) leadsHere(host string) bool {
	r, err := y.checker.probes.CheckDNS(context.Background(), check.Request{Host: host, AnyTenant: true, Thorough: true})
	return err == nil && r.Reason == shingle.ReasonPointsHere && r.CAA.Reason == shingle.ReasonCAAAllows
}

// look is [domainChecker.look] with the answers of a played Internet over HTTPS.
func (y *year) look(ctx context.Context, d shingle.Domain, how check.Look) (shingle.CheckResult, error) {
	r := shingle.CheckResult{Host: d.Host, At: time.Now()}
	var err error
	r.DNS, err = y.checker.probes.CheckDNS(ctx, check.Request{
		Host: d.Host, Label: y.checker.label(d.Tenant), Proof: y.checker.proof(d.Host, d.Tenant), Thorough: how.Thorough, Prove: how.Prove,
	})
	if err != nil {
		return r, err
	}
	if err := y.checker.addCertificate(ctx, &r); err != nil {
		return r, err
	}
	good := r.DNS.Reason.Outcome() == shingle.OutcomeGood
	reason := shingle.ReasonOtherServer
	switch {
	case good && time.Now().Before(r.CertifiedUntil):
		reason = shingle.ReasonHTTPSWorks
	case good:
		reason = shingle.ReasonHandshakeFailed
	}
	r.HTTPS.Finding, r.HTTPS.Reached = shingle.Finding{Reason: reason, Message: "Played."}, good
	return r, nil
}

// yearChecker is the API's checker.
type yearChecker struct{ y *year }

func (c yearChecker) CheckDomain(ctx context.Context, host string) (shingle.CheckResult, error) {
	r, _, err := c.y.keeper.CheckNow(ctx, host)
	return r, err
}

func (c yearChecker) CheckSoon(ctx context.Context, host string) error {
	return c.y.keeper.CheckSoon(ctx, host)
}

func (c yearChecker) CheckFor(ctx context.Context, host, tenant string) (shingle.CheckResult, error) {
	return c.y.look(ctx, shingle.Domain{Host: host, Tenant: tenant}, check.Look{Thorough: true, Prove: true})
}

func (c yearChecker) Instructions(host, tenant string) shingle.Instructions {
	return c.y.checker.Instructions(host, tenant)
}

// call uses the API, and has everybody hear of it at once, one after the other.
func (y *year) call(method, path, body string, want int) {
	y.t.Helper()
	r := httptest.NewRequest(method, "/v1/domains"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+y.token)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	y.api.ServeHTTP(w, r)
	if w.Code != want {
		y.t.Fatalf("%s %s: %d, not %d: %s", method, path, w.Code, want, w.Body)
	}
	for _, wake := range []chan struct{}{y.wakeKeeper, y.wakeCerts} {
		select {
		case wake <- struct{}{}:
		default:
		}
		synctest.Wait()
	}
}

func (y *year) add(tenant string) {
	y.t.Helper()
	y.call("POST", "", fmt.Sprintf(`{"host":%q,"tenant":%q}`, yearHost, tenant), 201)
}

func (y *year) claim(tenant string, want int) {
	y.t.Helper()
	y.call("POST", "/"+yearHost+"/claim", fmt.Sprintf(`{"tenant":%q}`, tenant), want)
}

// set is what the customer does at the DNS provider. None: the host has no record.
func (y *year) set(records ...string) {
	y.t.Helper()
	if len(records) == 0 {
		y.dns.Remove(yearHost)
		return
	}
	y.must(y.dns.Set(yearHost, records...))
}

func (y *year) label(tenant string) string {
	return "CNAME " + y.checker.label(tenant) + ".edge.operator.net."
}

// lived lets time pass and compares what happened in it: events, and what the CA saw.
func (y *year) lived(what string, d time.Duration, orders int, events ...string) {
	y.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	y.mu.Lock()
	got := make([]string, len(y.events))
	for i, e := range y.events {
		got[i], _, _ = strings.Cut(e, " ")
	}
	y.events = nil
	y.mu.Unlock()
	n, vain := y.ca.take()
	if !slices.Equal(got, events) || n != orders || vain != 0 {
		s, _ := y.keeper.Status(y.t.Context(), yearHost)
		y.t.Errorf("day %d, %s:\n\t%q with %d orders, %d in vain; want\n\t%q with %d\n\t%s", int(time.Since(y.begun)/yearDay), what, got, n, vain, events, orders, s.Message)
	}
}

// TestYear is a domain's life from sign-up to its fourth tenant.
func TestYear(t *testing.T) {
	dns := playedServer(t)
	key, err := keyfile.Open(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	for name, record := range map[string]string{"edge.operator.net": "A 11.1.0.1", "*.edge.operator.net": "A 11.1.0.1", "customer.com": "A 11.7.7.7"} {
		if err := dns.Set(name, record); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		y := newYear(t, dns, key)
		ctx, cancel := context.WithCancel(t.Context())
		var parts sync.WaitGroup
		parts.Go(func() { _ = y.keeper.Run(ctx) })
		parts.Go(func() { _ = y.certs.Work(ctx) })
		defer func() {
			cancel()
			parts.Wait()
			y.must(y.certs.Close())
		}()
		y.firstTenant()
		y.expiresAndIsBought()
		y.takeover()
		y.afterTheQuarantine()
		if lived := time.Since(y.begun); lived < 365*yearDay {
			t.Errorf("only %s", lived)
		}
	})
}

// firstTenant signs up, takes its time, is well, moves away and comes back.
func (y *year) firstTenant() {
	y.add("acme")
	y.lived("a slow customer", 3*yearDay, 0, "pending/new", "pending/no_record")
	y.set("CNAME edge.operator.net.")
	y.lived("the shared target proves nothing", yearDay, 0, "verifying/proof_needed")
	y.set(y.label("acme"))
	y.must(y.dns.Set("customer.com", "A 11.7.7.7", `CAA 0 issue "other.example"`))
	y.lived("its own name, but CAA forbids", yearDay, 0, "verifying/caa_forbids")
	y.must(y.dns.Set("customer.com", "A 11.7.7.7"))
	y.lived("CAA is mended", 4*time.Hour, 1, "issuing/certificate_ordered", "certificate.issued", "active/served")
	y.lived("four quiet months, one renewal", 120*yearDay, 2, "certificate.issued", "certificate.issued")
	y.set("A 11.7.7.7")
	y.lived("moved away", 3*yearDay, 0, "drifting/points_elsewhere")
	y.set(y.label("acme"))
	y.lived("and back", yearDay, 0, "active/served")
	info, err := y.certs.Info(y.t.Context(), yearHost)
	y.must(err)
	y.lived("until its next renewal", time.Until(info.RenewAt)-yearDay, 0)
	y.set("A 11.7.7.7")
	y.lived("moved away as that is due: it would be in vain", 4*yearDay, 0, "drifting/points_elsewhere")
	y.set(y.label("acme"))
	y.lived("back, and renewed", yearDay, 1, "active/served", "certificate.issued")
	y.call("PATCH", "/"+yearHost, `{"paused":true}`, 200)
	y.lived("blocked by the operator", yearDay, 0, "blocked/blocked")
	y.call("PATCH", "/"+yearHost, `{"paused":false}`, 200)
	y.lived("and let go", yearDay, 0, "active/served")
}

// expiresAndIsBought: who has bought the name becomes a customer too. The first one's
// domain does not come back to life by the second one's record.
func (y *year) expiresAndIsBought() {
	y.set()
	y.dns.Remove("customer.com")
	y.lived("the registration has expired", 60*yearDay, 0, "drifting/not_registered", "paused/not_registered")
	y.must(y.dns.Set("customer.com", "A 11.7.7.7"))
	y.set(y.label("newco"))
	y.lived("somebody else has bought it", 2*yearDay, 0, "paused/other_tenant")
	y.call("POST", "", fmt.Sprintf(`{"host":%q,"tenant":"newco"}`, yearHost), 409)
	y.claim("mallory", 403)
	y.claim("newco", 200)
	y.lived("who has bought it claims it", yearDay, 1, "pending/new", "active/served", "certificate.issued")
	y.claim("acme", 403)
	y.lived("the first tenant gets it back no more", 20*yearDay, 0)
}

// takeover: the second tenant leaves, and forgets the record.
func (y *year) takeover() {
	y.call("DELETE", "/"+yearHost+"?revoke=true", "", 204)
	y.lived("deleted", 5*yearDay, 0, "removed/removed", "certificate.revoked")
	if _, err := y.certs.Info(y.t.Context(), yearHost); !errors.Is(err, shingle.ErrNotFound) || y.ca.revoked != 1 {
		y.t.Errorf("the certificate is still there: %v, revoked %d times", err, y.ca.revoked)
	}
	y.add("mallory")
	y.lived("takeover of a dangling record", 20*yearDay, 0, "pending/new", "pending/other_tenant")
	y.call("DELETE", "/"+yearHost, "", 204)
	y.add("newco")
	y.lived("its tenant is back", yearDay, 1, "removed/removed", "pending/new", "issuing/certificate_ordered", "certificate.issued", "active/served")
	y.lived("and stays", 60*yearDay, 1, "certificate.issued")
}

// afterTheQuarantine: nothing is remembered of the name, and yet a shared target that
// somebody left proves nothing; the TXT record does.
func (y *year) afterTheQuarantine() {
	y.set("CNAME edge.operator.net.")
	y.call("DELETE", "/"+yearHost, "", 204)
	y.lived("deleted, and forgotten", 31*yearDay, 0, "removed/removed")
	if _, err := y.keeper.Status(y.t.Context(), yearHost); !errors.Is(err, shingle.ErrNotFound) {
		y.t.Errorf("the name is still remembered: %v", err)
	}
	y.add("mallory")
	y.lived("takeover of a record to the shared target", 10*yearDay, 0, "pending/new", "verifying/proof_needed")
	y.must(y.dns.Set(shingle.ProofName(yearHost), `TXT "`+y.checker.proof(yearHost, "last")+`"`))
	y.claim("last", 200)
	y.lived("the owner's TXT record", yearDay, 1, "pending/new", "issuing/certificate_ordered", "certificate.issued", "active/served")
	y.lived("to the end of the year", 30*yearDay, 0)
}
