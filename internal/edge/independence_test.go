package edge

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// lonely is an edge with a snapshot, over a store that can be cut off.
type lonely struct {
	t        *testing.T
	rows     *memory.Store
	store    *storetest.FaultyDomainStore
	snapshot string
	origin   string
	certs    *testCerts
	poll     chan struct{}
	log      *lines
}

func newLonely(t *testing.T, hosts ...string) *lonely {
	rows := &memory.Store{}
	l := &lonely{
		t: t, rows: rows, store: &storetest.FaultyDomainStore{Store: rows}, snapshot: filepath.Join(t.TempDir(), "edge", "table"),
		origin: helloOrigin(t), certs: newTestCerts(t), poll: make(chan struct{}), log: &lines{},
	}
	for _, h := range hosts {
		l.add(h)
	}
	return l
}

func (l *lonely) add(host string) {
	l.t.Helper()
	if _, err := l.rows.CreateDomain(l.t.Context(), shingle.Domain{Host: host}, time.Now()); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lonely) remove(host string) {
	l.t.Helper()
	if err := l.rows.DeleteDomain(l.t.Context(), host, 0, "", time.Now()); err != nil {
		l.t.Fatal(err)
	}
}

// start runs an edge that asks its store at the start and at each step. The
// returned function ends it.
func (l *lonely) start() (te *testEdge, stop func()) {
	l.t.Helper()
	listen := func() net.Listener {
		s, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			l.t.Fatal(err)
		}
		return s
	}
	target, err := shingle.ParseOrigin(l.origin)
	if err != nil {
		l.t.Fatal(err)
	}
	cfg := Config{
		HTTPS: listen(), HTTP: listen(), Target: target, Store: l.store, Certificates: l.certs, Snapshot: l.snapshot,
		StoreName: "memory", Wake: l.poll, PollInterval: time.Hour, Logger: slog.New(slog.NewTextHandler(l.log, nil)),
	}
	te = &testEdge{certs: l.certs, https: cfg.HTTPS.Addr().String(), http: cfg.HTTP.Addr().String()}
	if te.Edge, err = New(cfg); err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- te.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("Run: %v", err)
		}
	})
	l.t.Cleanup(stop)
	l.step() // the first one has ended when the second is begun
	return te, stop
}

// step has the edge ask its store, and waits until it has.
func (l *lonely) step() {
	l.poll <- struct{}{}
	l.poll <- struct{}{}
}

// want visits host over TLS and looks at the answer: 200 or none.
func (l *lonely) want(te *testEdge, host string, served bool) {
	l.t.Helper()
	c := te.client(l.t, 2)
	defer c.CloseIdleConnections()
	resp, err := c.Get("https://" + host + "/")
	if err == nil {
		resp.Body.Close()
	}
	if served && (err != nil || resp.StatusCode != http.StatusOK) {
		l.t.Fatalf("%s: %v", host, err)
	}
	if !served && (err == nil || !strings.Contains(err.Error(), "unrecognized name")) {
		l.t.Fatalf("%s: %v, want it refused", host, err)
	}
}

func (l *lonely) health(te *testEdge, want int) {
	l.t.Helper()
	resp, body := get(l.t, te.client(l.t, 1), "http://edge.example/health")
	if resp.StatusCode != want || want == http.StatusOK && body != "Im healthy" {
		l.t.Errorf("health %d %q, want %d", resp.StatusCode, body, want)
	}
}

const (
	staysHost = "stays.customer.test"
	goesHost  = "goes.customer.test"
	comesHost = "comes.customer.test"
)

// TestEdge_ServesWithoutItsStoreAndCatchesUp restarts an edge while the store is
// away, and changes domains meanwhile.
func TestEdge_ServesWithoutItsStoreAndCatchesUp(t *testing.T) {
	l := newLonely(t, staysHost, goesHost)
	te, stop := l.start()
	l.want(te, staysHost, true)
	if s := te.State(); s.Domains != 2 || s.Degraded(time.Now()) != "" {
		t.Errorf("state %+v: %s", s, s.Degraded(time.Now()))
	}

	for name, fault := range map[string]storetest.Fault{
		"refuses": storetest.Refuse(errors.New("connection refused")), "hangs": storetest.Block(),
	} {
		l.store.Inject(fault)
		stop()
		te, stop = l.startBlind(name)
		l.want(te, staysHost, true)
		l.want(te, goesHost, true)
		l.health(te, http.StatusOK)
	}
	later := time.Now().Add(time.Hour)
	if why := te.State().Degraded(later); !strings.Contains(why, "the snapshot was written") || strings.Contains(why, "refused") {
		t.Errorf("degraded: %q", why)
	}

	l.remove(goesHost)
	l.add(comesHost)
	stop()
	l.store.Inject(nil)
	te, stop = l.start()
	defer stop()
	l.want(te, staysHost, true)
	l.want(te, goesHost, false)
	l.want(te, comesHost, true)
	if s := te.State(); s.Degraded(time.Now()) != "" || s.Snapshot.IsZero() {
		t.Errorf("state %+v: %s", s, s.Degraded(time.Now()))
	}
}

