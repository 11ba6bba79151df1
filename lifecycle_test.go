package shingle_test

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

var start = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

const (
	hour = time.Hour
	day  = 24 * hour
)

// finding is a check's result with a reason alone.
func finding(r shingle.Reason) shingle.Finding {
	return shingle.Finding{Reason: r, Message: "Found: " + string(r) + "."}
}

// found makes a check's result: where DNS points, what HTTPS says, and for how
// long from the time a certificate is valid.
func found(dns, https shingle.Reason, certified time.Duration) func(now time.Time) shingle.CheckResult {
	return func(now time.Time) shingle.CheckResult {
		r := shingle.CheckResult{Host: "blog.customer.com", At: now}
		r.DNS.Finding = finding(dns)
		if https != "" {
			r.HTTPS.Finding = finding(https)
			r.HTTPS.Reached = https == shingle.ReasonHTTPSWorks
		}
		if certified != 0 {
			r.CertifiedUntil = now.Add(certified)
		}
		return r
	}
}

func withCAA(of func(time.Time) shingle.CheckResult, r shingle.Reason) func(time.Time) shingle.CheckResult {
	return func(now time.Time) shingle.CheckResult {
		out := of(now)
		out.DNS.CAA = finding(r)
		return out
	}
}

// anyPointer leaves the proof of control to tests of its own.
var anyPointer = shingle.Lifecycle{AnyPointer: true}

// The results of the transition table.
var (
	here      = found(shingle.ReasonPointsHere, shingle.ReasonCertificateInvalid, 0)
	hereCert  = found(shingle.ReasonPointsHere, shingle.ReasonHTTPSWorks, 60*day)
	hereDown  = found(shingle.ReasonPointsHere, shingle.ReasonUnreachable, 60*day)
	hereNoCA  = withCAA(here, shingle.ReasonCAAForbids)
	certNoCA  = withCAA(hereCert, shingle.ReasonCAAForbids)
	partly    = found(shingle.ReasonIPv6Elsewhere, shingle.ReasonMixedAnswers, 0)
	elsewhere = found(shingle.ReasonPointsElsewhere, shingle.ReasonOtherServer, 0)
	unclear   = found(shingle.ReasonDNSTimeout, "", 0)
	ours      = found(shingle.ReasonResolverFailure, "", 0)
	proxied   = found(shingle.ReasonCDNInFront, shingle.ReasonHTTPSWorks, 60*day)
)

// reach brings a new domain into a state, as checks do, and returns the time.
func reach(t *testing.T, l shingle.Lifecycle, d shingle.Domain, to shingle.State) (shingle.Status, time.Time) {
	t.Helper()
	now, s := start, l.Begin(d, shingle.Status{}, start)
	apply := func(of func(time.Time) shingle.CheckResult, after time.Duration) {
		now = now.Add(after)
		s = l.Apply(d, s, of(now), now)
	}
	switch to {
	case shingle.StatePending:
		apply(elsewhere, hour)
	case shingle.StateVerifying:
		apply(hereNoCA, hour)
	case shingle.StateIssuing:
		apply(here, hour)
	case shingle.StateActive:
		apply(hereCert, hour)
	case shingle.StateDrifting:
		apply(hereCert, hour)
		apply(elsewhere, day)
	case shingle.StatePaused:
		apply(hereCert, hour)
		apply(elsewhere, day)
		apply(elsewhere, 7*day)
	case shingle.StateBlocked:
		d.Paused = true
		apply(hereCert, hour)
	case shingle.StateRemoved:
		s = l.Remove(s, now)
	}
	if s.State != to {
		t.Fatalf("reached %s, not %s", s.State, to)
	}
	return s, now
}

