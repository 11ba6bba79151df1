package certs

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/shingle-proxy/shingle"
)

// plan is what is to be done for a host, and how the last attempt went. It is
// stored beside the certificate, apart from it: handshakes read the one, the
// worker the other.
type plan struct {
	Tenant  string    `json:"tenant,omitempty"`
	Created time.Time `json:"created"`

	// Of the certificate in the store; zero when there is none.
	Issuer    string    `json:"issuer,omitempty"` // directory URL
	CertID    string    `json:"cert_id,omitempty"`
	Serial    string    `json:"serial,omitempty"`
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	Uploaded  bool      `json:"uploaded,omitempty"` // by the operator
	Keep      bool      `json:"keep,omitempty"`     // uploaded, and not to be replaced by ACME while it is valid
	Warned    int       `json:"warned,omitempty"`   // of the end of one that is kept: one of the warnings
	Gone      bool      `json:"gone,omitempty"`     // removed from the store, and to be replaced

	// Plain says that its renewal counts as an order: the first CA, which is asked
	// first, did not issue it or would not take the CertID.
	Plain bool `json:"plain,omitempty"`

	RenewAt time.Time `json:"renew_at,omitzero"` // chosen within Window, or by the lifetime
	Window  *window   `json:"window,omitempty"`  // what the CA last suggested

	Failures int                         `json:"failures,omitempty"` // in a row
	Failed   *shingle.CertificateFailure `json:"failed,omitempty"`   // the last, when it is after the last success
	RetryAt  time.Time                   `json:"retry_at,omitzero"`  // no attempt before
	Stopped  bool                        `json:"stopped,omitempty"`  // the worker waits until something changes

	// Next is when the worker looks at the host again: the time of its entry in
	// the due index. Zero: never.
	Next time.Time `json:"next,omitzero"`
	Due  string    `json:"due,omitempty"`  // the key of that entry
	Poll string    `json:"poll,omitempty"` // that of the question when to renew
	Halt string    `json:"halt,omitempty"` // that among the hosts that were given up
	Seq  int64     `json:"seq"`            // grows with every write, from a start that is the plan's own
}

// Readable returns an error for what is no plan.
func (p *plan) Readable() error {
	if p.Created.IsZero() {
		return shingle.RecordFault("when it was made is missing")
	}
	return nil
}

// newPlan is that of a host without one. A host that was dropped and comes back
// begins with another number, so that its entries in the due index are others too.
func newPlan(now time.Time) plan { return plan{Created: now, Seq: rand.Int64N(1 << 40)} }

// window is a suggestion of the CA when to renew (RFC 9773 section 4.2).
type window struct {
	Start       time.Time `json:"start"`
	End         time.Time `json:"end"`
	Explanation string    `json:"explanation,omitempty"` // a URL
}

func planKey(host string) string { return "plans/" + host }

// class says which budget the host's next order takes.
type class byte

const (
	classNew     class = 'n' // an order, for want of a valid certificate
	classPlain   class = 'o' // a renewal that counts as any order
	classRenewal class = 'r' // a renewal that the CA exempts from its limits
)

// class is that of the order that would be placed at the time.
func (p *plan) class(at time.Time) class {
	switch {
	case !at.Before(p.NotAfter):
		return classNew
	case p.Plain || p.CertID == "":
		return classPlain
	}
	return classRenewal
}

// due reports whether an order is to be placed at now.
func (p *plan) due(now time.Time) bool {
	switch {
	case p.Keep && now.Before(p.NotAfter), p.Stopped, now.Before(p.RetryAt):
		return false
	}
	return !now.Before(p.RenewAt)
}

// reschedule sets Next from everything else.
func (p *plan) reschedule() {
	switch {
	case p.Stopped:
		p.Next = time.Time{}
	case !p.RetryAt.IsZero():
		p.Next = p.RetryAt.Add(time.Second - 1) // not before, in whole seconds
	case p.Keep:
		p.Next = p.nextWarning()
	default:
		p.Next = p.RenewAt
	}
	p.Next = p.Next.UTC().Truncate(time.Second)
}

