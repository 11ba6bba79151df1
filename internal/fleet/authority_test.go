package fleet

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/certs"
	"github.com/shingle-proxy/shingle/internal/devenv"
	"github.com/shingle-proxy/shingle/internal/keyfile"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// town has several CAs that validate at the same edge, and a clock of its own.
type town struct {
	t      *testing.T
	dns    *devenv.DNS
	plain  net.Listener
	secure net.Listener
	store  *memory.Store
	key    string
	ahead  atomic.Int64 // of the real time, in nanoseconds
	cfg    certs.Config
}

func newTown(t *testing.T) *town {
	t.Helper()
	dir := t.TempDir()
	dns, err := devenv.NewDNS(devenv.DNSConfig{ZoneFile: filepath.Join(dir, "zone"), Logger: slog.New(slog.DiscardHandler)})
	check(t, err)
	t.Cleanup(func() { check(t, dns.Close()) })
	return &town{t: t, dns: dns, plain: listen(t), secure: listen(t), store: &memory.Store{}, key: filepath.Join(dir, "key")}
}

// authority adds a CA to the end of the list.
func (w *town) authority(change func(*devenv.CAConfig, *certs.CA)) *devenv.CA {
	w.t.Helper()
	cfg := devenv.CAConfig{
		Dir: w.t.TempDir(), HTTPPort: port(w.plain), TLSPort: port(w.secure), DNSAddr: w.dns.Addr(), Logger: slog.New(slog.DiscardHandler),
		NoRetryAfter: true, FreshAuthz: true, NonceReject: -1,
	}
	var entry certs.CA
	if change != nil {
		change(&cfg, &entry)
	}
	ca, err := devenv.NewCA(cfg)
	check(w.t, err)
	w.t.Cleanup(func() { check(w.t, ca.Close()) })
	entry.Directory, entry.Roots = ca.DirectoryURL(), ca.Pool()
	w.cfg.CAs = append(w.cfg.CAs, entry)
	return ca
}

func (w *town) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

// open returns the edge, with a worker that follows the store's domains.
func (w *town) open() *certs.Manager {
	w.t.Helper()
	key, err := keyfile.Open(w.key)
	check(w.t, err)
	w.cfg.Blobs, w.cfg.MasterKey, w.cfg.Domains, w.cfg.Now, w.cfg.TermsAgreed = w.store, key, w.store, w.now, true
	w.cfg.Permission = shingle.PermissionFunc(func(context.Context, string) error { return nil })
	w.cfg.Poll, w.cfg.LeaseTime = 20*time.Millisecond, 500*time.Millisecond
	m, err := certs.New(w.cfg)
	check(w.t, err)
	validate(w.t, m, w.plain, w.secure)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); m.Lead(ctx, map[string]func(context.Context) error{"certificates": m.Work}) }()
	w.t.Cleanup(func() { cancel(); <-done; check(w.t, m.Close()) })
	return m
}

// until waits for a state of host's certificate.
func (w *town) until(m *certs.Manager, what string, good func(shingle.Certificate) bool) shingle.Certificate {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		c, err := m.Info(w.t.Context(), host)
		if err == nil && good(c) {
			return c
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("not %s: %+v, %+v, %v", what, c, c.Failed, err)
		}
	}
}

func valid(c shingle.Certificate) bool { return c.State == shingle.CertificateValid }

func (w *town) add() {
	w.t.Helper()
	_, err := w.store.CreateDomain(w.t.Context(), shingle.Domain{Host: host}, w.now())
	check(w.t, err)
}

func leaf(t *testing.T, cert *tls.Certificate) *x509.Certificate {
	t.Helper()
	l, err := x509.ParseCertificate(cert.Certificate[0])
	check(t, err)
	return l
}

