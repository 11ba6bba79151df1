package shingle

import (
	"cmp"
	"time"
)

// Lifecycle is the state machine of a domain's life. Its methods are pure: they
// return a new status and know no clock but the one they are given. A zero field
// takes the default.
type Lifecycle struct {
	Grace      time.Duration // for which a drifting domain is served before it is paused. Default 7 days
	Patience   time.Duration // for which a domain's DNS may not answer before that counts as drift. Default 24 h
	Quarantine time.Duration // for which a removed name is remembered. Default 30 days
	// AnyPointer takes it for a proof of control that a new name points here, which a
	// record that somebody left behind does too. Otherwise a domain that has a tenant
	// needs a proof of that tenant's own.
	AnyPointer bool
}

func (l Lifecycle) grace() time.Duration      { return cmp.Or(l.Grace, 7*24*time.Hour) }
func (l Lifecycle) patience() time.Duration   { return cmp.Or(l.Patience, 24*time.Hour) }
func (l Lifecycle) quarantine() time.Duration { return cmp.Or(l.Quarantine, 30*24*time.Hour) }

// Begin returns the status of a domain that was added, or given to another tenant,
// now. before is what is remembered of its name, the zero Status when nothing is:
// another tenant's name needs a proof of control, whatever DNS points to, and one
// that this tenant has proven needs none.
func (l Lifecycle) Begin(d Domain, before Status, now time.Time) Status {
	s := Status{Host: d.Host, Tenant: d.Tenant, History: before.History}
	switch {
	case before.Host == "":
		s.ProofNeeded = l.NeedsProof(d)
	case before.Tenant != d.Tenant:
		s.ProofNeeded = true
	default:
		s.ProofNeeded, s.Proven = before.ProofNeeded, before.Proven
	}
	s.move(StatePending, Finding{ReasonNew, "The domain was added and is being checked."}, WhoNobody, now)
	if d.Paused {
		s.block(now)
	}
	s.Next = l.next(&s, now)
	return s
}

// NeedsProof reports whether a domain whose name nothing is known of needs a proof
// of control. The operator vouches for what has no tenant.
func (l Lifecycle) NeedsProof(d Domain) bool { return !l.AnyPointer && d.Tenant != "" }

// Remove returns the status of a domain that is deleted now. The record is to be
// kept until Next, so that nobody else gets the name without a proof.
func (l Lifecycle) Remove(s Status, now time.Time) Status {
	if s.State == StateRemoved {
		return s
	}
	s.Activated, s.DriftedAt, s.UnclearSince, s.CertifiedUntil = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	s.move(StateRemoved, Finding{ReasonRemoved, "The domain was deleted."}, WhoNobody, now)
	s.Next = now.Add(l.quarantine())
	return s
}

// Apply returns the status of d after a check. The same result at the same time
// changes nothing more. The transitions:
//
//	state before       | blocked | points here, and            | points elsewhere   | not known
//	                   |         | no CA   | no cert | certified |                    |
//	pending, blocked   | blocked | verif.¹ | issuing | active²   | pending            | pending
//	verifying, issuing | blocked | verif.¹ | issuing | active²   | pending, drifting³ | as it was⁴
//	active             | blocked | verif.¹ | issuing | active    | drifting           | as it was⁴
//	drifting           | blocked | verif.¹ | issuing | active    | drifting, paused⁵  | drifting⁴
//	paused             | blocked | verif.¹ | issuing | active²   | paused             | paused
//	removed            | removed | removed | removed | removed   | removed            | removed
//
// "No CA" is that a CA would refuse, or that proof of control is missing. ¹ but
// active when visitors are served by a valid certificate. ² but verifying when
// the HTTPS probe failed. ³ if it was active once. ⁴ after Patience it counts as
// pointing elsewhere, unless the fault is ours; an active one whose certificate
// has ended is issuing. ⁵ after Grace.
func (l Lifecycle) Apply(d Domain, s Status, r CheckResult, now time.Time) Status {
	if s.State == StateRemoved {
		return s
	}
	if s.Tenant != d.Tenant {
		s = l.Begin(d, s, now)
	}
	s.Checked = now
	if r.CertifiedUntil.After(s.CertifiedUntil) {
		s.CertifiedUntil = r.CertifiedUntil
	}
	if r.DNS.Proven {
		s.ProofNeeded, s.Proven = false, now
	}
	if d.Paused {
		s.block(now)
	} else {
		s.unblock(now)
		l.step(&s, &r, now)
	}
	s.Next = l.next(&s, now)
	return s
}

func (s *Status) block(now time.Time) {
	s.Activated, s.DriftedAt, s.UnclearSince = time.Time{}, time.Time{}, time.Time{}
	s.move(StateBlocked, Finding{ReasonBlocked, "The operator has blocked this domain."}, WhoOperator, now)
}

