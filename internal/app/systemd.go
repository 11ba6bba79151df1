package app

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"time"
)

// supervisor is the service manager that started this process and wants to be told
// how it does: sd_notify(3). The zero value is none.
type supervisor struct {
	socket   string        // path, or "@" and a name, of a datagram socket
	watchdog time.Duration // after so long without a sign of life it aborts the process; 0: never
	log      *slog.Logger
}

// supervisorOf reads what systemd puts into the environment.
func supervisorOf(getenv func(string) string, log *slog.Logger) supervisor {
	s := supervisor{socket: getenv("NOTIFY_SOCKET"), log: log}
	if us, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64); err == nil && us > 0 {
		s.watchdog = time.Duration(us) * time.Microsecond
	}
	return s
}

// tell sends assignments, a line each.
func (s *supervisor) tell(state string) {
	if s.socket == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.socket, Net: "unixgram"})
	if err == nil {
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		_, err = c.Write([]byte(state))
		_ = c.Close()
	}
	if err != nil {
		s.log.Warn("service manager not told", "state", state, "error", err)
	}
}

// watch gives signs of life until ctx ends, as long as alive returns. One that hangs is
// the last: systemd then aborts the process, whose goroutines are in the log, and starts
// another one.
func (s *supervisor) watch(ctx context.Context, alive func()) {
	if s.socket == "" || s.watchdog == 0 {
		return
	}
	tick := time.NewTicker(s.watchdog / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		alive()
		s.tell("WATCHDOG=1")
	}
}

// alive takes the locks that requests take.
func (a *App) alive() {
	if a.edge != nil {
		_ = a.edge.Metrics(time.Now())
	}
}
