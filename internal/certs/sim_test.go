package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/keyfile"
	"github.com/shingle-proxy/shingle/internal/memory"
)

const day = 24 * time.Hour

// sim is the engine over a store in memory, whose operations are counted, and a
// CA that enforces its limits, in the virtual time of testing/synctest: all of
// the engine runs, down to the HTTP requests.
type sim struct {
	t     testing.TB
	cas   []*simCA
	store *memory.Store
	blobs *countedBlobs
	m     *Manager
}

// newSim returns a simulation that does not work yet. It is called in a bubble.
func newSim(t testing.TB, cas []*simCA, change func(*Config)) *sim {
	s := &sim{t: t, cas: cas, store: &memory.Store{}}
	s.blobs = &countedBlobs{Blobs: s.store}
	key, err := keyfile.Open(filepath.Join(t.TempDir(), "seal.key"))
	s.check(err)
	cfg := Config{
		Blobs: s.blobs, MasterKey: key, TermsAgreed: true, Domains: s.store, Poll: time.Minute, LeaseTime: 4 * time.Minute,
		Permission: shingle.PermissionFunc(func(context.Context, string) error { return nil }),
	}
	for _, ca := range cas {
		cfg.CAs = append(cfg.CAs, CA{Directory: ca.url + "/directory"})
	}
	if change != nil {
		change(&cfg)
	}
	s.m, err = New(cfg)
	s.check(err)
	for i, ca := range cas {
		s.m.cas[i].client.HTTPClient.Transport.(*caTransport).next = ca
	}
	return s
}

func (s *sim) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// process is another process of the fleet.
func (s *sim) process(change func(*Config)) *Manager {
	cfg := s.m.cfg
	cfg.Instance = ""
	if change != nil {
		change(&cfg)
	}
	m, err := New(cfg)
	s.check(err)
	s.t.Cleanup(func() { _ = m.Close() })
	for i, ca := range s.cas {
		m.cas[i].client.HTTPClient.Transport.(*caTransport).next = ca
	}
	return m
}

// work has the first process lead until the returned function is called.
func (s *sim) work() (stop func()) { return s.lead(s.m) }

func (s *sim) lead(m *Manager) (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Lead(ctx, map[string]func(context.Context) error{"certificates": m.Work})
	}()
	return func() { cancel(); <-done }
}

// add adds a domain, of which the worker hears by the change feed.
func (s *sim) add(host, tenant string) {
	s.t.Helper()
	_, err := s.store.CreateDomain(s.t.Context(), shingle.Domain{Host: host, Tenant: tenant}, time.Now())
	s.check(err)
}

func (s *sim) close() { s.check(s.m.Close()) }

func simHostName(i int) string { return fmt.Sprintf("shop.customer-%06d.example", i) }

// seed stores n certificates of the first CA whose ages are spread evenly over
// the first two thirds of their lifetime, as they are in a fleet that has been
// running for long.
func (s *sim) seed(n int) {
	ca := s.cas[0]
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.check(err)
	now, ctx := time.Now(), s.t.Context()
	for i := range n {
		host := simHostName(i)
		issued := now.Add(-time.Duration(float64(ca.life) * 0.64 * float64(i) / float64(n)))
		chain, err := ca.sign(host, key.Public(), issued)
		s.check(err)
		sealed, err := s.m.store.sealKey(ctx, key, certKey(host))
		s.check(err)
		e, err := newEntry(chain, key, host)
		s.check(err)
		r := record{Chain: string(chain), Key: sealed, Issuer: ca.url + "/directory", Issued: issued, NotAfter: e.notAfter}
		_, err = s.m.store.put(ctx, certKey(host), r, shingle.NoVersion)
		s.check(err)
		_, err = s.m.store.changePlan(ctx, host, now, func(p *plan, _ bool) bool {
			p.Created = issued
			p.adopt(host, e, ca.url+"/directory", issued)
			p.reschedule()
			return true
		})
		s.check(err)
	}
	s.blobs.reset()
}

// countedBlobs counts what is asked of a store.
type countedBlobs struct {
	shingle.Blobs
	gets, puts, deletes, lists, listed atomic.Int64
	by                                 [16]atomic.Int64 // operations by the first segment of the key
}

var countedPrefixes = []string{"certs", "plans", "due", "orders", "leases", "budgets", "news", "worker", "polls", "accounts", "keys", "challenges"}

func (b *countedBlobs) count(n *atomic.Int64, key string) {
	n.Add(1)
	first, _, _ := strings.Cut(key, "/")
	for i, p := range countedPrefixes {
		if p == first {
			b.by[i].Add(1)
		}
	}
}

func (b *countedBlobs) reset() {
	for _, n := range []*atomic.Int64{&b.gets, &b.puts, &b.deletes, &b.lists, &b.listed} {
		n.Store(0)
	}
	for i := range b.by {
		b.by[i].Store(0)
	}
}

func (b *countedBlobs) ops() int64 {
	return b.gets.Load() + b.puts.Load() + b.deletes.Load() + b.lists.Load()
}

// of returns the operations on keys with that first segment.
func (b *countedBlobs) of(prefix string) int64 {
	return b.by[slices.Index(countedPrefixes, prefix)].Load()
}

func (b *countedBlobs) breakdown() string {
	var text strings.Builder
	for i, p := range countedPrefixes {
		fmt.Fprintf(&text, " %s=%d", p, b.by[i].Load())
	}
	return text.String()
}

func (b *countedBlobs) Get(ctx context.Context, key string) (shingle.Blob, error) {
	b.count(&b.gets, key)
	return b.Blobs.Get(ctx, key)
}

func (b *countedBlobs) Put(ctx context.Context, key string, value []byte, ifVersion string) (string, error) {
	b.count(&b.puts, key)
	return b.Blobs.Put(ctx, key, value, ifVersion)
}

func (b *countedBlobs) Delete(ctx context.Context, key, ifVersion string) error {
	b.count(&b.deletes, key)
	return b.Blobs.Delete(ctx, key, ifVersion)
}

func (b *countedBlobs) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	b.count(&b.lists, prefix)
	list, err := b.Blobs.List(ctx, prefix, after, limit)
	b.listed.Add(int64(len(list)))
	return list, err
}

// plan reads a plan, without counting that.
func (s *sim) plan(host string) (p plan) {
	s.t.Helper()
	b, err := s.store.Get(s.t.Context(), planKey(host))
	s.check(err)
	s.check(json.Unmarshal(b.Value, &p))
	return p
}

// noneExpired fails for a certificate that is not valid now.
func (s *sim) noneExpired(n int) {
	s.t.Helper()
	for i := range n {
		if p := s.plan(simHostName(i)); !time.Now().Before(p.NotAfter) {
			s.t.Fatalf("the certificate of %s expired on %s", simHostName(i), p.NotAfter)
		}
	}
}

// dueBetween counts the hosts that are to be renewed in a time.
func (s *sim) dueBetween(n int, from, to time.Time) (due int) {
	for i := range n {
		if p := s.plan(simHostName(i)); p.RenewAt.After(from) && p.RenewAt.Before(to) {
			due++
		}
	}
	return due
}

// limitsHeld fails when the CA refused something for a limit.
func (s *sim) limitsHeld() {
	s.t.Helper()
	for _, ca := range s.cas {
		ca.mu.Lock()
		if len(ca.refusals) > 0 {
			s.t.Errorf("the CA's limits were met: %v", ca.refusals)
		}
		ca.mu.Unlock()
	}
}