func TestAuthority_SecondMendsWhatItCan(t *testing.T) {
	caa := devenv.Problem{Type: "caa", Status: http.StatusForbidden, Detail: "CAA record forbids issuance"}
	for name, x := range map[string]struct {
		fault  devenv.Fault
		second bool
	}{
		"down":         {devenv.Broken(http.StatusBadGateway), true},
		"rate limited": {devenv.At(devenv.RateLimited(time.Hour), devenv.StepOrder), true},
		"CAA":          {devenv.At(devenv.Refuse(caa), devenv.StepOrder), true},
		"account":      {devenv.At(devenv.Refuse(devenv.Problem{Type: "externalAccountRequired", Detail: "bind it"}), devenv.StepAccount), true},
		"validation": {devenv.At(devenv.Refuse(devenv.Problem{Type: "unauthorized", Status: http.StatusForbidden, Detail: "wrong answer"}),
			devenv.StepChallenge), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTown(t)
			first, second := w.authority(nil), w.authority(nil)
			first.Inject(x.fault)
			w.cfg.HandshakeWait = time.Minute
			_, err := w.open().Certificate(t.Context(), host)
			if (err == nil) != x.second || (second.Orders() == 1) != x.second || len(first.Issued()) != 0 {
				t.Errorf("%v; %d orders at the second", err, second.Orders())
			}
		})
	}
}

func TestAuthority_BreakerLeavesADeadOneAlone(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	var asked atomic.Int64
	dead := w.authority(nil)
	dead.Inject(devenv.Observe(func(*devenv.Request) { asked.Add(1) }))
	remove := dead.Inject(devenv.Broken(http.StatusServiceUnavailable))
	w.authority(nil)
	w.cfg.HandshakeWait = time.Minute
	m := w.open()
	for _, name := range []string{"a", "b", "c"} {
		_, err := m.Certificate(t.Context(), name+".customer.localhost")
		check(t, err)
	}
	before := asked.Load()
	_, err := m.Certificate(t.Context(), "d.customer.localhost")
	check(t, err)
	if n := asked.Load() - before; n != 0 {
		t.Errorf("a dead CA got %d requests more", n)
	}
	remove()
	w.ahead.Add(int64(2 * time.Minute))
	if _, err := m.Certificate(t.Context(), "e.customer.localhost"); err != nil || dead.Orders() != 1 {
		t.Errorf("after its recovery: %v, %d orders", err, dead.Orders())
	}
}

func TestAuthority_RenewsWhenTheCASaysNow(t *testing.T) {
	for name, fault := range map[string]devenv.Fault{
		"replaces":           nil,
		"replaces rejected":  devenv.RejectReplaces(devenv.Problem{Type: "alreadyReplaced", Status: http.StatusConflict, Detail: "no"}),
		"replaces malformed": devenv.RejectReplaces(devenv.Problem{Type: "malformed", Detail: "no such certificate"}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTown(t)
			ca := w.authority(nil)
			if fault != nil {
				ca.Inject(fault)
			}
			m := w.open()
			w.add()
			old := w.until(m, "issued", valid)
			w.ahead.Add(int64(13 * time.Hour)) // polled in the meantime: not yet
			w.until(m, "polled", func(c shingle.Certificate) bool { return c.Next.After(w.now()) })
			if ca.Orders() != 1 {
				t.Fatalf("%d orders", ca.Orders())
			}
			ca.SetRenewalInfo(nil, devenv.RenewNow(time.Now()))
			w.ahead.Add(int64(13 * time.Hour))
			w.until(m, "renewed without a visitor", func(c shingle.Certificate) bool { return valid(c) && c.Serial != old.Serial })
			orders := ca.NewOrders()
			if orders[1].Replaces == "" || ca.Orders() != 2 {
				t.Errorf("the journal has %+v", orders)
			}
			if fault != nil && (len(orders) != 3 || orders[2].Replaces != "") {
				t.Errorf("not tried again at once without: %+v", orders)
			}
		})
	}
}

func TestAuthority_IdleHostIsRenewedByItsLifetime(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	ca := w.authority(nil)
	ca.Inject(devenv.At(devenv.Broken(http.StatusNotFound), devenv.StepRenewalInfo)) // no ARI
	m := w.open()
	w.add()
	old := w.until(m, "issued", valid)
	w.ahead.Add(int64(61 * 24 * time.Hour)) // of 90
	w.until(m, "renewed", func(c shingle.Certificate) bool { return valid(c) && c.Serial != old.Serial })
	if ca.Orders() != 2 {
		t.Errorf("%d orders", ca.Orders())
	}
}

