package certs

import (
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
)

// simSize is how many certificates a simulation has: usual, or as SHINGLE_SIM says.
// With -v a simulation prints its figures.
func simSize(t *testing.T, usual int) int {
	text := os.Getenv("SHINGLE_SIM")
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("SHINGLE_SIM: %v", err)
	}
	debug.SetGCPercent(400)
	return n
}

// seldom has the worker look less often when many days are simulated with every run
// of the tests.
func seldom(c *Config) {
	if os.Getenv("SHINGLE_SIM") == "" {
		c.Poll, c.LeaseTime = 5*time.Minute, 20*time.Minute
	}
}

// TestSim_Quarter has a fleet's worker look after certificates of all ages for 90
// days.
func TestSim_Quarter(t *testing.T) {
	const days = 90
	n := simSize(t, 200)
	synctest.Test(t, func(t *testing.T) {
		idle := idleOps(t)
		ca := newSimCA(t, "ca")
		s := newSim(t, []*simCA{ca}, seldom)
		defer s.close()
		s.seed(n)
		start := time.Now()
		stop := s.work()
		for range days {
			time.Sleep(day)
			ca.noneExpired(t)
		}
		stop()
		s.noneExpired(n)
		perDay := s.blobs.ops() / days
		writes := (s.blobs.puts.Load() + s.blobs.deletes.Load()) / days
		t.Logf("%d certificates, %d days: %d operations of the store a day (%.2f a certificate beside the idle %d), %d of them writes; %d orders, %d of them renewals by ARI, %d polls\n%s",
			n, days, perDay, float64(perDay-idle)/float64(n), idle, writes, len(ca.accepted), ca.replaced, ca.polls, s.blobs.breakdown())
		savePlot(t, "steady", ca, start, days*24)
		s.limitsHeld()
		if orders := len(ca.accepted); orders < n || orders > n*2 {
			t.Errorf("%d orders for %d certificates of 90 days", orders, n)
		}
		// The questions of small fleets fill no listing.
		if most := idle + 2*pollSlots + int64(2*n); perDay > most {
			t.Errorf("%d operations a day, more than %d", perDay, most)
		}
	})
}

// idleOps returns the operations of a day without any certificate.
func idleOps(t *testing.T) int64 {
	s := newSim(t, []*simCA{newSimCA(t, "idle")}, seldom)
	defer s.close()
	stop := s.work()
	time.Sleep(day)
	s.blobs.reset()
	time.Sleep(day)
	stop()
	return s.blobs.ops()
}

// TestSim_MassRevocation has the CA suggest to renew everything now, with the usual
// pace of renewals, and with one that takes longer than to ask about all.
func TestSim_MassRevocation(t *testing.T) {
	n := simSize(t, 200)
	for name, pace := range map[string]Rate{"usual pace": {}, "slow": {Count: 1 + n/20, Per: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { massRevocation(t, n, pace) })
		})
	}
}

func massRevocation(t *testing.T, n int, pace Rate) {
	ca := newSimCA(t, "ca")
	s := newSim(t, []*simCA{ca}, func(c *Config) { seldom(c); c.CAs[0].Limits.Renewals = pace })
	defer s.close()
	s.seed(n)
	stop := s.work()
	time.Sleep(5*day + 3*time.Hour)
	plan, err := s.m.Drill(t.Context(), 0)
	s.check(err)
	start := time.Now()
	ca.revokeAll()
	s.blobs.reset()
	forecast := plan.Waiting[len(plan.Waiting)-1].ETA
	hours := int(forecast.Sub(start)/time.Hour) + 2
	time.Sleep(time.Duration(hours) * time.Hour)
	stop()
	ca.noneExpired(t)
	s.limitsHeld()
	actual := ca.orderedSince(start)
	if len(actual) != n {
		t.Errorf("%d of %d replaced within %d h; the drill told %s", len(actual), n, hours, forecast.Sub(start))
	}
	last := time.Time{}
	for _, at := range actual {
		last = later(at, last)
	}
	errs := compare(plan.Waiting, actual)
	t.Logf("%d certificates revoked: the last was replaced after %s, %s was told; error of what was told: %s; %d operations of the store for each",
		n, last.Sub(start), forecast.Sub(start), errs, s.blobs.ops()/int64(n))
	if pace.Count == 0 {
		savePlot(t, "revocation", ca, start, hours)
	}
	if errs.p95() > 30*time.Minute {
		t.Errorf("what was told was wrong by %s", errs)
	}
	if most := int64(60*n + hours*200); s.blobs.ops() > most {
		t.Errorf("%d operations of the store, more than %d", s.blobs.ops(), most)
	}
}

