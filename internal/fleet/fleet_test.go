package fleet

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/certs"
	"github.com/shingle-proxy/shingle/internal/devenv"
	"github.com/shingle-proxy/shingle/internal/members"
	"github.com/shingle-proxy/shingle/internal/sqlite"
)

const host = "blog.customer.localhost"

// world is a CA, a store, and an edge that only answers the CA's validations.
type world struct {
	t       *testing.T
	txt     *txtServer
	ca      *devenv.CA
	db      *sqlite.DB
	setting setting
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	dns, err := devenv.NewDNS(devenv.DNSConfig{ZoneFile: filepath.Join(dir, "zone"), Logger: log})
	check(t, err)
	t.Cleanup(func() { check(t, dns.Close()) })
	plain, secure := listen(t), listen(t)
	w := &world{t: t, txt: serveTXT(t, dns)}
	w.ca, err = devenv.NewCA(devenv.CAConfig{
		Dir: filepath.Join(dir, "ca"), HTTPPort: port(plain), TLSPort: port(secure), DNSAddr: dns.Addr(), Logger: log,
		NoRetryAfter: true, FreshAuthz: true, NonceReject: -1,
	})
	check(t, err)
	t.Cleanup(func() { check(t, w.ca.Close()) })
	w.setting = setting{
		DB: filepath.Join(dir, "db"), KeyFile: filepath.Join(dir, "key"), Directory: w.ca.DirectoryURL(), Roots: w.ca.RootPath(), Times: 1,
		DNS: dns.Addr(), Provider: w.txt.url,
	}
	w.db, err = sqlite.Open(t.Context(), sqlite.Config{Path: w.setting.DB})
	check(t, err)
	_, err = w.db.CreateDomain(t.Context(), shingle.Domain{Host: host}, time.Now())
	check(t, err)
	t.Cleanup(func() { check(t, w.db.Close()) })
	m, err := open(w.setting, w.db, members.New(members.Config{Blobs: w.db}))
	check(t, err)
	t.Cleanup(func() { check(t, m.Close()) })
	validate(t, m, plain, secure)
	obey(dns, m)
	return w
}

// validate answers validations at both ports.
func validate(t *testing.T, m *certs.Manager, plain, secure net.Listener) {
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := m.KeyAuthorization(r.Context(), strings.TrimPrefix(r.URL.Path, "/.well-known/acme-challenge/"))
		if err != nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte(answer))
	})}
	go func() { _ = s.Serve(plain) }()
	t.Cleanup(func() { _ = s.Close() })
	l := tls.NewListener(secure, &tls.Config{
		NextProtos: []string{"acme-tls/1"},
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return m.ChallengeCertificate(h.Context(), h.ServerName)
		},
	})
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_ = c.(*tls.Conn).Handshake()
				_ = c.Close()
			}
		}
	}()
}

// worker starts a process that looks after what is due.
func (w *world) worker() *member {
	s := w.setting
	s.Work = true
	return start(w.t, s)
}

// settled fails unless the processes serve one and the same certificate, the CA
// issued at most that many orders, and nothing is left of the way there.
func (w *world) settled(orders int64, processes ...*member) {
	w.t.Helper()
	answers := make([]string, len(processes))
	var all sync.WaitGroup
	for i, p := range processes {
		all.Go(func() { answers[i] = p.persist(host) })
	}
	all.Wait()
	for _, a := range answers {
		if a != answers[0] || strings.HasPrefix(a, "error") || a == "gone" {
			w.t.Fatalf("the processes answer %q", answers)
		}
	}
	if n := w.ca.Orders(); n > orders {
		w.t.Errorf("%d orders, want at most %d", n, orders)
	}
	if _, err := w.db.Get(w.t.Context(), "certs/"+host); err != nil {
		w.t.Errorf("the certificate is not stored: %v", err)
	}
	w.nothingPends()
}

