package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"testing"
	"time"
)

func fakeEntry(issued time.Time, life time.Duration) *entry {
	leaf := &x509.Certificate{NotBefore: issued, NotAfter: issued.Add(life)}
	return &entry{cert: tls.Certificate{Leaf: leaf}, notAfter: leaf.NotAfter, renewAt: renewalTime(issued, leaf.NotAfter)}
}

func TestCache_IsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	for _, size := range []int{1, 10, 1000} {
		c := newCache(size)
		now := time.Now()
		c.put("used.example", fakeEntry(now, time.Hour))
		for i := range 20 * size {
			c.put(fmt.Sprintf("n%d.example", i), fakeEntry(now, time.Hour))
			if size > maxShards && c.get("used.example") == nil {
				t.Fatalf("size %d: evicted although in use", size)
			}
		}
		n := 0
		for i := range c.shards {
			n += len(c.shards[i].entries)
		}
		if n > size {
			t.Errorf("%d entries in a cache of %d", n, size)
		}
	}
}

func TestCache_SlowReadDoesNotUndoARenewal(t *testing.T) {
	c := newCache(10)
	now := time.Now()
	old, renewed := fakeEntry(now, 90*24*time.Hour), fakeEntry(now.Add(time.Hour), 6*24*time.Hour)
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
	m := &Manager{cfg: Config{Now: time.Now}, cache: newCache(1000)}
	for i := range 500 {
		m.cache.put(fmt.Sprintf("n%d.example", i), fakeEntry(time.Now(), 90*24*time.Hour))
	}
	m.cache.put("a.example", fakeEntry(time.Now(), 90*24*time.Hour))
	return m
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
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