// TestLifecycle_Transitions is the table in Apply's comment and in docs/domains.md.
func TestLifecycle_Transitions(t *testing.T) {
	const (
		pending, verifying, issuing, active = shingle.StatePending, shingle.StateVerifying, shingle.StateIssuing, shingle.StateActive
		drifting, paused, blocked, removed  = shingle.StateDrifting, shingle.StatePaused, shingle.StateBlocked, shingle.StateRemoved
	)
	results := []struct {
		name  string
		after time.Duration
		of    func(time.Time) shingle.CheckResult
	}{
		{"here without certificate", hour, here}, {"here with certificate", hour, hereCert}, {"here, edge down", hour, hereDown},
		{"here, CA refuses", hour, hereNoCA}, {"here, CA refuses, served", hour, certNoCA}, {"IPv6 elsewhere", hour, partly},
		{"elsewhere", hour, elsewhere}, {"elsewhere for long", 8 * day, elsewhere}, {"no answer", hour, unclear},
		{"our fault", 8 * day, ours}, {"through a CDN", hour, proxied}, {"certificate ended, no answer", 61 * day, ours},
	}
	table := map[shingle.State][]shingle.State{
		//         here       cert     down       no CA      served   IPv6       elsewhere moved     silent     ours       proxied  ended
		pending:   {issuing, active, verifying, verifying, active, verifying, pending, pending, pending, pending, active, pending},
		verifying: {issuing, active, verifying, verifying, active, verifying, pending, pending, verifying, verifying, active, verifying},
		issuing:   {issuing, active, verifying, verifying, active, verifying, pending, pending, issuing, issuing, active, issuing},
		active:    {active, active, active, active, active, active, drifting, drifting, active, active, active, issuing},
		drifting:  {active, active, active, active, active, active, drifting, paused, drifting, drifting, active, drifting},
		paused:    {verifying, active, verifying, verifying, active, verifying, paused, paused, paused, paused, active, paused},
		blocked:   {verifying, active, verifying, verifying, active, verifying, pending, pending, pending, pending, active, pending},
		removed:   {removed, removed, removed, removed, removed, removed, removed, removed, removed, removed, removed, removed},
	}
	d := shingle.Domain{Host: "blog.customer.com", Tenant: "acme"}
	for from, row := range table {
		for i, want := range row {
			t.Run(string(from)+"/"+results[i].name, func(t *testing.T) {
				s, now := reach(t, anyPointer, d, from)
				now = now.Add(results[i].after)
				got := anyPointer.Apply(d, s, results[i].of(now), now)
				if got.State != want {
					t.Errorf("%s, not %s: %s", got.State, want, got.Message)
				}
			})
		}
		s, now := reach(t, anyPointer, d, from)
		now = now.Add(hour)
		want := blocked
		if from == removed {
			want = removed
		}
		if got := anyPointer.Apply(shingle.Domain{Host: d.Host, Tenant: d.Tenant, Paused: true}, s, hereCert(now), now); got.State != want {
			t.Errorf("%s and blocked by the operator: %s", from, got.State)
		}
	}
}

// TestLifecycle_CertificateEnds has a domain whose renewal failed.
func TestLifecycle_CertificateEnds(t *testing.T) {
	d := shingle.Domain{Host: "blog.customer.com"}
	l := shingle.Lifecycle{}
	s, now := reach(t, l, d, shingle.StateActive)
	now = now.Add(60 * day)
	r := here(now)
	r.Failed = &shingle.CertificateFailure{Message: "the CA is out of order", Who: shingle.WhoCA}
	s = l.Apply(d, s, r, now)
	if s.State != shingle.StateIssuing || s.Who != shingle.WhoCA || !strings.Contains(s.Message, "the CA is out of order") {
		t.Errorf("%s, %s: %s", s.State, s.Who, s.Message)
	}
	now = now.Add(hour)
	if s = l.Apply(d, s, elsewhere(now), now); s.State != shingle.StateDrifting {
		t.Errorf("%s: a domain that was active drifts", s.State)
	}
}

