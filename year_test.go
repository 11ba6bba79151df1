package shingle_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// life plays a domain, its customer's DNS and a CA through virtual time: checks
// happen when the status says so, and a certificate is ordered, or renewed 30
// days before its end, whenever status and preflight allow it.
type life struct {
	t      *testing.T
	l      shingle.Lifecycle
	now    time.Time
	domain shingle.Domain
	status shingle.Status

	dns     shingle.Reason // what DNS says now
	caa     shingle.Reason
	proven  bool
	until   time.Time // end of the certificate
	checks  int
	orders  int // that the CA saw
	refused int // of them, because DNS did not point here
	steps   []string
}

func (w *life) add(tenant string) {
	w.domain.Tenant, w.until = tenant, time.Time{}
	w.status = w.l.Begin(w.domain, w.status, w.now)
	w.note(shingle.Status{})
}

func (w *life) remove() {
	before := w.status
	w.status, w.until = w.l.Remove(w.status, w.now), time.Time{}
	w.note(before)
}

// run lets time pass. One check is at its beginning, as a customer's click on
// "check now" or the event of a change has it.
func (w *life) run(d time.Duration) {
	end := w.now.Add(d)
	for w.check(); !w.status.Next.IsZero() && w.status.Next.Before(end) && w.status.State != shingle.StateRemoved; w.check() {
		if !w.status.Next.After(w.now) {
			w.t.Fatalf("at %s the next check is at %s", w.now, w.status.Next)
		}
		w.now = w.status.Next
	}
	w.now = end
}

func (w *life) check() {
	before := w.status
	r := shingle.CheckResult{Host: w.domain.Host, At: w.now, CertifiedUntil: w.until}
	r.DNS.Finding, r.DNS.CAA, r.DNS.Proven = finding(w.dns), finding(w.caa), w.proven
	good := w.dns.Outcome() == shingle.OutcomeGood
	switch {
	case good && w.now.Before(w.until):
		r.HTTPS.Finding, r.HTTPS.Reached = finding(shingle.ReasonHTTPSWorks), true
	case good:
		r.HTTPS.Finding, r.HTTPS.Reached = finding(shingle.ReasonHandshakeFailed), true
	case w.dns.Outcome() == shingle.OutcomeBad:
		r.HTTPS.Finding = finding(shingle.ReasonOtherServer)
	}
	w.checks++
	w.status = w.l.Apply(w.domain, w.status, r, w.now)
	w.note(before)
	if w.status.MayIssue() == nil && shingle.Preflight(r) == nil && w.until.Sub(w.now) < 30*day {
		w.orders++
		if w.until = w.now.Add(90 * day); !good {
			w.refused, w.until = w.refused+1, time.Time{}
		}
	}
}

func (w *life) note(before shingle.Status) {
	if w.status.State != before.State {
		w.steps = append(w.steps, string(w.status.State))
	}
}

// lived checks the states since the last call, and the CA orders.
func (w *life) lived(what string, orders int, states ...shingle.State) {
	w.t.Helper()
	want := strings.Trim(fmt.Sprint(states), "[]")
	if got := strings.Join(w.steps, " "); got != want || w.orders != orders || w.refused != 0 {
		w.t.Errorf("%s: %s with %d orders, %d of them in vain; want %s with %d\n%+v", what, got, w.orders, w.refused, want, orders, w.status.History)
	}
	w.steps, w.orders = nil, 0
}

// TestLifecycle_Year is a domain's life, from sign-up to its third tenant.
func TestLifecycle_Year(t *testing.T) {
	const (
		pending, verifying, issuing, active = shingle.StatePending, shingle.StateVerifying, shingle.StateIssuing, shingle.StateActive
		drifting, paused, blocked, removed  = shingle.StateDrifting, shingle.StatePaused, shingle.StateBlocked, shingle.StateRemoved
	)
	w := &life{t: t, now: start, domain: shingle.Domain{Host: "blog.customer.com"}, proven: true}

	w.dns = shingle.ReasonNoRecord
	w.add("acme")
	w.run(3 * day)
	w.lived("a slow customer", 0, pending)
	if w.checks > 200 {
		t.Errorf("%d checks of a name that is not there", w.checks)
	}
	w.dns, w.caa = shingle.ReasonPointsHere, shingle.ReasonCAAForbids
	w.run(day)
	w.lived("DNS is there, but CAA forbids", 0, verifying)
	w.caa = shingle.ReasonCAAAllows
	w.run(hour)
	w.lived("CAA is mended", 1, issuing, active)

	w.checks = 0
	w.run(120 * day)
	w.lived("four quiet months, one renewal", 1)
	if w.checks < 118 || w.checks > 125 {
		t.Errorf("%d checks in 120 days", w.checks)
	}
	w.dns = shingle.ReasonDNSTimeout
	w.run(6 * hour)
	w.dns = shingle.ReasonPointsHere
	w.run(day)
	w.lived("name servers out of order for an evening", 0)

	w.dns = shingle.ReasonPointsElsewhere
	w.run(3 * day)
	w.lived("moved away", 0, drifting)
	w.dns = shingle.ReasonPointsHere
	w.run(30 * day)
	w.lived("and back, renewal due", 1, active)

	w.dns = shingle.ReasonParked
	w.run(60 * day)
	w.lived("the registration expired", 0, drifting, paused)
	if w.status.MayIssue() == nil {
		t.Error("a paused domain may have certificates")
	}
	w.dns = shingle.ReasonPointsHere
	w.run(30 * day)
	w.lived("renewed at the last moment", 1, issuing, active)

	w.domain.Paused = true
	w.run(day)
	w.domain.Paused = false
	w.run(day)
	w.lived("blocked by the operator for a day", 0, blocked, active)

	w.remove()
	w.run(5 * day)
	w.lived("deleted; the CNAME record stays behind", 0, removed)
	w.checks, w.proven = 0, false
	w.add("mallory")
	w.run(20 * day)
	w.lived("takeover attempt: the record is not mallory's", 0, pending, verifying)
	if w.status.Reason != shingle.ReasonProofNeeded || w.status.Who != shingle.WhoCustomer {
		t.Errorf("%s, %s", w.status.Reason, w.status.Who)
	}
	w.remove()
	w.add("acme")
	w.run(day)
	w.lived("the name has been mallory's in between", 0, removed, pending, verifying)
	w.remove()
	w.add("newco")
	w.proven = true
	w.run(30 * day)
	w.lived("a new owner proves control", 1, removed, pending, issuing, active)

	if len(w.status.History) > shingle.MaxHistory || !slices.ContainsFunc(w.status.History, func(s shingle.Step) bool { return s.State == removed }) {
		t.Errorf("history of %d steps: %+v", len(w.status.History), w.status.History)
	}
	if lived := w.now.Sub(start); lived < 300*day {
		t.Errorf("only %s", lived)
	}
}