// nothingPends waits until the worker has found what a process left behind.
func (w *world) nothingPends() {
	w.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		_, order := w.db.Get(w.t.Context(), "orders/"+host)
		plan, err := w.db.Get(w.t.Context(), "plans/"+host)
		if errors.Is(order, shingle.ErrNotFound) && err == nil && strings.Contains(string(plan.Value), `"serial":"`) {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("left behind: order %v, plan %s, %v", order, plan.Value, err)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// TestFleet_KilledAtTheCA kills the process that is at work when the CA gets each
// of its requests. The CA does what it was asked; nobody hears of it.
func TestFleet_KilledAtTheCA(t *testing.T) {
	for step, orders := range map[devenv.Step]int64{
		devenv.StepDirectory: 1, devenv.StepNonce: 1, devenv.StepAccount: 1, devenv.StepOrder: 2, devenv.StepAuthz: 1,
		devenv.StepChallenge: 1, devenv.StepFinalize: 1, devenv.StepPoll: 1, devenv.StepCertificate: 1,
	} {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			victim := start(t, w.setting)
			var once sync.Once
			w.ca.Inject(devenv.At(devenv.Observe(func(*devenv.Request) { once.Do(victim.kill) }), step))
			if a := victim.ask(host); a != "gone" {
				t.Fatalf("the victim answers %q", a)
			}
			w.settled(orders, w.worker(), w.worker())
		})
	}
}

// TestFleet_KilledAtTheStore kills the process before and after each of its
// writes.
func TestFleet_KilledAtTheStore(t *testing.T) {
	for _, x := range []struct {
		op, prefix    string
		before, after int64 // orders
	}{
		{"Put", "leases/certs/", 1, 1},
		{"Put", "accounts/key", 1, 1},
		{"Put", "accounts/", 1, 1},
		{"Put", "budgets/", 1, 1},
		{"Put", "orders/", 2, 1},
		{"Put", "certs/", 1, 1},
		{"Put", "due/", 1, 1},
		{"Put", "plans/", 1, 1},
		{"Delete", "orders/", 1, 1},
		{"Put", "news/", 1, 1},
	} {
		for fault, orders := range map[string]int64{"die before": x.before, "die after": x.after} {
			t.Run(fault+" "+x.op+" "+strings.ReplaceAll(x.prefix, "/", "."), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				s := w.setting
				s.Fault, s.Op, s.Prefix = fault, x.op, x.prefix
				victim := start(t, s)
				victim.ask(host)
				_ = victim.stdin.Close() // it ends what it is at, if it can
				<-victim.gone
				if code := victim.cmd.ProcessState.ExitCode(); code != -1 {
					t.Fatalf("the victim ended by itself, with %d", code)
				}
				w.settled(orders, w.worker(), w.worker())
			})
		}
	}
}

func TestFleet_ManyFirstVisitorsAreOneOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var processes []*member
	for _, skew := range []time.Duration{0, time.Hour, -time.Hour} { // two whose clocks are wrong
		s := w.setting
		s.Skew, s.Work = skew, true
		processes = append(processes, start(t, s))
	}
	answers := make(chan string, 150)
	var visitors sync.WaitGroup
	for i := range 150 {
		visitors.Go(func() { answers <- processes[i%3].ask(host) })
	}
	visitors.Wait()
	close(answers)
	first := <-answers
	for a := range answers {
		if a != first || strings.HasPrefix(a, "error") {
			t.Fatalf("visitors got %q and %q", first, a)
		}
	}
	w.settled(1, processes...)
}

// TestFleet_StoreFails has the store of one process fail at each of its writes,
// for a while.
func TestFleet_StoreFails(t *testing.T) {
	for _, prefix := range []string{"leases/", "accounts/key", "budgets/", "orders/", "certs/", "plans/", "due/"} {
		for _, fault := range []string{"refuse", "lose reply"} {
			t.Run(fault+" "+strings.ReplaceAll(prefix, "/", "."), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				s := w.setting
				s.Fault, s.Op, s.Prefix, s.Times = fault, "Put", prefix, 2
				p := start(t, s)
				p.ask(host)
				w.settled(2, p, w.worker())
			})
		}
	}
}