// unblock has a domain start over. What the check found is the step.
func (s *Status) unblock(now time.Time) {
	if s.State == StateBlocked {
		s.State, s.Reason, s.Since = StatePending, "", now
	}
}

func (l Lifecycle) step(s *Status, r *CheckResult, now time.Time) {
	where := r.pointsHere()
	if where != OutcomeUnclear {
		s.UnclearSince = time.Time{}
	}
	switch where {
	case OutcomeUnclear:
		l.unclear(s, r, now)
	case OutcomeBad:
		l.elsewhere(s, r.DNS.Finding, now)
	default:
		s.here(r, now)
	}
}

// unclear takes in that DNS could not be learned. A fault of ours says nothing
// about the domain, however long it lasts.
func (l Lifecycle) unclear(s *Status, r *CheckResult, now time.Time) {
	if r.DNS.Reason.Who() == WhoOperator {
		s.UnclearSince = time.Time{}
	} else if s.UnclearSince.IsZero() {
		s.UnclearSince = now
	}
	if !s.UnclearSince.IsZero() && now.Sub(s.UnclearSince) >= l.patience() {
		l.elsewhere(s, r.DNS.Finding, now)
		return
	}
	state := s.State
	if state == StateActive && !now.Before(s.CertifiedUntil) {
		state = StateIssuing
	}
	s.move(state, r.DNS.Finding, r.DNS.Reason.Who(), now)
}

// elsewhere takes in that the domain does not point here.
func (l Lifecycle) elsewhere(s *Status, f Finding, now time.Time) {
	if s.Activated.IsZero() {
		if now.Before(s.CertifiedUntil) {
			f.Message += " Its certificate is there already: the change will interrupt nothing."
		}
		s.move(StatePending, f, f.Reason.Who(), now)
		return
	}
	if s.DriftedAt.IsZero() {
		s.DriftedAt = now
	}
	end := s.DriftedAt.Add(l.grace())
	if !now.Before(end) {
		f.Message += " It is paused, and resumes by itself when DNS points here again."
		s.move(StatePaused, f, f.Reason.Who(), now)
		return
	}
	f.Message += " It is still served, and will be paused on " + end.UTC().Format("2 January 2006") + "."
	s.move(StateDrifting, f, f.Reason.Who(), now)
}

// here takes in that the domain points here, at least in part.
func (s *Status) here(r *CheckResult, now time.Time) {
	certified := now.Before(s.CertifiedUntil)
	served := s.State == StateActive || s.State == StateDrifting
	s.DriftedAt = time.Time{}
	refusal := s.refusal(r)
	works := certified && (served || r.HTTPS.Reason.Outcome() == OutcomeGood)
	switch {
	case s.ProofNeeded, refusal != nil && !works:
		s.move(StateVerifying, refusal.Finding, refusal.Who, now)
	case !certified:
		s.issue(r, now)
	case !served && r.HTTPS.Reason.Outcome() != OutcomeGood && r.HTTPS.Reason != "":
		s.move(StateVerifying, r.HTTPS.Finding, r.HTTPS.Reason.Who(), now)
	default:
		s.activate(r, refusal, now)
	}
}

// refusal is why no CA is to be asked, or nil.
func (s *Status) refusal(r *CheckResult) *Refusal {
	if s.ProofNeeded {
		return refuse(r.DNS.ProofNeeded(s.Host))
	}
	return r.preflight()
}

// issue has the certificate worker's view: what failed last, or that it is on
// its way.
func (s *Status) issue(r *CheckResult, now time.Time) {
	if f := r.Failed; f != nil {
		s.move(StateIssuing, Finding{ReasonCertificateFailed, "The certificate could not be obtained: " + f.Message + "."}, f.Who, now)
		return
	}
	s.move(StateIssuing, Finding{ReasonCertificateOrdered, "DNS is in order, and the certificate is being obtained."}, WhoNobody, now)
}

// activate takes in that visitors are served. What is wrong nevertheless is the
// reason: with DNS first, since it also endangers the renewal.
func (s *Status) activate(r *CheckResult, refusal *Refusal, now time.Time) {
	if s.Activated.IsZero() {
		s.Activated = now
	}
	f, who := Finding{ReasonServed, "The domain is served."}, WhoNobody
	switch {
	case refusal != nil:
		f, who = refusal.Finding, refusal.Who
	case r.HTTPS.Reason != "" && r.HTTPS.Reason.Outcome() != OutcomeGood:
		f, who = r.HTTPS.Finding, r.HTTPS.Reason.Who()
	default:
		for _, note := range r.HTTPS.Notes {
			if note.Reason.Who() != WhoNobody {
				f, who = note, note.Reason.Who()
				break
			}
		}
	}
	s.move(StateActive, f, who, now)
}