// TestLifecycle_SilenceIsDrift: a zone that does not answer for a day has moved,
// but our own resolvers' failure never is drift.
func TestLifecycle_SilenceIsDrift(t *testing.T) {
	d := shingle.Domain{Host: "blog.customer.com"}
	l := shingle.Lifecycle{}
	for _, x := range []struct {
		of   func(time.Time) shingle.CheckResult
		want shingle.State
	}{{unclear, shingle.StateDrifting}, {ours, shingle.StateActive}} {
		s, now := reach(t, l, d, shingle.StateActive)
		for range 30 {
			now = now.Add(hour)
			s = l.Apply(d, s, x.of(now), now)
		}
		if s.State != x.want {
			t.Errorf("%s, not %s: %s", s.State, x.want, s.Message)
		}
	}
}

// TestLifecycle_Proof: that a name leads here does not make it the tenant's.
func TestLifecycle_Proof(t *testing.T) {
	remembered := func(tenant string, proven bool) shingle.Status {
		l := shingle.Lifecycle{}
		s := l.Begin(shingle.Domain{Host: "blog.customer.com", Tenant: tenant}, shingle.Status{}, start)
		if r := hereCert(start); proven {
			r.DNS.Proven = true
			s = l.Apply(shingle.Domain{Host: "blog.customer.com", Tenant: tenant}, s, r, start)
		}
		s = l.Remove(s, start)
		if got := s.Next.Sub(start); got != 30*day {
			t.Errorf("the name is remembered for %s", got)
		}
		return s
	}
	for _, x := range []struct {
		name       string
		before     shingle.Status
		tenant     string
		anyPointer bool
		needed     bool
	}{
		{"a new name", shingle.Status{}, "acme", false, true},
		{"a new name, pointing is enough", shingle.Status{}, "acme", true, false},
		{"the operator's own", shingle.Status{}, "", false, false},
		{"the same tenant's again", remembered("acme", true), "acme", false, false},
		{"the same tenant's again, never proven", remembered("acme", false), "acme", false, true},
		{"another's", remembered("acme", true), "mallory", false, true},
		{"another's, pointing is enough for new names", remembered("acme", true), "mallory", true, true},
		{"another's, that was never proven", remembered("acme", false), "mallory", true, true},
		{"another's, now the operator's", remembered("acme", true), "", false, true},
		{"deleted and added again by who has not proven it", shingle.Lifecycle{}.Remove(shingle.Lifecycle{}.Begin(
			shingle.Domain{Host: "blog.customer.com", Tenant: "mallory"}, remembered("acme", true), start), start), "mallory", true, true},
	} {
		for _, proven := range []bool{false, true} {
			l := shingle.Lifecycle{AnyPointer: x.anyPointer}
			d := shingle.Domain{Host: "blog.customer.com", Tenant: x.tenant}
			r := hereCert(start)
			r.DNS.Proven = proven
			s := l.Apply(d, l.Begin(d, x.before, start), r, start)
			want := shingle.StateActive
			if x.needed && !proven {
				want = shingle.StateVerifying
			}
			if s.State != want || (s.MayIssue() != nil) != (want == shingle.StateVerifying) {
				t.Errorf("%s, proven %t: %s, %v", x.name, proven, s.State, s.MayIssue())
			}
			if proven && !s.Proven.Equal(start) {
				t.Errorf("%s: proven at %s", x.name, s.Proven)
			}
		}
	}
}

// TestLifecycle_AnotherTenant: who gets a domain that is served has to prove that
// it is theirs.
func TestLifecycle_AnotherTenant(t *testing.T) {
	d := shingle.Domain{Host: "blog.customer.com", Tenant: "acme"}
	s, now := reach(t, anyPointer, d, shingle.StateActive)
	d.Tenant = "newco"
	if s = anyPointer.Apply(d, s, hereCert(now), now); s.State != shingle.StateVerifying || s.Reason != shingle.ReasonProofNeeded || s.Tenant != "newco" {
		t.Errorf("%+v", s)
	}
	r := hereCert(now)
	r.DNS.Proven = true
	if s = anyPointer.Apply(d, s, r, now.Add(hour)); s.State != shingle.StateActive {
		t.Errorf("%+v", s)
	}
}

