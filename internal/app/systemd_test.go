package app

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// manager listens as systemd does, and returns what it is told.
func manager(t *testing.T, watchdog string) (supervisor, func() string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	environment := map[string]string{"NOTIFY_SOCKET": socket, "WATCHDOG_USEC": watchdog}
	return supervisorOf(func(name string) string { return environment[name] }, slog.New(slog.DiscardHandler)), func() string {
		t.Helper()
		_ = l.SetReadDeadline(time.Now().Add(time.Minute))
		b := make([]byte, 4096)
		n, err := l.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

func TestSupervisor_SignsOfLifeEndWithWhatIsWatched(t *testing.T) {
	s, told := manager(t, "30000")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lives, hang, ended := 0, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		s.watch(ctx, func() {
			if lives++; lives > 2 {
				<-hang
			}
		})
	}()
	for range 2 {
		if got := told(); got != "WATCHDOG=1" {
			t.Errorf("told %q", got)
		}
	}
	s.tell("STATUS=it hangs")
	if got := told(); got != "STATUS=it hangs" {
		t.Errorf("a sign of life of what hangs: %q", got)
	}
	cancel()
	close(hang)
	<-ended
}

func TestSupervisor_NoneAsks(t *testing.T) {
	for _, environment := range []map[string]string{{}, {"WATCHDOG_USEC": "1000"}, {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "x"}} {
		s := supervisorOf(func(name string) string { return environment[name] }, slog.New(slog.DiscardHandler))
		s.tell("READY=1")
		s.watch(t.Context(), func() { t.Error("watched") })
	}
}

// TestStopping_AsksForTheTimeThatItTakes: else systemd kills what still drains.
func TestStopping_AsksForTheTimeThatItTakes(t *testing.T) {
	got := stopping(&Config{ShutdownDelay: 30 * time.Second, GracePeriod: 2 * time.Minute})
	if want := "STOPPING=1\nSTATUS=requests under way end\nEXTEND_TIMEOUT_USEC=165000000"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
}
