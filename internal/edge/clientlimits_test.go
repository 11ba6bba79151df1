package edge

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

func TestRateLimit_RefusesOneDomainsClient(t *testing.T) {
	allProtocols(t, func(t *testing.T, major int) {
		url, asked := countedOrigin(t, nil)
		te := startEdge(t, url,
			withSettings(t, ruledHost, `{"rate_limit":{"requests":1,"seconds":600,"burst":3}}`),
			withSettings(t, "ruled2.customer.test", `{"rate_limit":{"requests":1,"seconds":600,"burst":3}}`))
		c := te.client(t, major)
		for i, want := range []int{200, 200, 200, 429, 429} {
			resp, _ := get(t, c, "https://"+ruledHost+"/")
			if resp.StatusCode != want || want == 429 && resp.Header.Get("Retry-After") != "600" {
				t.Errorf("request %d: %d, Retry-After %q", i, resp.StatusCode, resp.Header.Get("Retry-After"))
			}
		}
		if asked.Load() != 3 || te.limits.refused.Load() != 2 {
			t.Errorf("the origin was asked %d times, %d were refused", asked.Load(), te.limits.refused.Load())
		}
		for _, host := range []string{"ruled2.customer.test", testHost} {
			if resp, _ := get(t, c, "https://"+host+"/"); resp.StatusCode != 200 {
				t.Errorf("%s: %d", host, resp.StatusCode)
			}
		}
	})
}

// TestRateLimit_HostsBelowAWildcardAreOne: they can be invented.
func TestRateLimit_HostsBelowAWildcardAreOne(t *testing.T) {
	te := startEdge(t, helloOrigin(t), withSettings(t, "*.customer.test", `{"rate_limit":{"requests":1,"seconds":600,"burst":2}}`))
	for i, want := range []int{200, 200, 429} {
		if resp, _ := get(t, te.client(t, 2), fmt.Sprintf("https://h%d.customer.test/", i)); resp.StatusCode != want {
			t.Errorf("request %d: %d", i, resp.StatusCode)
		}
	}
}

func TestClientLimits_ClientsAreAddressesOrNetworks(t *testing.T) {
	now, rate := time.Unix(1_800_000_000, 0), shingle.Rate{Burst: 1, Every: time.Minute}
	for _, x := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true}, {"192.0.2.1", "::ffff:192.0.2.1", true}, {"192.0.2.1", "192.0.2.2", false},
		{"2001:db8::1", "2001:db8::ffff:1", true}, {"2001:db8::1", "2001:db8:0:1::1", false},
	} {
		l := newClientLimits()
		if _, ok := l.allow("a", netip.MustParseAddr(x.a), rate, now); !ok {
			t.Fatal("refused at once")
		}
		if _, ok := l.allow("a", netip.MustParseAddr(x.b), rate, now); ok == x.same {
			t.Errorf("%s and %s are the same: %v", x.a, x.b, !ok)
		}
	}
}

// TestClientLimits_SlowRatesDoNotHoldUpQuickOnes has many clients who have used up an
// hour's requests, and one of a domain that allows ten a second.
func TestClientLimits_SlowRatesDoNotHoldUpQuickOnes(t *testing.T) {
	now, l := time.Unix(1_800_000_000, 0), newClientLimits()
	for i := range 200_000 {
		l.allow("slow", netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), shingle.Rate{Burst: 1, Every: time.Hour}, now)
	}
	for i := range 100 {
		if _, ok := l.allow("quick", netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), shingle.Rate{Burst: 10, Every: 100 * time.Millisecond}, now); !ok {
			t.Fatalf("client %d is refused", i)
		}
	}
}