// TestSim_OneDomain has a tenant add more names of one registered domain than the
// CA certifies in a week.
func TestSim_OneDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const days, n = 10, 150
		ca := newSimCA(t, "ca")
		s := newSim(t, []*simCA{ca}, seldom)
		defer s.close()
		for i := range n {
			s.add(fmt.Sprintf("shop-%03d.customer.example", i), "acme")
		}
		s.add("www.other.example", "acme")
		idle := idleOps(t)
		defer s.work()()
		time.Sleep(days * day)
		s.limitsHeld()
		if issued := len(ca.orderedSince(time.Time{})); issued < 50+7*days || issued > 52+7*days+2 {
			t.Errorf("%d issued in %d days", issued, days)
		}
		if perDay := s.blobs.ops() / days; perDay > idle+1500 {
			t.Errorf("%d operations of the store a day, %d of them idle", perDay, idle)
		}
	})
}

// TestSim_Outage has the CA out of order for three days.
func TestSim_Outage(t *testing.T) {
	n := simSize(t, 200)
	synctest.Test(t, func(t *testing.T) {
		ca := newSimCA(t, "ca")
		s := newSim(t, []*simCA{ca}, seldom)
		defer s.close()
		s.seed(n)
		defer s.work()()
		time.Sleep(5 * day)
		ca.fail(func(*simRequest) *simProblem { return &simProblem{status: http.StatusServiceUnavailable} })
		from := time.Now()
		time.Sleep(3 * day)
		asked := ca.refused()
		ca.fail(nil)
		if asked < 50 || asked > 1000 {
			t.Errorf("asked %d times while out of order", asked)
		}
		missed := s.dueBetween(n, from, time.Now())
		back := time.Now()
		time.Sleep(12 * time.Hour)
		late := s.dueBetween(n, from, back)
		t.Logf("%d certificates, CA away for three days and asked %d times meanwhile: %d were due, %d of them were not renewed half a day after", n, asked, missed, late)
		if missed == 0 || late > 0 {
			t.Errorf("%d were due in the outage, %d are not renewed half a day after", missed, late)
		}
		time.Sleep(30 * day)
		ca.noneExpired(t)
	})
}

// TestSim_Import has one tenant import many names while another adds one an hour.
func TestSim_Import(t *testing.T) {
	n := simSize(t, 600)
	synctest.Test(t, func(t *testing.T) {
		ca := newSimCA(t, "ca")
		ca.latency = 500 * time.Millisecond
		s := newSim(t, []*simCA{ca}, func(c *Config) { c.Poll = 5 * time.Second; c.LeaseTime = 15 * time.Second })
		defer s.close()
		start := time.Now()
		defer s.work()()
		for i := range n {
			s.add(simHostName(i), "importer")
		}
		time.Sleep(10 * time.Minute)
		told, err := s.m.Queue(t.Context(), n)
		s.check(err)
		hours := 2 + (max(0, n-300)+99)/100
		for hour := range hours {
			s.add(fmt.Sprintf("www.small-%03d.example", hour), "small")
			time.Sleep(time.Hour)
		}
		actual := ca.orderedSince(start)
		var longest time.Duration
		for hour := range hours {
			at := start.Add(10*time.Minute + time.Duration(hour)*time.Hour)
			issued, ok := actual[fmt.Sprintf("www.small-%03d.example", hour)]
			if !ok {
				t.Errorf("the small tenant's name of hour %d is not issued", hour)
			}
			longest = max(longest, issued.Sub(at))
		}
		errs := compare(told.Waiting, actual)
		t.Logf("%d names imported: issued in %s; the other tenant waited %s at most; error of the %d ETAs told after 10 minutes: %s",
			n, ca.lastOrder().Sub(start).Round(time.Minute), longest.Round(time.Second), len(told.Waiting), errs)
		savePlot(t, "import", ca, start, hours)
		if longest > 5*time.Minute {
			t.Errorf("the other tenant waited %s", longest)
		}
		if len(actual) != n+hours {
			t.Errorf("%d of %d issued in %d h", len(actual), n+hours, hours)
		}
		s.limitsHeld()
	})
}