// TestLifecycle_Properties walks through random lives.
func TestLifecycle_Properties(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	l := anyPointer
	var all []shingle.Reason
	for r := range shingle.Reasons() {
		all = append(all, r)
	}
	slices.Sort(all)
	for range 400 {
		d := shingle.Domain{Host: "h" + string(rune('a'+random.IntN(26))) + ".example.com", Tenant: "t"}
		now := start.Add(time.Duration(random.Int64N(int64(day))))
		s := l.Begin(d, shingle.Status{}, now)
		wasActive := false
		for range 60 {
			if random.IntN(3) == 0 {
				now = now.Add(time.Duration(random.Int64N(int64(20 * day))))
			} else if s.Next.After(now) {
				now = s.Next
			}
			d.Paused = random.IntN(20) == 0
			r := randomResult(random, all, now)
			before := s
			beforeHistory := slices.Clone(s.History)
			s = l.Apply(d, s, r, now)
			if !slices.Equal(before.History, beforeHistory) {
				t.Fatal("Apply wrote into the history it was given")
			}
			wasActive = wasActive && s.State != shingle.StateBlocked || s.State == shingle.StateActive
			checkInvariants(t, before, s, now, wasActive)
			if again := l.Apply(d, s, r, now); !reflect.DeepEqual(again, s) {
				t.Fatalf("the same result again:\n%+v\n%+v", s, again)
			}
			if t.Failed() {
				return
			}
		}
		if s = l.Remove(s, now); !reflect.DeepEqual(l.Remove(s, now), s) || !reflect.DeepEqual(l.Apply(d, s, hereCert(now), now), s) {
			t.Fatal("a removed domain changed")
		}
	}
}

func randomResult(random *rand.Rand, all []shingle.Reason, now time.Time) shingle.CheckResult {
	r := found(all[random.IntN(len(all))], all[random.IntN(len(all))], 0)(now)
	if random.IntN(2) == 0 {
		r.DNS.Finding = finding(shingle.ReasonPointsHere)
	}
	r.HTTPS.Reached = random.IntN(3) == 0
	r.DNS.Proven = random.IntN(2) == 0
	if random.IntN(3) == 0 {
		r.CertifiedUntil = now.Add(time.Duration(random.Int64N(int64(90*day))) - 10*day)
	}
	if random.IntN(3) == 0 {
		r.DNS.CAA = finding(shingle.ReasonCAAForbids)
	}
	if random.IntN(4) == 0 {
		r.Failed = &shingle.CertificateFailure{Message: "no", Who: shingle.WhoCA}
	}
	return r
}

func checkInvariants(t *testing.T, before, s shingle.Status, now time.Time, wasActive bool) {
	t.Helper()
	if s.State == shingle.StateActive && !now.Before(s.CertifiedUntil) {
		t.Errorf("active without a certificate: %+v", s)
	}
	if (s.State == shingle.StateDrifting || s.State == shingle.StatePaused) && !wasActive {
		t.Errorf("%s without having been active", s.State)
	}
	if s.State == shingle.StatePaused && before.State != shingle.StatePaused && now.Sub(s.DriftedAt) < 7*day {
		t.Errorf("paused after %s", now.Sub(s.DriftedAt))
	}
	mayIssue := s.State == shingle.StateIssuing || s.State == shingle.StateActive || s.State == shingle.StateDrifting
	if err := s.MayIssue(); (err == nil) != mayIssue || err != nil && !errors.Is(err, shingle.ErrForbidden) {
		t.Errorf("%s: MayIssue says %v", s.State, err)
	}
	if s.State == shingle.StateBlocked {
		if !s.Next.IsZero() {
			t.Errorf("a blocked domain is checked at %s", s.Next)
		}
	} else if wait := s.Next.Sub(now); wait < shingle.MinCheck || wait > shingle.MaxCheck {
		t.Errorf("%s: next check in %s", s.State, wait)
	}
	if len(s.History) > shingle.MaxHistory || len(s.History) == 0 {
		t.Fatalf("%d steps", len(s.History))
	}
	if last := s.History[len(s.History)-1]; last.State != s.State || last.Reason != s.Reason {
		t.Errorf("the last step is %+v, the status %s, %s", last, s.State, s.Reason)
	}
	if !slices.IsSortedFunc(s.History, func(a, b shingle.Step) int { return a.At.Compare(b.At) }) {
		t.Error("the history is not in order")
	}
	if s.State != before.State && !s.Since.Equal(now) || s.Message == "" || s.Who == "" {
		t.Errorf("incomplete: %+v", s)
	}
}

