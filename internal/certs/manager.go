package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/shingle-proxy/shingle"
)

const (
	maxLoading = 4096             // hosts whose certificates are being read from the store
	closeWait  = 10 * time.Second // for issuances to end; longer than a store operation
)

// Manager obtains, keeps and hands out certificates. Its methods are safe for
// concurrent use and take hosts that [shingle.NormalizeDomain] returned.
type Manager struct {
	cfg       Config
	log       *slog.Logger
	store     *store
	copies    *copySync
	keys      *accountKeys
	cas       []*authority
	leases    *leases // of hosts
	leads     *leases // of the housekeeping
	budgets   budgets
	journal   *journal
	cache     *cache
	refusals  *refusals
	readiness *readiness
	visitors  *visitors
	working   atomic.Int32 // 1: this process is the fleet's worker
	survey    survey
	stops     stops
	calendar  calendar
	renewed   atomic.Pointer[map[string]bool] // hosts whose certificates there is news of; nil without a replica

	delegations *delegations

	loads  *flights      // from the store
	issues *flights      // from the CA
	turns  chan struct{} // one for each issuance that runs

	rewraps    chan struct{}          // held by the rewrap that runs
	keyTrouble atomic.Pointer[string] // with the master keys; empty: none
	keysAt     time.Time              // when they are looked at next; Follow's alone
	recallAt   time.Time              // when to look for what a wrong clock has put off; Work's alone
	cancel     context.CancelFunc

	parked     atomic.Int64 // issuances that gave their turn away while DNS takes its time
	preferALPN atomic.Bool  // TLS-ALPN-01 worked last, not HTTP-01
}

// New returns a Manager, or [shingle.ErrInvalid] for a bad Config. It reaches
// out neither to the store nor to the CA. The caller closes it.
func New(cfg Config) (*Manager, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure certificates: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &Manager{
		cfg:       cfg,
		log:       cfg.Logger,
		store:     newStore(ctx, &cfg),
		cache:     newCache(cfg.CacheBytes),
		refusals:  newRefusals(),
		readiness: newReadiness(),
		visitors:  newVisitors(),
		loads:     newFlights(ctx, maxLoading, shingle.Errorf(shingle.CodeLimited, "too many certificates are being loaded; try again in a moment")),
		issues:    newFlights(ctx, cfg.MaxWaiting, shingle.Errorf(shingle.CodeLimited, "too many certificates are being obtained; try again later")),
		turns:     make(chan struct{}, cfg.MaxIssuing),
		rewraps:   make(chan struct{}, 1),
		calendar:  calendar{turn: make(chan struct{}, 1)},
		cancel:    cancel,
	}
	m.keyTrouble.Store(new(string))
	m.copies = newCopySync(m.store)
	m.keys = newAccountKeys(m.store)
	m.delegations = newDelegations(cfg.DNS01, m.store)
	m.leases = newLeases(m.store, cfg.Instance, cfg.LeaseTime)
	m.leads = newLeases(m.store, cfg.Instance, 2*cfg.LeaseTime)
	m.budgets = budgets{m.store}
	m.journal = &journal{store: m.store, log: m.log, now: cfg.Now}
	for _, ca := range cfg.CAs {
		m.cas = append(m.cas, newAuthority(&m.cfg, ca, m.keys, m.store))
	}
	return m, nil
}

// Close ends the issuances under way and waits for them, within bounds. It
// returns an error when some did not end.
func (m *Manager) Close() error {
	m.cancel()
	deadline := time.Now().Add(closeWait)
	loaded := m.loads.close(closeWait)
	issued := m.issues.close(time.Until(deadline))
	for _, ca := range m.cas {
		ca.client.transport.CloseIdleConnections()
	}
	if !loaded || !issued {
		return errors.New("close certificates: an issuance did not end")
	}
	return nil
}

