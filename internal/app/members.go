package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/edge"
)

// reporter returns what describes this process as a member of the fleet, time and
// again.
func (a *App) reporter() func(context.Context) shingle.Member {
	id, began := a.memberID(), time.Now().UTC().Truncate(time.Second)
	name, _ := os.Hostname()
	var load loadMeter
	return func(ctx context.Context) shingle.Member {
		m := shingle.Member{
			ID: id, Role: a.cfg.Role.String(), Name: name, Version: a.cfg.Version, Region: a.cfg.TableRegion, Started: began,
			Degraded: a.degraded(), MasterKeys: a.masterKey.usable(ctx), Unreadable: a.cfg.unreadable.Summary(),
		}
		if a.edge != nil {
			s := a.edge.State()
			m.Draining = a.edge.Draining()
			m.Address = reachable(a.listen.HTTPS, a.cfg.PublicPort)
			m.Table, m.Load = &shingle.MemberTable{Domains: s.Domains, Synced: s.Synced.UTC().Truncate(time.Second)}, load.take(a.edge.Load(), time.Now())
			if s.Synced.IsZero() {
				m.Table.Synced = time.Time{}
			}
		}
		if a.listen.Control != nil {
			m.API = reachable(a.listen.Control, 0)
		}
		return m
	}
}

// stateChanged returns what has the list of processes hear of how the edge is.
func (a *App) stateChanged() func() {
	know := sync.OnceFunc(func() { close(a.known) })
	return func() {
		know()
		select {
		case a.changed <- struct{}{}:
		default: // it is to be told already
		}
	}
}

// memberID is the same for each process in a data folder; of several at once, and of
// those without a lasting one, it is a new one. A function has one, however many
// copies of it there are.
func (a *App) memberID() string {
	from := cmp.Or(a.instance.name, rand.Text())[:10]
	if a.cfg.OnLambda {
		from = "lambda" + os.Getenv("AWS_REGION") + os.Getenv("AWS_LAMBDA_FUNCTION_NAME")
	}
	id := strings.Map(func(r rune) rune {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return -1
		}
		return r
	}, strings.ToLower(from))
	return id[:min(len(id), 64)]
}

// reachable is the address of a listener, with one of this machine's when it listens
// on all.
func reachable(l net.Listener, publicPort int) string {
	addr, _ := l.Addr().(*net.TCPAddr)
	if addr == nil {
		return l.Addr().String()
	}
	ip := addr.IP
	if ip.IsUnspecified() {
		list, _ := net.InterfaceAddrs()
		for _, x := range list {
			if n, ok := x.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
				ip = n.IP
				break
			}
		}
	}
	return net.JoinHostPort(ip.String(), strconv.Itoa(cmp.Or(publicPort, addr.Port)))
}

// loadMeter makes rates of an edge's counts.
type loadMeter struct {
	last edge.Load
	at   time.Time // of last; zero: there is none
}

// take returns the load since the last take.
func (m *loadMeter) take(l edge.Load, now time.Time) *shingle.MemberLoad {
	out := &shingle.MemberLoad{Connections: l.Connections, MaxConnections: l.MaxConnections}
	if spent := now.Sub(m.at).Seconds(); !m.at.IsZero() && spent > 0 {
		rate := func(n uint64) float64 { return float64(int64(float64(n)/spent*100)) / 100 } // shorter as text
		out.Requests, out.Errors = rate(l.Requests-m.last.Requests), rate(l.Errors-m.last.Errors)
	}
	m.last, m.at = l, now
	return out
}
