package certs

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
)

// TestOrder_IsGoneOnWithAfterAnOutage has a CA sign and then tell nobody for hours: the
// order is not given up for another one, of which there are five a week.
func TestOrder_IsGoneOnWithAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newSimCA(t, "ca")
		s := newSim(t, []*simCA{ca}, nil)
		defer s.close()
		healed := time.Now().Add(3 * time.Hour)
		ca.refuse = func(r *simRequest) *simProblem {
			if (r.step == "certificate" || r.step == "order" && r.id != "") && r.now.Before(healed) {
				return &simProblem{status: http.StatusServiceUnavailable}
			}
			return nil
		}
		defer s.work()()
		s.add(testHost, "")
		time.Sleep(day)
		synctest.Wait()
		c, err := s.m.Info(t.Context(), testHost)
		s.check(err)
		if c.State != shingle.CertificateValid || len(ca.accepted) != 1 {
			t.Errorf("%s after %d orders", c.State, len(ca.accepted))
		}
	})
}

// TestClient_UnderstandsRetryAfter has a CA say in several ways when to come again, some
// of them its own: that is no reason to give up an order, or to pay for another one. A wait
// that is longer than an issuance may last costs an attempt.
func TestClient_UnderstandsRetryAfter(t *testing.T) {
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for name, tc := range map[string]struct {
		field func() string
		fails int // attempts
	}{
		"none":              {func() string { return "" }, 0},
		"seconds":           {func() string { return "3" }, 0},
		"no pause":          {func() string { return "0" }, 0},
		"negative":          {func() string { return "-1" }, 0},
		"a word":            {func() string { return "soon" }, 0},
		"a fraction":        {func() string { return "5.5" }, 0},
		"a date":            {func() string { return in(3 * time.Second) }, 0},
		"a date of RFC 850": {func() string { return "Sunday, 06-Nov-94 08:49:37 GMT" }, 0},
		"a far date":        {func() string { return in(30 * 365 * day) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := newSimCA(t, "ca")
				ca.processing, ca.retryField = 2, tc.field()
				s := newSim(t, []*simCA{ca}, nil)
				defer s.close()
				defer s.work()()
				s.add(testHost, "")
				fails := 0
				for range 20 {
					time.Sleep(time.Minute)
					synctest.Wait()
					c, err := s.m.Info(t.Context(), testHost)
					s.check(err)
					fails = max(fails, c.Failures)
				}
				c, err := s.m.Info(t.Context(), testHost)
				s.check(err)
				if c.State != shingle.CertificateValid || fails != tc.fails || len(ca.accepted) != 1 {
					t.Errorf("Retry-After %q: %s after %d orders and %d failed attempts: %v", ca.retryField, c.State, len(ca.accepted), fails, c.Failed)
				}
			})
		})
	}
}