// adopt takes in a certificate that is stored. It is not renewed before a
// twentieth of its lifetime has passed by our clock, lest a clock that is months
// ahead, or a CA whose certificates are, order without end.
func (p *plan) adopt(host string, e *entry, issuer string, now time.Time) {
	p.Issuer, p.CertID, p.Serial = issuer, "", ""
	if leaf, err := x509.ParseCertificate(e.cert.Certificate[0]); err == nil {
		p.NotBefore, p.Serial = leaf.NotBefore, hex.EncodeToString(leaf.SerialNumber.Bytes())
		p.CertID, _ = acme.ARIUniqueIdentifier(leaf) // empty for a certificate that ARI cannot name
	}
	p.NotAfter, p.Uploaded, p.Keep, p.Warned = e.notAfter, e.upload != nil, e.upload != nil && e.upload.Keep, 0
	p.Gone, p.Plain, p.Window, p.RenewAt = false, false, nil, spread(host, e.renewAt, e.notAfter)
	if soonest := now.Add(min(e.notAfter.Sub(p.NotBefore)/20, e.notAfter.Sub(now)/2)); p.RenewAt.Before(soonest) {
		p.RenewAt = soonest.UTC().Truncate(time.Second)
	}
	p.Failures, p.Failed, p.RetryAt, p.Stopped = 0, nil, time.Time{}, false
	if p.Keep || issuer == "" {
		p.CertID = "" // there is nobody to ask when to renew it
	}
}

// suggested takes in what the CA suggests (RFC 9773 section 4.2). The renewal is
// at the host's own place in the window, as far as that is not later than by the
// lifetime.
func (p *plan) suggested(host string, w *window, now time.Time) {
	p.Window = w
	latest := renewalTime(p.NotBefore, p.NotAfter)
	end, at := w.End, spread(host, latest, p.NotAfter)
	if latest.Before(end) {
		end = latest
	}
	if w.Start.Before(end) {
		at = w.Start.Add(time.Duration(shingle.Share(host) * float64(end.Sub(w.Start))))
	}
	p.RenewAt = later(now, at).UTC().Truncate(time.Second)
}

// failed takes in an attempt that came to nothing.
func (p *plan) failed(f *failure, first time.Duration, now time.Time) {
	if f.scope != scopeFailures || p.Failed == nil { // why they failed is what to tell
		p.Failed = &shingle.CertificateFailure{Code: f.public.Code, Problem: f.problem, Message: f.public.Message, Who: f.who(), At: now}
	}
	if !f.outage && !f.limited && !f.ours {
		p.Failures++
	}
	delay := retryDelay(first, p.Failures)
	if f.undelegated && p.Failures < maxHourly {
		delay = min(delay, time.Hour) // a look costs the CA nothing, and customers take their time
	}
	p.RetryAt = now.Add(jitter(delay))
	if p.RetryAt.Before(f.retryAt) {
		p.RetryAt = f.retryAt
	}
	p.Stopped = p.hopeless(f, now)
}

// Bounds of the attempts.
const (
	maxRetry     = 24 * time.Hour
	maxHopeless  = 3 // permanent failures in a row, while a valid certificate is there
	maxNewTrials = 7 // failures of any kind in a row, without one
	maxHourly    = 7 * 24
)

// hopeless reports whether the worker gives up until something changes. With a
// certificate that is still valid it is slower to.
func (p *plan) hopeless(f *failure, now time.Time) bool {
	if f.undelegated {
		return false
	}
	if now.Before(p.NotAfter) {
		return f.permanent() && p.Failures >= maxHopeless
	}
	return f.permanent() || p.Failures >= maxNewTrials
}

