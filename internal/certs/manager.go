// Package certs owns the life of certificates: it obtains them by ACME, keeps
// them, and has them ready for handshakes.
package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mholt/acmez/v3/acme"
	"github.com/shingle-proxy/shingle"
)

// Config is what a [Manager] is made of. Blobs, Sealer, Permission and
// Directory are required; a zero elsewhere takes the default.
type Config struct {
	Blobs      shingle.Blobs
	Sealer     Sealer
	Permission shingle.Permission // asked before an order, never before serving

	Directory   string         // the CA's ACME directory URL
	Roots       *x509.CertPool // verifies the CA's own HTTPS. Default: the system's
	Email       string         // contact of the account; may be empty
	TermsAgreed bool

	HandshakeWait time.Duration // how long Certificate waits for an issuance. Default 10 s
	IssueTimeout  time.Duration // of one issuance. Default 3 min
	MaxIssuing    int           // issuances at once. Default 8
	MaxWaiting    int           // issuances that run or wait for their turn. Default 1000
	CacheSize     int           // certificates in memory. Default 10,000

	Logger *slog.Logger
	Now    func() time.Time
}

// Manager obtains, keeps and hands out certificates.
type Manager struct {
	cfg        Config
	log        *slog.Logger
	client     *acme.Client
	account    account
	preferALPN atomic.Bool

	cacheMu sync.RWMutex
	cache   map[string]*tls.Certificate

	mu       sync.Mutex
	flights  map[string]*flight
	failures map[string]failure
	closed   bool

	slots   chan struct{} // one for each issuance that runs
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// flight is one issuance and all who wait for it.
type flight struct {
	done chan struct{}
	cert *tls.Certificate // read it and err after done is closed
	err  error
}

// failure is a host for which the last issuance failed.
type failure struct {
	count int
	until time.Time // no attempt before
	err   error
}

// retryDelays are the waits behind the first, second and third failure in a
// row, and behind every later one.
var retryDelays = []time.Duration{time.Minute, 10 * time.Minute, 100 * time.Minute, 24 * time.Hour}

const maxFailures = 10_000

// New returns a Manager. It does not reach out to the CA.
func New(cfg Config) (*Manager, error) {
	if cfg.Blobs == nil || cfg.Sealer == nil || cfg.Permission == nil || cfg.Directory == "" {
		return nil, errors.New("certs: blobs, sealer, permission and directory are needed")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.HandshakeWait = cmp.Or(cfg.HandshakeWait, 10*time.Second)
	cfg.IssueTimeout = cmp.Or(cfg.IssueTimeout, 3*time.Minute)
	cfg.MaxIssuing = cmp.Or(cfg.MaxIssuing, 8)
	cfg.MaxWaiting = cmp.Or(cfg.MaxWaiting, 1000)
	cfg.CacheSize = cmp.Or(cfg.CacheSize, 10_000)
	m := &Manager{
		cfg: cfg, log: cfg.Logger,
		cache: map[string]*tls.Certificate{}, flights: map[string]*flight{}, failures: map[string]failure{},
		slots: make(chan struct{}, cfg.MaxIssuing),
	}
	m.client = &acme.Client{Directory: cfg.Directory, UserAgent: "shingle", HTTPClient: &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: cfg.Roots}, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute},
	}}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m, nil
}

// Close ends the issuances under way and waits for them.
func (m *Manager) Close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.cancel()
	m.running.Wait()
	m.client.HTTPClient.CloseIdleConnections()
	return nil
}

// Certificate returns the certificate for a normalised host: from memory, from
// the store, or from the CA, for which it waits at most HandshakeWait; the
// issuance goes on after that. A valid certificate is served without asking
// anybody.
//
// It returns [shingle.ErrForbidden] when the operator does not allow the host,
// [shingle.ErrLimited] for a limit of the CA's or our own, and otherwise
// [shingle.ErrUnavailable] with the reason.
func (m *Manager) Certificate(ctx context.Context, host string) (*tls.Certificate, error) {
	now := m.cfg.Now()
	m.cacheMu.RLock()
	cert := m.cache[host]
	m.cacheMu.RUnlock()
	if cert != nil && valid(cert, now) {
		if now.After(renewAt(cert)) {
			_, _ = m.fly(host, now) // its failure is logged, and the old one is good still
		}
		return cert, nil
	}
	f, err := m.fly(host, now)
	if err != nil {
		return nil, err
	}
	wait := time.NewTimer(m.cfg.HandshakeWait)
	defer wait.Stop()
	select {
	case <-f.done:
		return f.cert, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-wait.C:
		return nil, shingle.Errorf(shingle.CodeUnavailable, "the certificate for %s is being obtained", host)
	}
}

