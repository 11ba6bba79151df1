package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"runtime"
	"testing"
	"time"
)

func fakeEntry(issued time.Time, life time.Duration) *entry {
	return &entry{notAfter: issued.Add(life), renewAt: renewalTime(issued, issued.Add(life))}
}

func TestCache_IsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	for _, limit := range []int64{1 << 20, 8 << 20} {
		c := newCache(limit)
		now := time.Now()
		each := fakeEntry(now, time.Hour).bytes()
		c.put("used.example", fakeEntry(now, time.Hour))
		for i := range 10 * int(limit/each) {
			c.put(fmt.Sprintf("n%d.example", i), fakeEntry(now, time.Hour))
			if c.get("used.example") == nil {
				t.Fatalf("limit %d: evicted although in use", limit)
			}
		}
		n, bytes := c.size()
		if bytes > limit || bytes != int64(n)*each {
			t.Errorf("%d entries of %d bytes in a cache of %d", n, bytes, limit)
		}
		if int64(n) < limit/each*3/4 {
			t.Errorf("%d entries in a cache of %d bytes: most of it is empty", n, limit)
		}
	}
}

// TestCache_KeepsTheFrequent visits names of which few are popular, and some
// that are never visited again, with room for a fifth.
func TestCache_KeepsTheFrequent(t *testing.T) {
	now := time.Now()
	const names = 5000
	c := newCache(fakeEntry(now, time.Hour).bytes() * names / 5)
	visits := mathrand.NewZipf(mathrand.New(mathrand.NewPCG(1, 2)), 1.1, 1, names-1)
	hits, all := 0, 0
	for i := range 200_000 {
		host := fmt.Sprintf("n%d.example", visits.Uint64())
		if i%5 == 0 {
			host = fmt.Sprintf("once%d.example", i)
		} else {
			all++
		}
		if c.get(host) != nil {
			hits++
			continue
		}
		c.put(host, fakeEntry(now, time.Hour))
	}
	// The thousand most popular names get 0.88 of the visits.
	if share := float64(hits) / float64(all); share < 0.82 {
		t.Errorf("%.2f of the visits found their certificate", share)
	}
}

func TestCache_SharesIntermediatesAndForgetsThem(t *testing.T) {
	ca := newChainMaker(t)
	c := newCache(64 << 20)
	chain := func(s *cacheShard) int64 { return s.chains.bytes }
	hosts := make([]string, 50)
	for i := range hosts {
		hosts[i] = sameCacheShard(c, i)
		c.put(hosts[i], ca.entry(t, hosts[i]))
	}
	s := c.shard(hosts[0])
	first, second := c.get(hosts[0]).cert.Certificate, c.get(hosts[1]).cert.Certificate
	if &first[1][0] != &second[1][0] || &first[2][0] != &second[2][0] {
		t.Error("the intermediates are held twice")
	}
	if held := chain(s); held > 4<<10 {
		t.Errorf("%d bytes of chains", held)
	}
	c.put(hosts[0], c.get(hosts[0])) // again, as after a write to the store
	c.put(hosts[0], ca.entry(t, hosts[0]))
	for _, host := range hosts {
		c.remove(host)
		c.remove(host)
	}
	if n, bytes := c.size(); n != 0 || bytes != 0 {
		t.Errorf("%d entries of %d bytes are left", n, bytes)
	}
}

// sameCacheShard returns a name of the first shard, the i-th that it tries.
func sameCacheShard(c *cache, i int) string {
	for n := 0; ; n++ {
		host := fmt.Sprintf("h%d-%d.example.com", i, n)
		if c.shard(host) == &c.shards[0] {
			return host
		}
	}
}

// TestCache_CountsWhatItHolds compares the count with what the heap grew by.
func TestCache_CountsWhatItHolds(t *testing.T) {
	ca := newChainMaker(t)
	for name, key := range map[string]func() crypto.Signer{"ecdsa": func() crypto.Signer { return newKey(t) }, "rsa": rsaKey(t)} {
		t.Run(name, func(t *testing.T) {
			chains, keys := ca.sealed(t, 300, key)
			c := newCache(1 << 30)
			grown := fill(t, c, chains, keys)
			_, counted := c.size()
			if ratio := float64(counted) / float64(grown); ratio < 0.85 || ratio > 1.3 {
				t.Errorf("counted %d bytes, and the heap grew by %d", counted, grown)
			}
			runtime.KeepAlive(c)
		})
	}
}