// TestLifecycle_ChecksAreSpread has the daily checks of many domains that became
// active in the same minute.
func TestLifecycle_ChecksAreSpread(t *testing.T) {
	hours := [24]int{}
	const domains = 24_000
	for i := range domains {
		host := "h" + strings.Repeat("x", i%7) + time.Duration(i).String() + ".example.com"
		d := shingle.Domain{Host: host}
		l := anyPointer
		s := l.Apply(d, l.Begin(d, shingle.Status{}, start), hereCert(start), start)
		hours[s.Next.Hour()]++
	}
	for h, n := range hours {
		if n < 800 || n > 1200 {
			t.Errorf("%d of %d checks at %d o'clock", n, domains, h)
		}
	}
}

// TestLifecycle_BackOff counts the checks of a customer who never sets the record.
func TestLifecycle_BackOff(t *testing.T) {
	d := shingle.Domain{Host: "slow.customer.com"}
	l := anyPointer
	now, s := start, l.Begin(d, shingle.Status{}, start)
	counts := map[string]int{}
	for checks := 0; now.Sub(start) < 90*day; checks++ {
		now = s.Next
		s = l.Apply(d, s, elsewhere(now), now)
		for name, bound := range map[string]time.Duration{"minute": time.Minute, "hour": hour, "day": day, "90 days": 90 * day} {
			if now.Sub(start) <= bound {
				counts[name]++
			}
		}
	}
	if counts["minute"] < 6 || counts["hour"] > 60 || counts["day"] > 110 || counts["90 days"] > 500 {
		t.Errorf("checks within: %v", counts)
	}
}

func TestPreflight(t *testing.T) {
	for _, x := range []struct {
		name string
		of   func(time.Time) shingle.CheckResult
		want error
		who  string
	}{
		{"here", here, nil, ""},
		{"through a CDN that passes on", proxied, nil, ""},
		{"elsewhere", elsewhere, shingle.ErrForbidden, shingle.WhoCustomer},
		{"IPv6 elsewhere", partly, shingle.ErrForbidden, shingle.WhoCustomer},
		{"CAA", hereNoCA, shingle.ErrForbidden, shingle.WhoCustomer},
		{"silence", unclear, shingle.ErrUnavailable, shingle.WhoCustomer},
		{"our fault", ours, shingle.ErrUnavailable, shingle.WhoOperator},
		{"bogus, though it answers", found(shingle.ReasonDNSSECBogus, shingle.ReasonHTTPSWorks, day), shingle.ErrForbidden, shingle.WhoCustomer},
		{"another tenant's name", found(shingle.ReasonOtherTenant, shingle.ReasonHTTPSWorks, day), shingle.ErrForbidden, shingle.WhoCustomer},
		{"nothing to compare with", found(shingle.ReasonUnconfigured, "", 0), nil, ""},
	} {
		err := shingle.Preflight(x.of(start))
		if !errors.Is(err, x.want) {
			t.Errorf("%s: %v", x.name, err)
		}
		if refusal, ok := errors.AsType[*shingle.Refusal](err); ok && (refusal.Who != x.who || refusal.Message == "") {
			t.Errorf("%s: %+v", x.name, refusal)
		}
	}
}