// Forget drops a host from memory; what is stored stays.
func (m *Manager) Forget(host string) {
	m.cacheMu.Lock()
	defer m.cacheMu.Unlock()
	delete(m.cache, host)
}

// fly returns the flight for host that is under way, or starts one.
func (m *Manager) fly(host string, now time.Time) (*flight, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.flights[host]; f != nil {
		return f, nil
	}
	if m.closed {
		return nil, shingle.Errorf(shingle.CodeUnavailable, "shutting down")
	}
	if f, ok := m.failures[host]; ok && now.Before(f.until) {
		return nil, fmt.Errorf("next attempt after %s: %w", f.until.UTC().Format(time.RFC3339), f.err)
	}
	if len(m.flights) >= m.cfg.MaxWaiting {
		return nil, shingle.Errorf(shingle.CodeLimited, "too many certificates are being obtained, try again later")
	}
	f := &flight{done: make(chan struct{})}
	m.flights[host] = f
	m.running.Go(func() {
		ctx, cancel := context.WithTimeout(m.ctx, m.cfg.IssueTimeout)
		defer cancel()
		f.cert, f.err = m.provide(ctx, host)
		m.land(host, f)
	})
	return f, nil
}

// land ends a flight.
func (m *Manager) land(host string, f *flight) {
	if f.err == nil {
		m.remember(host, f.cert)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.flights, host)
	close(f.done)
	switch {
	case f.err == nil:
		delete(m.failures, host)
	case errors.Is(f.err, errTried):
		if len(m.failures) >= maxFailures {
			clear(m.failures)
		}
		n := m.failures[host].count
		delay := retryDelays[min(n, len(retryDelays)-1)]
		m.failures[host] = failure{count: n + 1, until: m.cfg.Now().Add(delay + rand.N(delay/10)), err: f.err}
	}
}

// errTried marks a failure that has cost the CA an attempt, and so must not be
// repeated at once.
var errTried = errors.New("issuance failed")

// provide returns the stored certificate when it has some time left, and else a
// new one.
func (m *Manager) provide(ctx context.Context, host string) (*tls.Certificate, error) {
	stored, version, err := m.load(ctx, host)
	if err != nil && !errors.Is(err, shingle.ErrNotFound) {
		m.log.Error("certificate could not be loaded", "host", host, "error", err)
		return nil, err
	}
	now := m.cfg.Now()
	if stored != nil && now.Before(renewAt(stored)) {
		return stored, nil
	}
	if stored != nil && valid(stored, now) {
		m.remember(host, stored) // to be served while the renewal runs
	}
	if err := m.cfg.Permission.MayIssue(ctx, host); err != nil {
		return nil, err
	}
	select {
	case m.slots <- struct{}{}:
		defer func() { <-m.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return m.issue(ctx, host, version)
}

func (m *Manager) issue(ctx context.Context, host, version string) (*tls.Certificate, error) {
	start := time.Now()
	m.log.Info("obtaining certificate", "host", host, "ca", m.cfg.Directory)
	chain, key, err := m.obtain(ctx, host)
	if err == nil {
		var cert *tls.Certificate
		if cert, err = m.save(ctx, host, chain, key, version); err == nil {
			m.log.Info("certificate obtained", "host", host, "took", time.Since(start), "expires", cert.Leaf.NotAfter)
			return cert, nil
		}
	}
	m.log.Error("certificate could not be obtained", "host", host, "took", time.Since(start), "error", err)
	if ctx.Err() != nil && m.ctx.Err() != nil {
		return nil, err // shutting down, not the host's fault
	}
	return nil, fmt.Errorf("%w: %w", errTried, err)
}

func (m *Manager) remember(host string, cert *tls.Certificate) {
	m.cacheMu.Lock()
	defer m.cacheMu.Unlock()
	if _, ok := m.cache[host]; !ok && len(m.cache) >= m.cfg.CacheSize {
		for other := range m.cache { // any one: the order of a map is random
			delete(m.cache, other)
			break
		}
	}
	m.cache[host] = cert
}
