package fleet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle/internal/debiantest"
)

// visit asks for host at the machine.
func (i *instance) visit(rootFile, host string) error {
	pem, err := os.ReadFile(rootFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	answer, err := i.client(&tls.Config{RootCAs: roots}).Get("https://" + host + "/?format=json")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var seen struct{ Header http.Header }
	if err := json.NewDecoder(answer.Body).Decode(&seen); err != nil || seen.Header.Get("User-Custom-Domain") != host {
		return fmt.Errorf("status %d, the origin saw %v, %w", answer.StatusCode, seen.Header, err)
	}
	return nil
}

// maxExposure is what systemd may think of the unit, of 10: what is left is that it
// talks to the Internet, on low ports, from the machine's own root.
const maxExposure = 1.6

var exposure = regexp.MustCompile(`Overall exposure level for shingle\.service: ([0-9.]+)`)

// checkUnit holds the running unit to what it is for: it is shut in, it comes back
// when it is killed, and ends when it is told to.
func (i *instance) checkUnit(visit func() error) {
	i.t.Helper()
	checkUnit(i.t, i.Machine)
	before := strings.TrimSpace(i.Run("systemctl", "show", "--value", "--property=MainPID", "shingle"))
	i.Run("systemctl", "kill", "--signal=KILL", "shingle")
	await(i.t, "back after a kill", func() error {
		if now := strings.TrimSpace(i.Run("systemctl", "show", "--value", "--property=MainPID", "shingle")); now == before || now == "0" {
			return errors.New("process " + now)
		}
		return visit()
	})
	i.checkWatchdog(visit)
	i.Run("systemctl", "stop", "shingle")
	if got := i.Run("systemctl", "show", "--property=Result,ExecMainStatus,ActiveState", "shingle"); got != "Result=success\nExecMainStatus=0\nActiveState=inactive\n" {
		i.t.Errorf("stopped:\n%s", got)
	}
}

// checkWatchdog stops the process without ending it, as a fault that hangs it would.
func (i *instance) checkWatchdog(visit func() error) {
	i.t.Helper()
	if got := i.Run("systemctl", "show", "--property=WatchdogUSec,StatusText", "shingle"); got != "StatusText=serves\nWatchdogUSec=1min\n" && got != "WatchdogUSec=1min\nStatusText=serves\n" {
		i.t.Errorf("systemd knows:\n%s", got)
	}
	i.Write("/run/systemd/system/shingle.service.d/quick.conf", "[Service]\nWatchdogSec=3\nTimeoutAbortSec=1\n", 0o644)
	i.Run("systemctl", "daemon-reload")
	i.Run("systemctl", "restart", "shingle")
	hung := strings.TrimSpace(i.Run("systemctl", "show", "--value", "--property=MainPID", "shingle"))
	i.Run("sh", "-c", "kill -STOP "+hung)
	await(i.t, "back after it hung", func() error {
		if now := strings.TrimSpace(i.Run("systemctl", "show", "--value", "--property=MainPID", "shingle")); now == hung || now == "0" {
			return errors.New("process " + now)
		}
		return visit()
	})
}

// checkUnit has systemd judge the unit, and looks at what the process may do.
func checkUnit(t *testing.T, m *debiantest.Machine) {
	t.Helper()
	if out, err := m.Try("systemd-analyze", "verify", "shingle.service"); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out := m.Run("systemd-analyze", "security", "--no-pager", "shingle.service")
	level := exposure.FindStringSubmatch(out)
	if level == nil {
		t.Fatalf("systemd-analyze security:\n%s", out)
	}
	var got float64
	if _, err := fmt.Sscan(level[1], &got); err != nil || got > maxExposure {
		t.Errorf("exposure %s, more than %v:\n%s", level[1], maxExposure, out)
	}
	pid := strings.TrimSpace(m.Run("systemctl", "show", "--value", "--property=MainPID", "shingle"))
	status := m.Run("cat", "/proc/"+pid+"/status")
	for _, want := range []string{"CapEff:\t0000000000000400", "CapBnd:\t0000000000000400", "NoNewPrivs:\t1", "Seccomp:\t2"} { // 1<<10: CAP_NET_BIND_SERVICE
		if !strings.Contains(status, want) {
			t.Errorf("the process is not shut in: no %q in\n%s", want, status)
		}
	}
	if owner := m.Run("stat", "--format=%U %a", "/var/lib/shingle"); owner != "shingle 700\n" {
		t.Errorf("/var/lib/shingle is %q", owner)
	}
}

// forward leads connections of l to an address.
func forward(t *testing.T, l net.Listener, dial func(ctx context.Context, network, address string) (net.Conn, error), network, address string) {
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			to, err := dial(context.Background(), network, address)
			if err != nil {
				c.Close()
				continue
			}
			go func() { _, _ = io.Copy(to, c); to.Close() }()
			go func() { _, _ = io.Copy(c, to); c.Close() }()
		}
	}()
}

func listenOn(t *testing.T, port int) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
	check(t, err)
	return l
}

// setting is a setting that processes of the fleet get.
func (p *programs) setting(name string) string {
	for _, line := range p.env {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return value
		}
	}
	return ""
}