// BenchmarkCache_Memory reports what a certificate takes in memory, all in all
// and beside its key and leaf in DER.
func BenchmarkCache_Memory(b *testing.B) {
	const n = 5000
	chains, keys := newChainMaker(b).sealed(b, n, func() crypto.Signer { return newKey(b) })
	var c *cache
	var grown int64
	for b.Loop() {
		c = newCache(1 << 30)
		grown = fill(b, c, chains, keys)
	}
	der := 0
	for i := range chains {
		block, _ := pem.Decode(chains[i])
		der += len(block.Bytes) + len(keys[i])
	}
	_, counted := c.size()
	b.ReportMetric(float64(grown)/n, "bytes/cert")
	b.ReportMetric(float64(counted)/n, "counted-bytes/cert")
	b.ReportMetric(float64(grown-int64(der))/n, "beyond-DER-bytes/cert")
}

// fill puts certificates into c as they come from the store, has each key sign,
// and returns what the heap grew by.
func fill(t testing.TB, c *cache, chains, keys [][]byte) int64 {
	t.Helper()
	before := liveBytes()
	for i := range chains {
		key, err := x509.ParsePKCS8PrivateKey(keys[i])
		if err != nil {
			t.Fatal(err)
		}
		host := fmt.Sprintf("www.customer-%d.example", i)
		e, err := newEntry(chains[i], key.(crypto.Signer), host)
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256(chains[i])
		if _, err := key.(crypto.Signer).Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
			t.Fatal(err)
		}
		c.put(host, e)
	}
	grown := liveBytes() - before
	runtime.KeepAlive(chains)
	runtime.KeepAlive(keys)
	return grown
}

// liveBytes returns what is live, once nothing that earlier tests left goes away
// any more.
func liveBytes() int64 {
	var m runtime.MemStats
	for last := int64(0); ; last = int64(m.HeapAlloc) {
		runtime.GC()
		runtime.GC() // the second one frees what the first one has finalised
		if runtime.ReadMemStats(&m); max(last-int64(m.HeapAlloc), int64(m.HeapAlloc)-last) < 10<<10 {
			return int64(m.HeapAlloc)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestCache_SlowReadDoesNotUndoARenewal(t *testing.T) {
	c := newCache(1 << 20)
	now := time.Now()
	old, renewed := fakeEntry(now, 90*24*time.Hour), fakeEntry(now.Add(-time.Hour), 6*24*time.Hour) // an upload may be older
	old.fence, renewed.fence = 1, 2
	c.put("a.example", renewed)
	c.put("a.example", old)
	if c.get("a.example") != renewed {
		t.Error("the old one is back")
	}
	c.remove("a.example")
	if c.get("a.example") != nil {
		t.Error("still there")
	}
}

func TestEntry_RenewalTimeAndClaim(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for life, want := range map[time.Duration]time.Duration{90 * day: 60 * day, 45 * day: 30 * day, 6 * day: 3 * day} {
		e := fakeEntry(start, life)
		if e.due(start.Add(want-time.Second)) || !e.due(start.Add(want)) {
			t.Errorf("a life of %v is due after %v", life, e.renewAt.Sub(start))
		}
		if !e.valid(start.Add(life-time.Second)) || e.valid(start.Add(life)) {
			t.Errorf("a life of %v ends at another time", life)
		}
	}
	e := fakeEntry(start, 90*day)
	if !e.claim(start) || e.claim(start.Add(renewPause-1)) || !e.claim(start.Add(renewPause)) {
		t.Error("a renewal is begun more or less than once a minute")
	}
}

func TestNewEntry_RefusesWhatDoesNotBelongTogether(t *testing.T) {
	key, other := newKey(t), newKey(t)
	chain := selfSigned(t, key, "a.example")
	if _, err := newEntry(chain, key, "a.example"); err != nil {
		t.Fatal(err)
	}
	if _, err := newEntry(chain, other, "a.example"); err == nil {
		t.Error("another key is accepted")
	}
	if _, err := newEntry(chain, key, "b.example"); err == nil {
		t.Error("another host is accepted")
	}
	if _, err := newEntry(nil, key, "a.example"); err == nil {
		t.Error("no chain is accepted")
	}
}

func TestCertificate_FromMemoryAllocatesNothing(t *testing.T) {
	m := warmManager(t)
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { _, _ = m.Certificate(ctx, "a.example") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCertificate_FromMemory(b *testing.B) {
	m := warmManager(b)
	ctx := b.Context()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := m.Certificate(ctx, "a.example"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func warmManager(t testing.TB) *Manager {
	m := &Manager{cfg: Config{Now: time.Now}, cache: newCache(64 << 20)}
	for i := range 500 {
		m.cache.put(fmt.Sprintf("n%d.example", i), fakeEntry(time.Now(), 90*24*time.Hour))
	}
	m.cache.put("a.example", fakeEntry(time.Now(), 90*24*time.Hour))
	return m
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func selfSigned(t *testing.T, key *ecdsa.PrivateKey, host string) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host},
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
