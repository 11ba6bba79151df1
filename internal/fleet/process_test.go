package fleet

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/certs"
	"github.com/shingle-proxy/shingle/internal/keyfile"
	"github.com/shingle-proxy/shingle/internal/members"
	"github.com/shingle-proxy/shingle/internal/sqlite"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// setting is what a process of the fleet is told at its start.
type setting struct {
	DB, KeyFile, Directory, Roots string

	Skew time.Duration // of its clock
	Work bool          // runs the worker and follows the news
	ID   string        // by which it reports itself to the fleet; empty: it does not

	DNS, Provider string // address of the played DNS, and URL of who changes it; empty: no DNS-01

	// The fault of its store: "die before", "die after", "refuse", "hang" or "lose
	// reply", at the first Times calls of Op whose key has the prefix.
	Fault, Op, Prefix string
	Times             int
}

const environment = "SHINGLE_TEST_FLEET"

// TestMain makes this binary a process of the fleet when it is told to be one.
func TestMain(m *testing.M) {
	text, database := os.Getenv(environment), os.Getenv(eventsEnvironment)
	if text == "" && database == "" {
		flag.Parse()
		_ = flag.Set("test.parallel", "8") // they wait for leases, most of the time
		code := m.Run()
		removeProgram()
		os.Exit(code)
	}
	role, setting := serve, text
	if database != "" {
		role, setting = serveEvents, database
	}
	if err := role(context.Background(), setting); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve answers each line "HOST" on stdin with "HOST SERIAL" or "HOST error
// MESSAGE", many at once, until stdin ends. "upload:FILE" in place of a host uploads
// what is in the file.
func serve(ctx context.Context, text string) error {
	var s setting
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	db, err := sqlite.Open(ctx, sqlite.Config{Path: s.DB})
	if err != nil {
		return err
	}
	key, err := keyfile.Open(s.KeyFile)
	if err != nil {
		return err
	}
	roster := members.New(members.Config{Blobs: db})
	m, err := open(s, db, roster)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	if s.ID != "" {
		running.Go(func() {
			roster.Report(ctx, func(ctx context.Context) shingle.Member {
				keys, _ := key.IDs(ctx)
				return shingle.Member{ID: s.ID, MasterKeys: keys}
			})
		})
	}
	if s.Work {
		running.Go(func() { m.Lead(ctx, map[string]func(context.Context) error{"certificates": m.Work}) })
		running.Go(func() { m.Follow(ctx) })
	}
	var out sync.Mutex
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		host := lines.Text()
		running.Go(func() {
			answer := host + " "
			if file, ok := strings.CutPrefix(host, uploadCommand); ok {
				answer += upload(m, file)
			} else {
				answer += serial(m, host)
			}
			out.Lock()
			defer out.Unlock()
			fmt.Println(answer)
		})
	}
	cancel()
	running.Wait()
	if err := m.Close(); err != nil {
		return err
	}
	return db.Close()
}

// serial returns the serial number of host's certificate, or "error" and why.
func serial(m *certs.Manager, host string) string {
	if answer, ok := rewrap(m, host); ok {
		return answer
	}
	cert, err := m.Certificate(context.Background(), host)
	if err != nil {
		return "error " + err.Error()
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return "error " + err.Error()
	}
	return leaf.SerialNumber.Text(16)
}

func open(s setting, db *sqlite.DB, roster *members.Roster) (*certs.Manager, error) {
	blobs := &storetest.FaultyBlobs{Blobs: db}
	blobs.Inject(s.fault())
	key, err := keyfile.Open(s.KeyFile)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(s.Roots)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	zone, err := challengeZone(s.DNS, &remoteProvider{s.Provider})
	if err != nil {
		return nil, err
	}
	return certs.New(certs.Config{
		Blobs: blobs, DNS01: zone, MasterKey: key, Lacking: roster.Lacking, TermsAgreed: true, CAs: []certs.CA{{Directory: s.Directory, Roots: roots}},
		Permission: shingle.PermissionFunc(func(context.Context, string) error { return nil }), Domains: db,
		HandshakeWait: time.Minute, LeaseTime: leaseTime, Poll: 100 * time.Millisecond, RetryDelay: 100 * time.Millisecond,
		Now:    func() time.Time { return time.Now().Add(s.Skew) },
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
}

const leaseTime = time.Second

func (s *setting) fault() storetest.Fault {
	var f storetest.Fault
	switch s.Fault {
	case "":
		return nil
	case "die before":
		f = func(_ context.Context, _, _ string, _ func() error) error { return die() }
	case "die after":
		f = func(_ context.Context, _, _ string, call func() error) error { _ = call(); return die() }
	case "refuse":
		f = storetest.Refuse(shingle.ErrUnavailable)
	case "hang":
		f = storetest.Block()
	case "lose reply":
		f = storetest.LoseReply(shingle.ErrUnavailable)
	}
	times := storetest.Times(s.Times, f)
	return func(ctx context.Context, op, key string, call func() error) error {
		if op == s.Op && strings.HasPrefix(key, s.Prefix) {
			return times(ctx, op, key, call)
		}
		return call()
	}
}

// die ends this process as kill -9 does.
func die() error {
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		return err
	}
	select {} // until the signal arrives
}

// member is a process of the fleet.
type member struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	mu      sync.Mutex
	waiting map[string][]chan string
	gone    chan struct{} // closed when it has ended
}

func start(t *testing.T, s setting) *member {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	p := &member{cmd: exec.CommandContext(t.Context(), os.Args[0]), waiting: map[string][]chan string{}, gone: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), environment+"="+string(text))
	if testing.Verbose() {
		p.cmd.Stderr = os.Stderr
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.read(stdout)
	t.Cleanup(func() { _ = p.stdin.Close(); <-p.gone })
	return p
}

func (p *member) read(stdout io.Reader) {
	defer close(p.gone)
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		host, answer, _ := strings.Cut(lines.Text(), " ")
		p.mu.Lock()
		p.waiting[host][0] <- answer
		p.waiting[host] = p.waiting[host][1:]
		p.mu.Unlock()
	}
	_ = p.cmd.Wait()
}

// ask has the process get host's certificate. The answer is its serial number,
// "error ..." or, for a process that ended first, "gone".
func (p *member) ask(host string) string {
	answer := make(chan string, 1)
	p.mu.Lock()
	p.waiting[host] = append(p.waiting[host], answer)
	_, err := fmt.Fprintln(p.stdin, host)
	p.mu.Unlock()
	if err != nil {
		return "gone"
	}
	select {
	case a := <-answer:
		return a
	case <-p.gone:
		return "gone"
	}
}

// persist asks until there is a certificate, as visitors do, for some time.
func (p *member) persist(host string) (answer string) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if answer = p.ask(host); !strings.HasPrefix(answer, "error") {
			return answer
		}
	}
	return answer
}

func (p *member) kill() { _ = p.cmd.Process.Kill(); <-p.gone }
