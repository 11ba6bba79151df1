package shingle

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestLimiter_EachKeyHasItsBucket(t *testing.T) {
	l := NewLimiter[string](10, time.Second)
	now := time.Unix(1_800_000_000, 0)
	allowed := func(key string, n int) (count int) {
		for range n {
			if l.Allow(key, now) {
				count++
			}
		}
		return count
	}
	if n := allowed("flood", 1000); n != 10 {
		t.Errorf("%d at once", n)
	}
	if n := allowed("other", 1000); n != 10 {
		t.Errorf("%d of another", n)
	}
	now = now.Add(3500 * time.Millisecond)
	if n := allowed("flood", 1000); n != 3 {
		t.Errorf("%d after 3.5 s", n)
	}
	now = now.Add(time.Hour)
	if n := allowed("flood", 1000); n != 10 {
		t.Errorf("%d after an hour", n)
	}
}

// TestLimiter_ManyKeysDisturbFew has 200 keys at their limit, and counts which
// of 10,000 others are refused for it.
func TestLimiter_ManyKeysDisturbFew(t *testing.T) {
	l := NewLimiter[int](10, time.Hour)
	now := time.Unix(1_800_000_000, 0)
	for key := range 200 {
		for range 20 {
			l.Allow(key, now)
		}
	}
	full := [2][]int64{slices.Clone(l.cells[0]), slices.Clone(l.cells[1])}
	refused := 0
	for key := range 10_000 {
		copy(l.cells[0], full[0]) // each alone with the 200
		copy(l.cells[1], full[1])
		if !l.Allow(1000+key, now) {
			refused++
		}
	}
	if refused > 150 { // 24 are expected
		t.Errorf("%d of 10,000 refused", refused)
	}
}

// TestLimiter_RatesOfTheirOwn has keys with different rates side by side.
func TestLimiter_RatesOfTheirOwn(t *testing.T) {
	l := NewRateLimiter[string](limiterCells)
	rates := map[string]Rate{"slow": {Burst: 2, Every: time.Minute}, "fast": {Burst: 5, Every: time.Millisecond}}
	now := time.Unix(1_800_000_000, 0)
	for key, rate := range rates {
		for range rate.Burst {
			if _, ok := l.AllowRate(key, rate, now); !ok {
				t.Fatalf("%s: refused before the burst was over", key)
			}
		}
		after, ok := l.AllowRate(key, rate, now)
		if ok || after != rate.Every {
			t.Errorf("%s: allowed %v after the burst, the next after %s", key, ok, after)
		}
		if _, ok := l.AllowRate(key, rate, now.Add(after-1)); ok {
			t.Errorf("%s: allowed before its time", key)
		}
		if _, ok := l.AllowRate(key, rate, now.Add(after)); !ok {
			t.Errorf("%s: refused when its time had come", key)
		}
	}
}

func TestNetwork(t *testing.T) {
	for addr, want := range map[string]string{
		"203.0.113.7": "203.0.113.0/24 true", "::ffff:203.0.113.7": "203.0.113.0/24 true",
		"2001:db8:1:22ff::1": "2001:db8:1:2200::/56 true", "2001:db8::1%eth0": "2001:db8::/56 true",
		"127.0.0.1": "invalid Prefix false", "10.1.2.3": "invalid Prefix false", "fd00::1": "invalid Prefix false",
		"fe80::1": "invalid Prefix false", "::": "invalid Prefix false",
	} {
		network, ok := Network(netip.MustParseAddr(addr))
		if got := fmt.Sprint(network, ok); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
	if _, ok := Network(netip.Addr{}); ok {
		t.Error("no address has a network")
	}
}

func BenchmarkLimiter(b *testing.B) {
	l := NewLimiter[netip.Prefix](10, time.Second)
	now := time.Now()
	network, _ := Network(netip.MustParseAddr("203.0.113.7"))
	b.ReportAllocs()
	for range b.N {
		l.Allow(network, now)
	}
}