// Certificate returns host's certificate: from memory, else from the store, or
// from the local copy when the store does not answer, else from the CA, for which it waits at most HandshakeWait; the issuance goes
// on after that. A valid certificate is served without asking anybody, and its
// renewal, when due, is begun in the background.
//
// It returns [shingle.ErrForbidden] when the operator does not allow host,
// [shingle.ErrLimited] for a limit of the CA or of ours, and otherwise
// [shingle.ErrUnavailable], each with the reason.
func (m *Manager) Certificate(ctx context.Context, host string) (*tls.Certificate, error) {
	now := m.cfg.Now()
	e := m.cache.get(host)
	if e == nil || !e.valid(now) {
		var err error
		m.visitors.waits.Add(1)
		if e, err = m.await(ctx, host); err != nil {
			return nil, err
		}
	}
	switch {
	case e.stale.Load() && e.stale.CompareAndSwap(true, false):
		m.refresh(host, e)
	case e.due(now) && e.claim(now):
		m.renew(host, now)
	}
	return &e.cert, nil
}

// Issuing reports whether an issuance is under way in this process.
func (m *Manager) Issuing() bool { return m.issues.any() }

// Forget drops host from memory and stops what is under way for it: the domain
// was deleted or paused. What is stored stays.
func (m *Manager) Forget(host string) {
	m.loads.stop(host)
	m.issues.stop(host)
	m.cache.remove(host)
	m.refusals.clear(host)
	m.readiness.clear(host)
}

// await returns a valid entry that is not in memory, waiting a bounded time.
func (m *Manager) await(ctx context.Context, host string) (*entry, error) {
	ctx, cancel := context.WithTimeout(ctx, m.handshakeWait(ctx))
	defer cancel()
	now := m.cfg.Now()
	if err := m.refusals.recent(host, now); err != nil {
		return nil, err
	}
	if !m.loads.has(host) {
		if err := m.visitors.mayLoad(ctx, now); err != nil {
			return nil, err
		}
	}
	f, err := m.loadFlight(host)
	if err != nil {
		return nil, err
	}
	e, err := f.wait(ctx)
	switch {
	case err == nil && e.valid(m.cfg.Now()):
		return e, nil
	case err != nil && !errors.Is(err, shingle.ErrNotFound):
		return nil, err
	}
	if err := m.refusals.look(host, now); err != nil {
		return nil, err
	}
	if !m.issues.has(host) {
		if err := m.visitors.mayBegin(ctx, host, now); err != nil {
			return nil, err
		}
	}
	if f, err = m.begin(host, m.cfg.Now()); err != nil {
		return nil, err
	}
	return f.wait(ctx)
}

// loadFlight joins the flight that brings host's stored certificate into memory,
// or starts one.
func (m *Manager) loadFlight(host string) (*flight, error) {
	return m.loads.join(host, func(ctx context.Context, _ *flight) (*entry, error) {
		e, err := m.loadToServe(ctx, host)
		if err == nil && e.valid(m.cfg.Now()) {
			m.cache.put(host, e)
		}
		return e, err
	})
}

// alertTime is left of a handshake's time, so that a client whose hello was slow
// gets an alert too.
const alertTime = 250 * time.Millisecond

func (m *Manager) handshakeWait(ctx context.Context) time.Duration {
	if end, ok := ctx.Deadline(); ok {
		return min(m.cfg.HandshakeWait, time.Until(end)-alertTime)
	}
	return m.cfg.HandshakeWait
}

// renew begins a renewal that nobody waits for.
func (m *Manager) renew(host string, now time.Time) {
	if _, err := m.begin(host, now); err != nil {
		m.log.Debug("renewal not begun", "host", host, "error", err)
	}
}

// begin joins the issuance for host, or starts one, unless a failed one is not
// long enough ago.
func (m *Manager) begin(host string, now time.Time) (*flight, error) {
	if err := m.refusals.check(host, now); err != nil {
		return nil, err
	}
	return m.issues.join(host, func(ctx context.Context, f *flight) (*entry, error) {
		return m.obtain(ctx, host, f)
	})
}
