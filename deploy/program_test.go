package deploy

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for an event. It is long: a machine may be busy.
const patience = 2 * time.Minute

// built is the folder of the program, for all tests of a run.
var built string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "shingle-deploy-")
	if err != nil {
		panic(err)
	}
	built = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// program returns the path of a shingle. With outside servers it is the static one that
// is given away; elsewhere it is what `go test` has compiled already, linked.
func program(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var build = sync.OnceValues(func() (string, error) {
	path := filepath.Join(built, "shingle-linux-"+runtime.GOARCH)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w -buildid=", "-o", path, "../cmd/shingle")
	if os.Getenv("SHINGLE_TEST_NFPM") == "" && os.Getenv("SHINGLE_TEST_RUNC") == "" {
		cmd.Args = []string{"go", "build", "-o", path, "../cmd/shingle"}
	} else {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// verb is what a command takes: the names of its flags, and of the variables that set
// them, with the default of each, as --help has them.
type verb struct {
	flags    map[string]string
	settings map[string]string
}

var (
	flagText    = regexp.MustCompile(`(?m)^ +(?:-\w, +)?--(?:\[no-\])?([a-z0-9-]+)(?:=("[^"]*"|\S+))?`)
	settingText = regexp.MustCompile(`\$([A-Z][A-Z0-9_]+)`)
)

func readVerb(t *testing.T, name string) verb {
	t.Helper()
	out, err := exec.Command(program(t), name, "--help").Output()
	if err != nil {
		t.Fatalf("shingle %s --help: %v", name, err)
	}
	v := verb{map[string]string{}, map[string]string{}}
	starts := flagText.FindAllSubmatchIndex(out, -1)
	for i, at := range starts {
		end := len(out)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		flag, value := string(out[at[2]:at[3]]), ""
		if at[4] >= 0 && out[at[4]] == '"' { // else it is the name of a value
			value = strings.Trim(string(out[at[4]:at[5]]), `"`)
		}
		v.flags[flag] = value
		for _, s := range settingText.FindAllSubmatch(out[at[0]:end], -1) {
			v.settings[string(s[1])] = value
		}
	}
	if len(v.flags) < 5 || len(v.settings) < 1 {
		t.Fatalf("shingle %s --help is not understood:\n%s", name, out)
	}
	return v
}

// takes fails the test for an argument that the command does not have.
func (v verb) takes(t *testing.T, args []string) {
	t.Helper()
	for _, arg := range args {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if _, ok := v.flags[strings.TrimPrefix(name, "no-")]; !ok {
			t.Errorf("the command has no flag %s", arg)
		}
	}
}

// ownHost returns an address of loopback that nobody else has: on it every port is free.
func ownHost(t *testing.T) string {
	t.Helper()
	var b [3]byte
	_, _ = rand.Read(b[:])
	host := net.IPv4(127, b[0]|1, b[1], b[2]|1).String()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skip("this machine has no addresses of loopback but 127.0.0.1: " + err.Error())
	}
	_ = l.Close()
	return host
}

// running is a process of Shingle.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	log    logged
	notes  net.PacketConn // where it tells a service manager how it is
	ended  chan struct{}
	result error // once it has
}

// start starts the program with these arguments and this environment, and nothing else
// of the test's: no home, and a folder for temporary files that is not there.
func start(t *testing.T, args []string, env map[string]string) *running {
	t.Helper()
	r := &running{t: t, cmd: exec.Command(program(t), args...), ended: make(chan struct{})}
	socket := filepath.Join(t.TempDir(), "notify")
	notes, err := net.ListenPacket("unixgram", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = notes.Close() })
	r.notes = notes
	r.cmd.Env = []string{"NOTIFY_SOCKET=" + socket, "TMPDIR=/nonexistent"}
	for name, value := range env {
		r.cmd.Env = append(r.cmd.Env, name+"="+value)
	}
	r.cmd.Stdout, r.cmd.Stderr = &r.log, &r.log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		r.result = r.cmd.Wait()
		close(r.ended)
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.ended
		if t.Failed() {
			t.Logf("%q:\n%s", args, r.log.text())
		}
	})
	return r
}

// await waits until something is so.
func (r *running) await(what string, so func() error) {
	r.t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = so(); err == nil {
			return
		}
		select {
		case <-r.ended:
			r.t.Fatalf("%s: it has ended: %v", what, r.result)
		default:
		}
	}
	r.t.Fatalf("%s: %v", what, err)
}

// terminate sends what Docker, Kubernetes and systemd send, and returns how long the
// process says that it may take from now on.
func (r *running) terminate() time.Duration {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	_ = r.notes.SetReadDeadline(time.Now().Add(patience))
	for note := make([]byte, 4<<10); ; {
		n, _, err := r.notes.ReadFrom(note)
		if err != nil {
			r.t.Fatalf("it does not say how long it takes: %v", err)
		}
		for line := range bytes.Lines(note[:n]) {
			if us, ok := bytes.CutPrefix(line, []byte("EXTEND_TIMEOUT_USEC=")); ok {
				d, err := time.ParseDuration(string(bytes.TrimSpace(us)) + "us")
				if err != nil {
					r.t.Fatal(err)
				}
				return d
			}
		}
	}
}

// ends waits until the process has ended, and returns how.
func (r *running) ends() error {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(patience):
		r.t.Fatal("it does not end")
	}
	return r.result
}

// get asks for a URL as a probe does: without following anything.
func get(url string) error {
	c := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := c.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode < 200 || answer.StatusCode >= 400 {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	return nil
}

// dial connects, as a probe of a TCP socket does.
func dial(address string) error {
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return err
	}
	return c.Close()
}

// logged is what a process prints.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write keeps what is printed.
func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
