package debiantest

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestMachine_IsADebianWithAWorldAround(t *testing.T) {
	t.Parallel()
	m := Boot(t)
	if got := m.Run("cat", "/proc/1/comm"); strings.TrimSpace(got) != "systemd" {
		t.Errorf("process 1 is %q", got)
	}
	l := m.Listen(net.JoinHostPort(Metadata, "80"))
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) }), ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	if got := m.Run("curl", "-sS", "http://"+Metadata+"/"); !strings.HasPrefix(got, Address+":") {
		t.Errorf("the metadata is asked by %q", got)
	}
	if out, err := m.Try("curl", "-sS", "--max-time", "1", "http://192.0.2.1/"); err == nil {
		t.Errorf("the machine reaches more than the test: %s", out)
	}
	m.Write("/root/sub/file", "written", 0o600)
	if got := m.Run("cat", "/root/sub/file"); got != "written" {
		t.Errorf("read %q", got)
	}
}