// startBlind starts an edge that cannot reach its store.
func (l *lonely) startBlind(name string) (te *testEdge, stop func()) {
	poll := l.poll
	l.poll = make(chan struct{}, 2) // a step of a store that hangs ends with the edge
	defer func() { l.poll = poll }()
	te, stop = l.start()
	for deadline := time.Now().Add(time.Minute); te.Healthy() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("%s: %v", name, te.Healthy())
		}
	}
	return te, stop
}

// TestEdge_CatchesUpInOneProcess cuts a running edge off, and heals it.
func TestEdge_CatchesUpInOneProcess(t *testing.T) {
	l := newLonely(t, staysHost, goesHost)
	te, _ := l.start()
	l.store.Inject(storetest.Refuse(errors.New("connection refused")))
	l.remove(goesHost)
	l.add(comesHost)
	l.step()
	l.want(te, goesHost, true)
	l.want(te, comesHost, false)
	if why := te.State().Degraded(time.Now()); !strings.Contains(why, "has not answered since") {
		t.Errorf("degraded: %q", why)
	}
	l.health(te, http.StatusOK)
	l.certs.degraded = "the moon is away"
	_, detail := get(t, te.client(t, 1), "http://edge.example/health?detail")
	if lines := strings.Split(detail, "\n"); len(lines) != 3 || lines[0] != "Im healthy" || lines[2] != "degraded: the moon is away" {
		t.Errorf("in detail: %q", detail)
	}
	l.store.Inject(nil)
	l.step()
	l.want(te, goesHost, false)
	l.want(te, comesHost, true)
	if why := te.State().Degraded(time.Now()); why != "" {
		t.Errorf("degraded: %q", why)
	}
}

// TestEdge_ServesTheOldPictureWhileReadingAnew starts from a snapshot with a
// cursor that the feed no longer knows.
func TestEdge_ServesTheOldPictureWhileReadingAnew(t *testing.T) {
	l := newLonely(t, staysHost, goesHost)
	_, stop := l.start()
	stop()
	*l.rows = memory.Store{} // a store that begins anew knows no such cursor
	l.add(staysHost)
	reading, release := make(chan struct{}), make(chan struct{})
	l.store.Inject(storetest.On("Domains", storetest.Times(1, func(_ context.Context, _, _ string, call func() error) error {
		close(reading)
		<-release
		return call()
	})))
	te, _ := l.startBlind("reads anew")
	<-reading
	l.want(te, goesHost, true)
	l.health(te, http.StatusOK)
	close(release)
	for te.State().Synced.IsZero() {
		time.Sleep(time.Millisecond)
	}
	l.want(te, staysHost, true)
	l.want(te, goesHost, false)
}

// TestEdge_DoesNotUseADamagedSnapshot starts with one, without a store.
func TestEdge_DoesNotUseADamagedSnapshot(t *testing.T) {
	l := newLonely(t, staysHost)
	_, stop := l.start()
	stop()
	truncate(t, l.snapshot)
	l.store.Inject(storetest.Refuse(errors.New("connection refused")))
	te, _ := l.start()
	l.want(te, staysHost, false)
	l.health(te, http.StatusServiceUnavailable)
	if !l.log.contain("snapshot of the domain table not used") {
		t.Error("the log says nothing")
	}
	l.store.Inject(nil)
	l.step()
	l.want(te, staysHost, true)
	l.health(te, http.StatusOK)
}

// TestEdge_SnapshotFollowsTheTable counts writings: one soon after the start, one
// at the end, and none when nothing changed.
func TestEdge_SnapshotFollowsTheTable(t *testing.T) {
	l := newLonely(t, staysHost)
	_, stop := l.start()
	stop()
	first := l.head()
	_, stop = l.start()
	stop()
	if again := l.head(); again.Written != first.Written {
		t.Error("it was written although nothing changed")
	}
	_, stop = l.start()
	l.add(comesHost)
	l.step()
	stop()
	if last := l.head(); last.Domains != 2 || last.Cursor == first.Cursor {
		t.Errorf("the last is %+v, the first was %+v", last, first)
	}
}

func (l *lonely) head() snapshotHead {
	l.t.Helper()
	_, head, err := snapshotFile{path: l.snapshot, store: "memory"}.read(testTable())
	if err != nil {
		l.t.Fatal(err)
	}
	return head
}

func truncate(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-1); err != nil {
		t.Fatal(err)
	}
}

// lines is what was logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements [io.Writer].
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) contain(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}
