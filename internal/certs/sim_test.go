package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
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
	key, err := OpenKeyFile(filepath.Join(t.TempDir(), "seal.key"))
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

// work runs the worker until the returned function is called.
func (s *sim) work() (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.m.Lead(ctx, map[string]func(context.Context) error{"certificates": s.m.Work})
	}()
	return func() { cancel(); <-done }
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

// TestSim_Quarter has a fleet's worker look after certificates of all ages for 90
// days. SHINGLE_SIM=10000 has it be so many, and -v shows the figures.
func TestSim_Quarter(t *testing.T) {
	const days = 90
	n := 200
	if text := os.Getenv("SHINGLE_SIM"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		ca := newSimCA(t, "ca")
		s := newSim(t, []*simCA{ca}, nil)
		defer s.close()
		s.seed(n)
		stop := s.work()
		for range days {
			time.Sleep(day)
			s.noneExpired(n)
		}
		stop()
		t.Logf("%d certificates, %d days: %d operations of the store a day, %d orders, %d of them renewals by ARI, %d polls\n%s",
			n, days, s.blobs.ops()/days, len(ca.accepted), ca.replaced, ca.polls, s.blobs.breakdown())
		if len(ca.refusals) > 0 {
			t.Errorf("the CA's limits were met: %v", ca.refusals)
		}
		if orders := len(ca.accepted); orders < n || orders > n*2 {
			t.Errorf("%d orders for %d certificates of 90 days", orders, n)
		}
		idle := int64(10 * 24 * 60) // the looks of a day at nothing, once a minute
		if perDay, most := s.blobs.ops()/days, idle+int64(25*n); perDay > most {
			t.Errorf("%d operations a day, more than %d", perDay, most)
		}
	})
}

// noneExpired fails for a certificate that is not valid now.
func (s *sim) noneExpired(n int) {
	s.t.Helper()
	for i := range n {
		b, err := s.store.Get(s.t.Context(), planKey(simHostName(i))) // not counted
		s.check(err)
		var p plan
		s.check(json.Unmarshal(b.Value, &p))
		if !time.Now().Before(p.NotAfter) {
			s.t.Fatalf("the certificate of %s expired on %s", simHostName(i), p.NotAfter)
		}
	}
}
