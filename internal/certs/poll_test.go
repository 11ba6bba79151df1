package certs

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
)

// polled is a simulation with n certificates, none of which is renewed soon.
func polled(t *testing.T, n int) *sim {
	ca := newSimCA(t, "ca")
	ca.life = 3 * 365 * day
	ca.notePolls()
	s := newSim(t, []*simCA{ca}, nil)
	s.seed(n)
	return s
}

func TestPoll_EachTwiceADayWhateverTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := polled(t, 50)
		defer s.close()
		for range 10 { // a process lives for some hours
			stop := s.work()
			time.Sleep(5 * time.Hour)
			stop()
		}
		late, soon := s.cas[0].pollGaps()
		if late > 12*time.Hour+30*time.Minute {
			t.Errorf("a certificate was not asked about for %s", late)
		}
		if soon < 10*time.Hour {
			t.Errorf("one was asked about twice in %s", soon)
		}
	})
}

// TestPoll_ByAProcessThatLivesForSeconds is the worker as a function that is called
// once an hour.
func TestPoll_ByAProcessThatLivesForSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := polled(t, 50)
		defer s.close()
		stop := s.work()
		time.Sleep(time.Minute)
		stop()
		s.blobs.reset()
		for range 48 {
			stop := s.work()
			time.Sleep(3 * time.Second)
			stop()
			time.Sleep(time.Hour)
		}
		late, soon := s.cas[0].pollGaps()
		if n := s.cas[0].polled(); n != 50 || late > 13*time.Hour+30*time.Minute || soon < 10*time.Hour {
			t.Errorf("%d of 50 were asked about, again after %s to %s", n, soon, late)
		}
		if ops := s.blobs.of("polls"); ops > 48*2+150 {
			t.Errorf("%d operations on questions", ops)
		}
	})
}

func TestPoll_AsTheCAWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := polled(t, 50)
		defer s.close()
		s.cas[0].again = 6 * time.Hour
		defer s.work()()
		time.Sleep(2 * day)
		s.cas[0].notePolls()
		time.Sleep(2 * day)
		late, soon := s.cas[0].pollGaps()
		if late > 6*time.Hour+30*time.Minute || soon < 6*time.Hour-30*time.Minute {
			t.Errorf("asked again after %s to %s, not 6 h", soon, late)
		}
	})
}

func TestPoll_CostsAFewListings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 600
		s := polled(t, n)
		defer s.close()
		stop := s.work()
		time.Sleep(2 * day) // what the CA says is new
		s.blobs.reset()
		before := s.cas[0].asked()
		time.Sleep(day)
		stop()
		if polls := s.cas[0].asked() - before; polls < 2*n*98/100 {
			t.Errorf("%d questions about %d certificates in a day", polls, n)
		}
		if ops := s.blobs.of("polls") + s.blobs.of("plans"); ops > 2*pollSlots+10 {
			t.Errorf("%d operations", ops)
		}
	})
}

func TestPoll_CAOutOfReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := polled(t, 50)
		defer s.close()
		asked := 0
		s.cas[0].refuse = func(r *simRequest) *simProblem {
			if r.step != "ari" {
				return nil
			}
			asked++
			return &simProblem{status: http.StatusBadGateway}
		}
		defer s.work()()
		time.Sleep(2 * day)
		s.cas[0].mu.Lock()
		if asked < 50 || asked > 200 {
			t.Errorf("asked %d times in two days", asked)
		}
		s.cas[0].refuse = nil
		s.cas[0].mu.Unlock()
		time.Sleep(time.Hour)
		if n := s.cas[0].polled(); n != 50 {
			t.Errorf("%d of 50 certificates asked about within an hour after", n)
		}
	})
}

// TestPoll_ForgetsWhatIsNoMore leaves a question behind that no plan names.
func TestPoll_ForgetsWhatIsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := polled(t, 2)
		defer s.close()
		p, _, err := s.m.store.plan(t.Context(), simHostName(0))
		s.check(err)
		gone := pollSlotPrefix(p.Issuer, 7) + simHostName(7) + "/abc.def/-/1" // of a host that was dropped
		old := pollSlotPrefix(p.Issuer, 9) + simHostName(0) + "/abc.deg/-/1"  // of a certificate that was replaced
		s.check(s.m.store.mark(t.Context(), gone))
		s.check(s.m.store.mark(t.Context(), old))
		stop := s.work()
		time.Sleep(day)
		stop()
		for _, key := range []string{gone, old} {
			if _, err := s.store.Get(t.Context(), key); shingle.CodeOf(err) != shingle.CodeNotFound {
				t.Errorf("%s is still there: %v", key, err)
			}
		}
		if p, _, err = s.m.store.plan(t.Context(), simHostName(0)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.store.Get(t.Context(), p.Poll); err != nil {
			t.Errorf("%s: %v", p.Poll, err)
		}
	})
}