// retryDelay is the wait after that many failures in a row: the first, ten times
// that, a hundred times that, and then a day.
func retryDelay(first time.Duration, failures int) time.Duration {
	if failures > 3 {
		return maxRetry
	}
	for range failures - 1 {
		first *= 10
	}
	return min(first, maxRetry)
}

// jitter returns d more or less a tenth.
func jitter(d time.Duration) time.Duration { return d*9/10 + rand.N(d/5+1) }

// spread moves a renewal by a few hours that are the host's own, so that what
// was issued together is not renewed together.
func spread(host string, at, notAfter time.Time) time.Time {
	room := notAfter.Sub(at) / 8
	return at.Add(-time.Duration(shingle.Share(host) * float64(room))).UTC().Truncate(time.Second)
}

// plan returns the host's plan and its version, or [shingle.ErrNotFound].
func (s *store) plan(ctx context.Context, host string) (p plan, version string, err error) {
	version, err = s.get(ctx, planKey(host), &p)
	return p, version, err
}

// planAttempts bounds how often a change of a plan meets another.
const planAttempts = 8

// changePlan reads the host's plan, has edit change it, and writes it with its
// entry in the due index. edit gets a fresh plan when there is none, and returns
// false to leave all as it is. A change that meets another is made anew.
func (s *store) changePlan(ctx context.Context, host string, now time.Time, edit func(p *plan, exists bool) bool) (plan, error) {
	for range planAttempts {
		p, version, err := s.plan(ctx, host)
		if err != nil && !errors.Is(err, shingle.ErrNotFound) {
			return p, fmt.Errorf("read plan: %w", err)
		}
		exists := err == nil
		if !exists {
			p, version = newPlan(now), shingle.NoVersion
		}
		before := p
		if !edit(&p, exists) {
			return before, nil
		}
		err = s.putPlan(ctx, host, before, &p, version)
		if !errors.Is(err, shingle.ErrConflict) {
			return p, err
		}
	}
	return plan{}, fmt.Errorf("write plan: %w", shingle.ErrConflict)
}

// putPlan writes a plan between making what it names anew and removing what it
// named before: its entries in the due index and among those given up, and its question
// to the CA. So a crash
// leaves a key too many and never one too few.
func (s *store) putPlan(ctx context.Context, host string, before plan, p *plan, version string) error {
	p.Seq++
	p.index(host)
	was, is := before.keys(), p.keys()
	for n, key := range is {
		if key != "" && key != was[n] {
			if err := s.mark(ctx, key); err != nil {
				return err
			}
		}
	}
	if _, err := s.put(ctx, planKey(host), p, version); err != nil {
		return err
	}
	for n, key := range is {
		switch {
		case key != "" && version == shingle.NoVersion:
			if err := s.mark(ctx, key); err != nil { // see strike
				return err
			}
		case was[n] != "" && key != was[n]:
			if err := s.unmark(ctx, was[n]); err != nil {
				return err
			}
		}
	}
	return nil
}

// strike removes a key that the host's plan does not name. Whoever made it may have
// stood still, and be about to write a plan that does: so the plan is written first,
// and that write meets a conflict. When there is no plan, each of the two looks
// after the other: that one marks the key again once the plan is written, this one
// reads the plan once the key is removed. struck is false when it was named after
// all.
func (s *store) strike(ctx context.Context, host, key string, p plan, version string) (struck bool, err error) {
	if version != shingle.NoVersion {
		if err := s.putPlan(ctx, host, p, &p, version); err != nil {
			return false, err
		}
		return true, s.unmark(ctx, key)
	}
	if err := s.unmark(ctx, key); err != nil {
		return false, err
	}
	p, _, err = s.plan(ctx, host)
	switch {
	case errors.Is(err, shingle.ErrNotFound):
		return true, nil
	case err == nil && slices.Contains(p.keys(), key):
		return false, s.mark(ctx, key)
	}
	return true, err
}
