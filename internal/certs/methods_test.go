package certs

import (
	"context"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mholt/acmez/v3/acme"

	"github.com/shingle-proxy/shingle"
)

// obey makes the CA hold to a CAA record that leaves those methods (RFC 8657 section
// 4). It counts how often another is asked for.
func (c *testCA) obey(methods ...string) (broken *atomic.Int64) {
	broken = &atomic.Int64{}
	hook := func(r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/chalZ/") {
			return true
		}
		challenge := c.db.GetChallengeByID(path.Base(r.URL.Path))
		if slices.Contains(methods, challenge.Type) {
			return true
		}
		broken.Add(1)
		return false
	}
	c.before.Store(&hook)
	return broken
}

// TestMethods_CAARecordsChooseTheChallenge: nothing is tried that the CA must refuse.
func TestMethods_CAARecordsChooseTheChallenge(t *testing.T) {
	for _, x := range []struct {
		only       string
		preferALPN bool
	}{{acme.ChallengeTypeHTTP01, true}, {acme.ChallengeTypeTLSALPN01, false}} {
		f := newFixture(t)
		var asked atomic.Int64
		f.cfg.Methods = func(_ context.Context, host, directory string) []string {
			if asked.Add(1); host != testHost || directory != f.ca.server.URL+"/dir" {
				t.Errorf("asked about %s at %s", host, directory)
			}
			return []string{"dns-01", x.only}
		}
		broken := f.ca.obey("dns-01", x.only)
		m := f.start()
		m.preferALPN.Store(x.preferALPN)
		f.ca.issued(must(t, m, testHost), testHost)
		if f.ca.orders.Load() != 1 || broken.Load() != 0 || asked.Load() != 1 {
			t.Errorf("%s: %d orders, %d against the records, asked %d times", x.only, f.ca.orders.Load(), broken.Load(), asked.Load())
		}
	}
}

// TestMethods_NoneOfOursCostsNoOrder: the customer is told what to allow.
func TestMethods_NoneOfOursCostsNoOrder(t *testing.T) {
	for host, want := range map[string]string{
		testHost:        "by dns-01 alone: add http-01 or tls-alpn-01 to their validationmethods",
		"*." + testHost: "",
	} {
		f := newFixture(t)
		f.cfg.Methods = func(context.Context, string, string) []string { return []string{"dns-01"} }
		m := f.start()
		_, err := m.Certificate(t.Context(), host)
		if err == nil || !strings.Contains(shingle.MessageOf(err), want) || f.ca.orders.Load() != 0 {
			t.Errorf("%s: %v, and %d orders", host, err, f.ca.orders.Load())
		}
		p, _, err := m.store.plan(t.Context(), host)
		if err != nil || p.Failed == nil || want != "" && (p.Failed.Who != shingle.WhoCustomer || !p.Stopped) {
			t.Errorf("%s: plan %+v, %v", host, p.Failed, err)
		}
	}
}

// delegating is a zone to which everybody has delegated.
type delegating struct{ nowhere }

func (delegating) Delegated(context.Context, string, string) error { return nil }

func TestMethods_DNS01WhereItIsDelegatedAndAlone(t *testing.T) {
	f := newFixture(t)
	f.cfg.DNS01 = delegating{}
	m := f.start()
	for _, x := range []struct {
		may      methods
		failures int
		want     []string
	}{
		{nil, 0, []string{"http-01", "tls-alpn-01"}},
		{nil, 1, []string{"dns-01"}},
		{methods{"dns-01"}, 0, []string{"dns-01"}},
		{methods{"http-01"}, 0, []string{"http-01"}},
		{methods{"tls-alpn-01"}, 3, []string{"tls-alpn-01"}},
		{methods{"contact"}, 0, nil},
	} {
		i := &issuance{Manager: m, host: testHost, flight: &flight{}, plan: plan{Failures: x.failures}}
		if got, err := i.challenges(t.Context(), x.may); !slices.Equal(got, x.want) || (err == nil) != (x.want != nil) {
			t.Errorf("%v after %d failures: %v, %v, want %v", x.may, x.failures, got, err, x.want)
		}
	}
}