func TestAuthority_RateLimitHoldsForAllHosts(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	ca := w.authority(nil)
	ca.Inject(devenv.At(devenv.Times(1, devenv.RateLimited(2*time.Hour)), devenv.StepOrder))
	m := w.open()
	for _, name := range []string{host, "other.customer.localhost"} {
		if _, err := m.Certificate(t.Context(), name); !errors.Is(err, shingle.ErrLimited) {
			t.Errorf("%s: %v", name, err)
		}
	}
	q, err := m.Queue(t.Context(), 10)
	if err != nil || q.CAs[0].Orders.Left >= 1 || len(ca.NewOrders()) != 1 {
		t.Errorf("%+v, %v, %d orders asked for", q, err, len(ca.NewOrders()))
	}
	w.ahead.Add(int64(2*time.Hour + time.Minute))
	_, err = m.Certificate(t.Context(), "other.customer.localhost")
	check(t, err)
}

func TestAuthority_ExternalAccount(t *testing.T) {
	for name, known := range map[string]bool{"bound": true, "not bound": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTown(t)
			w.authority(func(cfg *devenv.CAConfig, ca *certs.CA) {
				cfg.ExternalAccount = &devenv.ExternalAccount{KeyID: "kid-1", MACKey: "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}
				if known {
					ca.EABKeyID, ca.EABKey = cfg.ExternalAccount.KeyID, cfg.ExternalAccount.MACKey
				}
			})
			m := w.open()
			w.add()
			if known {
				w.until(m, "issued", valid)
				return
			}
			c := w.until(m, "failed", func(c shingle.Certificate) bool { return c.Failed != nil })
			if c.Failed.Who != shingle.WhoOperator || !strings.Contains(c.Failed.Message, "our account") {
				t.Errorf("%+v", c.Failed)
			}
		})
	}
}

func TestAuthority_ProfileAndKeyType(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	w.cfg.RSA, w.cfg.HandshakeWait = true, time.Minute
	ca := w.authority(func(cfg *devenv.CAConfig, ca *certs.CA) {
		cfg.Profiles, ca.Profile = devenv.LetsEncryptProfiles(), "shortlived"
	})
	cert, err := w.open().Certificate(t.Context(), host)
	check(t, err)
	l := leaf(t, cert)
	if _, ok := l.PublicKey.(*rsa.PublicKey); !ok {
		t.Errorf("key is %T", l.PublicKey)
	}
	if life := l.NotAfter.Sub(l.NotBefore); life > 7*24*time.Hour || ca.NewOrders()[0].Profile != "shortlived" {
		t.Errorf("lives for %v, %+v", life, ca.NewOrders())
	}
}

func TestAuthority_StopsUntilSomethingChanges(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	ca := w.authority(nil)
	remove := ca.Inject(devenv.At(devenv.Refuse(devenv.Problem{Type: "rejectedIdentifier", Detail: "policy"}), devenv.StepOrder))
	m := w.open()
	w.add()
	c := w.until(m, "stopped", func(c shingle.Certificate) bool { return c.State == shingle.CertificateStopped })
	if c.Failed.Who != shingle.WhoCustomer || !c.Next.IsZero() {
		t.Errorf("%+v, %+v", c, c.Failed)
	}
	remove()
	check(t, m.Want(t.Context(), host, ""))
	w.until(m, "issued", valid)
}

func TestAuthority_SlowValidationIsNotTheVisitorsProblem(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	release := make(chan struct{})
	ca := w.authority(nil)
	ca.Inject(devenv.HoldValidation(release))
	w.cfg.HandshakeWait = 50 * time.Millisecond
	m := w.open()
	if _, err := m.Certificate(t.Context(), host); !errors.Is(err, shingle.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	close(release)
	w.until(m, "issued", valid)
	_, err := m.Certificate(t.Context(), host)
	check(t, err)
	if ca.Orders() != 1 {
		t.Errorf("%d orders", ca.Orders())
	}
}
