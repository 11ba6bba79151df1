package certs

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestRecall_ClockFromTheFuture has a process with a clock of years ahead fail to renew,
// and leave it at that.
func TestRecall_ClockFromTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, []*simCA{newSimCA(t, "ca")}, nil)
		defer s.close()
		s.seed(2)
		before := s.plan(simHostName(1))
		ahead := time.Now().AddDate(12, 0, 0)
		_, err := s.m.store.changePlan(t.Context(), simHostName(0), time.Now(), func(p *plan, _ bool) bool {
			p.failed(outageUntil(ahead), s.m.cfg.RetryDelay, ahead)
			p.reschedule()
			return true
		})
		s.check(err)
		if next := s.plan(simHostName(0)).Next; next.Before(ahead) {
			t.Fatalf("the next look is at %s", next)
		}
		stop := s.work()
		time.Sleep(3 * time.Minute)
		if p := s.plan(simHostName(0)); p.Next.After(p.NotAfter) {
			t.Errorf("the next look is at %s, and the certificate ends on %s", p.Next, p.NotAfter)
		}
		if p := s.plan(simHostName(1)); p.Seq != before.Seq {
			t.Error("another host's plan was changed")
		}
		time.Sleep(80 * day)
		stop()
		s.noneExpired(2)
	})
}
