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

// TestClient_UnderstandsRetryAfter has a CA say in several ways when to come again, one
// of them its own: that is no reason to give up an order.
func TestClient_UnderstandsRetryAfter(t *testing.T) {
	for _, field := range []string{"", "3", "0", "-1", "soon", "5.5", time.Now().Add(3 * time.Second).UTC().Format(http.TimeFormat), "Sunday, 06-Nov-94 08:49:37 GMT"} {
		synctest.Test(t, func(t *testing.T) {
			ca := newSimCA(t, "ca")
			ca.processing, ca.retryField = 2, field
			s := newSim(t, []*simCA{ca}, nil)
			defer s.close()
			defer s.work()()
			s.add(testHost, "")
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			c, err := s.m.Info(t.Context(), testHost)
			s.check(err)
			if c.State != shingle.CertificateValid || c.Failures != 0 || len(ca.accepted) != 1 {
				t.Errorf("Retry-After %q: %s after %d orders: %v", field, c.State, len(ca.accepted), c.Failed)
			}
		})
	}
}
