package fleet

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/certs"
	"github.com/shingle-proxy/shingle/internal/certtest"
)

const uploadCommand = "upload:"

// upload uploads what is in a file for host.
func upload(m *certs.Manager, file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return "error " + err.Error()
	}
	var u shingle.Upload
	if err := json.Unmarshal(data, &u); err != nil {
		return "error " + err.Error()
	}
	c, err := m.Upload(context.Background(), host, u)
	if err != nil {
		return "error " + err.Error()
	}
	return c.Serial
}

// ownCertificate writes a file for an upload, of a certificate that is older than
// those that the CA issues now.
func (w *world) ownCertificate(keep bool) (command, serial string) {
	w.t.Helper()
	leaf := certtest.New(w.t, "Own").Issue(func(c *x509.Certificate) { c.NotBefore = c.NotBefore.AddDate(0, 0, -10) }, host)
	data, err := json.Marshal(shingle.Upload{Chain: leaf.Chain(), Key: leaf.KeyPEM(), Keep: keep, By: "tok1"})
	check(w.t, err)
	file := filepath.Join(w.t.TempDir(), "upload")
	check(w.t, os.WriteFile(file, data, 0o600))
	return uploadCommand + file, leaf.Cert.SerialNumber.Text(16)
}

// becomes waits until a process serves the certificate with that serial number.
func (w *world) becomes(p *member, serial string) {
	w.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	answer := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		if answer = p.ask(host); answer == serial {
			return
		}
	}
	w.t.Fatalf("serves %q, want %q", answer, serial)
}

// TestUpload_ReplacesWhatEveryEdgeHasInMemory uploads at one process what the
// others have another certificate for.
func TestUpload_ReplacesWhatEveryEdgeHasInMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	processes := []*member{w.worker(), w.worker(), w.worker()}
	w.settled(1, processes...)
	for _, keep := range []bool{false, true, false} {
		command, serial := w.ownCertificate(keep)
		if answer := processes[0].ask(command); answer != serial {
			t.Fatalf("the upload answers %q", answer)
		}
		for _, p := range processes {
			w.becomes(p, serial)
		}
	}
	w.settled(1, processes...)
}

// TestUpload_KilledAtTheStore kills the process before and after each write of an
// upload. Whoever repeats it finds all in order, and so does who does not.
func TestUpload_KilledAtTheStore(t *testing.T) {
	for _, prefix := range []string{"leases/certs/", "certs/", "news/", "due/", "plans/"} {
		for _, fault := range []string{"die before", "die after"} {
			t.Run(fault+" "+strings.ReplaceAll(prefix, "/", "."), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				edge := w.worker()
				w.settled(1, edge)
				s := w.setting
				s.Fault, s.Op, s.Prefix = fault, "Put", prefix
				victim := start(t, s)
				command, serial := w.ownCertificate(true)
				if answer := victim.ask(command); answer != "gone" {
					t.Fatalf("the victim answers %q", answer)
				}
				again := start(t, w.setting)
				answer := again.ask(command)
				for deadline := time.Now().Add(time.Minute); strings.HasPrefix(answer, "error") && time.Now().Before(deadline); {
					answer = again.ask(command) // the dead one has the lease for a while
				}
				if answer != serial {
					t.Fatalf("the upload answers %q", answer)
				}
				w.becomes(edge, serial)
				plan, err := w.db.Get(t.Context(), "plans/"+host)
				check(t, err)
				if !strings.Contains(string(plan.Value), `"keep":true`) || !strings.Contains(string(plan.Value), serial) {
					t.Errorf("plan %s", plan.Value)
				}
				w.settled(1, edge, again)
			})
		}
	}
}
