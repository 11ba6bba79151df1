package certs

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/shingle-proxy/shingle"
)

// Bounds on what the question whether a host is ready may cost. It is asked by
// whoever comes to port 80.
const (
	readinessReads   = 50 // of the store, a second
	readinessBurst   = 100
	readinessTimeout = 2 * time.Second // of one read
	maxReadiness     = 10_000          // hosts remembered
	readyTime        = 10 * time.Minute
	unreadyTime      = 5 * time.Second
)

// readiness remembers what the store last said about hosts that are not in
// memory.
type readiness struct {
	budget *rate.Limiter
	reads  singleflight.Group

	mu   sync.Mutex
	list map[string]known
}

type known struct {
	shingle.Readiness
	until time.Time // look again after
}

func newReadiness() *readiness {
	return &readiness{budget: rate.NewLimiter(readinessReads, readinessBurst), list: map[string]known{}}
}

// ready is also the answer for what is not known: the handshake then tells.
var ready = shingle.Readiness{State: shingle.CertificateValid}

// Readiness returns what a visitor may be told about host's certificate. It
// answers from memory, or else costs at most one read of the store, within a
// budget for all hosts. What it cannot learn it takes for ready, and so a host
// without a plan: a wildcard may cover it, and if not the handshake begins one.
func (m *Manager) Readiness(ctx context.Context, host string) shingle.Readiness {
	now := m.cfg.Now()
	if e := m.cache.get(host); e != nil && e.valid(now) {
		return ready
	}
	r, ok := m.readiness.get(host, now)
	if !ok {
		r = m.lookReadiness(ctx, host, now)
	}
	if r.State != shingle.CertificateValid && m.issues.has(host) {
		r.Issuing = true
	}
	return r
}

func (m *Manager) lookReadiness(ctx context.Context, host string, now time.Time) shingle.Readiness {
	read := m.readiness.reads.DoChan(host, func() (any, error) {
		if !m.readiness.budget.AllowN(now, 1) {
			return ready, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readinessTimeout)
		defer cancel()
		p, _, err := m.store.plan(ctx, host)
		switch {
		case errors.Is(err, shingle.ErrNotFound):
			m.readiness.put(host, known{ready, now.Add(unreadyTime)})
			return ready, nil
		case err != nil:
			return ready, nil
		}
		k := p.readiness(now)
		m.readiness.put(host, k)
		return k.Readiness, nil
	})
	select {
	case r := <-read:
		return r.Val.(shingle.Readiness)
	case <-ctx.Done():
		return ready
	}
}

func (p *plan) readiness(now time.Time) known {
	r := shingle.Readiness{State: p.state(now)}
	if r.State == shingle.CertificateValid {
		return known{r, now.Add(min(readyTime, p.NotAfter.Sub(now)))}
	}
	if p.Next.After(now) {
		r.Next = p.Next
	}
	if r.State != shingle.CertificateWaiting && p.Failed != nil {
		r.Who, r.Reason = p.Failed.Who, p.Failed.Reason
		r.Problem = p.Failed.Problem[strings.LastIndexByte(p.Failed.Problem, ':')+1:]
	}
	return known{r, now.Add(unreadyTime)}
}

func (r *readiness) get(host string, now time.Time) (shingle.Readiness, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.list[host]
	return k.Readiness, ok && now.Before(k.until)
}

func (r *readiness) put(host string, k known) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.list[host]; !ok && len(r.list) >= maxReadiness {
		for victim := range r.list { // in random order
			delete(r.list, victim)
			break
		}
	}
	r.list[host] = k
}

func (r *readiness) clear(host string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.list, host)
}