// TestSim_ClockSkew has two processes, an hour ahead and an hour behind, take turns.
func TestSim_ClockSkew(t *testing.T) {
	n := simSize(t, 100)
	synctest.Test(t, func(t *testing.T) {
		ca := newSimCA(t, "ca")
		s := newSim(t, []*simCA{ca}, func(c *Config) {
			seldom(c)
			c.Now = func() time.Time { return time.Now().Add(time.Hour) }
		})
		defer s.close()
		other := s.process(func(c *Config) { c.Now = func() time.Time { return time.Now().Add(-time.Hour) } })
		s.seed(n)
		for i := range 330 { // more than may be ordered at once
			s.add(fmt.Sprintf("www.new-%03d.example", i), "new")
		}
		for range 10 {
			for _, m := range []*Manager{s.m, other} {
				stop := s.lead(m)
				time.Sleep(day)
				stop()
			}
			ca.noneExpired(t)
		}
		s.limitsHeld()
		if len(ca.accepted)-ca.replaced != 330 {
			t.Errorf("%d plain orders for 330 new names", len(ca.accepted)-ca.replaced)
		}
	})
}

// TestSim_Lifetimes has certificates of six and of 45 days.
func TestSim_Lifetimes(t *testing.T) {
	for _, life := range []time.Duration{160 * time.Hour, 45 * day} {
		t.Run(life.String(), func(t *testing.T) {
			n := simSize(t, 60)
			synctest.Test(t, func(t *testing.T) {
				ca := newSimCA(t, "ca")
				ca.life = life
				s := newSim(t, []*simCA{ca}, seldom)
				defer s.close()
				s.seed(n)
				stop := s.work()
				rounds := 0.0
				for range 30 {
					time.Sleep(day)
					ca.noneExpired(t)
					rounds += float64(day) / float64(renewalTime(time.Unix(0, 0), time.Unix(0, 0).Add(life)).Sub(time.Unix(0, 0)))
				}
				stop()
				s.noneExpired(n)
				s.limitsHeld()
				t.Logf("%d certificates of %s, 30 days: %d orders, %d operations of the store a day", n, life, len(ca.accepted), s.blobs.ops()/30)
				if orders := float64(len(ca.accepted)) / float64(n); orders < 0.8*rounds || orders > 1.3*rounds+1 {
					t.Errorf("%.1f orders for each certificate, %.1f expected", orders, rounds)
				}
			})
		})
	}
}

// TestSim_BrokenNames has some customers whose validations fail, for ever.
func TestSim_BrokenNames(t *testing.T) {
	n := simSize(t, 100)
	synctest.Test(t, func(t *testing.T) {
		ca := newSimCA(t, "ca")
		broken := map[string]bool{}
		for i := range n / 10 {
			broken[simHostName(10*i)] = true
		}
		ca.invalid = func(host string) bool { return broken[host] }
		s := newSim(t, []*simCA{ca}, seldom)
		defer s.close()
		s.seed(n)
		for i := range n / 10 {
			host := fmt.Sprintf("www.broken-%03d.example", i)
			broken[host] = true
			s.add(host, "new")
		}
		defer s.work()()
		time.Sleep(50 * day)
		s.limitsHeld()
		for i := range n {
			if host := simHostName(i); !broken[host] && !time.Now().Before(s.plan(host).NotAfter) {
				t.Errorf("%s has expired", host)
			}
		}
	})
}

// etaErrors are by how much what was told was wrong, the least first.
type etaErrors []time.Duration

func compare(told []shingle.WaitingCertificate, actual map[string]time.Time) (list etaErrors) {
	for _, w := range told {
		if at, ok := actual[w.Host]; ok {
			list = append(list, at.Sub(w.ETA).Abs())
		}
	}
	slices.Sort(list)
	return list
}

func (e etaErrors) at(share float64) time.Duration {
	if len(e) == 0 {
		return 0
	}
	return e[int(share*float64(len(e)-1))].Round(time.Second)
}

func (e etaErrors) p95() time.Duration { return e.at(0.95) }

func (e etaErrors) String() string {
	return fmt.Sprintf("half of %d within %s, 95 %% within %s, all within %s", len(e), e.at(0.5), e.p95(), e.at(1))
}
