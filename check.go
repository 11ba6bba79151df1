package shingle

import (
	"fmt"
	"net/netip"
	"time"
)

// Finding is one verdict of a check, in words that the customer's administrator
// understands and that may be shown to them.
type Finding struct {
	Reason  Reason
	Message string // what is wrong and what to do: full sentences
}

// CheckResult is what one check of a host found.
type CheckResult struct {
	Host  string
	At    time.Time
	DNS   DNSResult
	HTTPS HTTPSResult

	// CertifiedUntil is the end of a certificate for the host that we hold or
	// that the check saw; zero when none is known.
	CertifiedUntil time.Time
	// Failed is the last attempt to obtain a certificate, when it failed.
	Failed *CertificateFailure
}

// DNSResult is what DNS says of a host. Names are in lower case without the
// final dot.
type DNSResult struct {
	Finding             // where the host points
	CAA       Finding   // whether our CAs may issue; no reason: not looked at
	Notes     []Finding // what does not keep the host from working
	Proven    bool      // the tenant's own label or text was seen, which nobody else could have set
	Chain     []Alias   // the CNAME records from the host on
	Addresses []netip.Addr
	TTL       time.Duration // how long resolvers may keep the answer, be it negative

	Zone        string   // that the host is in, as far as is known
	Nameservers []string // of the zone
	Provider    string   // who runs them; empty when not recognised
	Service     string   // what the host points to, when that is a known CDN or web host

	Set    []DNSRecord // what to set so that the host points here
	Remove []DNSRecord // what is in the way
	// Delegated says that a validation by DNS-01 would succeed, wherever the host
	// points. It is looked for where that matters.
	Delegated bool
	Proof     *DNSRecord // what proves control before that, or besides; nil: nothing is known
}

// Instructions is what a tenant's customer may set for a domain. What does not
// apply is empty.
type Instructions struct {
	Target    string       // of a CNAME record: the tenant's own name here, which proves control too
	Addresses []netip.Addr // of A and AAAA records, where there can be no CNAME record
	ProofName string       // of a TXT record that proves control, before the others are set or besides
	ProofText string       // its text, and what may be shown at ProofURL instead
	ProofURL  string       // on the server that the host has until now
}

// ProofNeeded says that control of host is not proven, and how it can be.
func (r *DNSResult) ProofNeeded(host string) Finding {
	how := "set the record that this service names for you"
	if r.Proof != nil {
		how = fmt.Sprintf("set a record of type %s with the name %q and the value %q", r.Proof.Type, r.Proof.Name, r.Proof.Value)
	}
	return Finding{ReasonProofNeeded, fmt.Sprintf("Nothing shows yet that %s is yours: a record that leads here may be somebody else's. To prove it, %s at your DNS provider.", host, how)}
}

// Alias is a CNAME record.
type Alias struct {
	Name, Target string
	TTL          time.Duration
}

// DNSRecord is a record as it is typed in at the customer's DNS provider.
type DNSRecord struct {
	Type  string // CNAME, ALIAS, ANAME, A, AAAA or TXT
	Name  string // for the name field there: relative, "@" or in full
	FQDN  string // the same in full, without the final dot
	Value string // with a final dot only where the provider needs it
}

// HTTPSResult is what a request to a host found. Its times are those of the
// certificate that was shown.
type HTTPSResult struct {
	Finding
	Notes     []Finding
	Attempts  []HTTPSAttempt // one an address
	Issuer    string         // organisation and common name of who signed the certificate
	NotBefore time.Time
	NotAfter  time.Time
	Status    int  // of the site's first page; 0: not asked for
	Redirects bool // plain HTTP leads to HTTPS
	// Reached says that every address that was tried is our edge, or leads to
	// it. Plain HTTP is enough, so it may be true before there is a certificate.
	Reached bool
}

// HTTPSAttempt is a request to one address.
type HTTPSAttempt struct {
	Finding
	Address netip.Addr
	Plain   bool // the proxy in front reached our edge without TLS
}

// Refusal is why no CA is to be asked for a certificate now.
type Refusal struct {
	Finding
	Who string // must act
	// Elsewhere says that the domain does not lead here, and no more: validations by
	// HTTP and TLS would fail, and one by DNS need not.
	Elsewhere bool
	err       *Error
}

// Error returns the message.
func (r *Refusal) Error() string { return r.Message }

// Unwrap returns the [Error], whose code is [CodeForbidden] when somebody has to
// act first, and [CodeUnavailable] when it may be different in a moment.
func (r *Refusal) Unwrap() error { return r.err }

// Preflight judges, by what a check found, whether a CA would issue. It returns
// nil when an attempt makes sense, and a [*Refusal] when it would be in vain: an
// order that fails costs the host one of five attempts an hour.
func Preflight(r CheckResult) error {
	if refusal := r.preflight(); refusal != nil {
		return refusal
	}
	return nil
}

// PreflightUnproven is [Preflight] for a domain of which nothing has shown before
// that it is its tenant's: this check has to.
func PreflightUnproven(r CheckResult) error {
	if err := Preflight(r); err != nil || r.DNS.Proven {
		return err
	}
	return refuse(r.DNS.ProofNeeded(r.Host))
}

// Verdict is what matters most about a result, and who must act: what keeps a CA
// from issuing, or else what keeps visitors from being served.
func (r *CheckResult) Verdict() (f Finding, who string) {
	if refusal := r.preflight(); refusal != nil {
		return refusal.Finding, refusal.Who
	}
	https := r.HTTPS.Reason
	switch {
	case https.Outcome() == OutcomeGood || https == "":
		return Finding{ReasonServed, "The domain is served."}, WhoNobody
	case r.HTTPS.Reached && r.Failed != nil:
		return Finding{ReasonCertificateFailed, "DNS is in order, but the certificate could not be obtained: " + r.Failed.Message + "."}, r.Failed.Who
	case r.HTTPS.Reached && https == ReasonHandshakeFailed:
		return Finding{ReasonCertificateOrdered, "DNS is in order, and the certificate is being obtained."}, WhoNobody
	}
	return r.HTTPS.Finding, https.Who()
}

func (r *CheckResult) preflight() *Refusal {
	if r.DNS.Reason != ReasonUnconfigured && r.pointsHere() != OutcomeGood {
		refusal := refuse(r.DNS.Finding)
		refusal.Elsewhere = refusal.Elsewhere && r.DNS.CAA.Reason.Outcome() != OutcomeBad
		return refusal
	}
	if r.DNS.CAA.Reason.Outcome() == OutcomeBad {
		return refuse(r.DNS.CAA)
	}
	return nil
}

// pointsHere combines both probes: who gets an answer of our edge has reached
// us, whatever is in between.
func (r *CheckResult) pointsHere() Outcome {
	dns := r.DNS.Reason.Outcome()
	if dns != OutcomeGood && r.DNS.Reason != ReasonDNSSECBogus && r.DNS.Reason != ReasonOtherTenant && r.HTTPS.Reached {
		return OutcomeGood
	}
	return dns
}

func refuse(f Finding) *Refusal {
	code := CodeForbidden
	if f.Reason.Outcome() == OutcomeUnclear {
		code = CodeUnavailable
	}
	return &Refusal{Finding: f, Who: f.Reason.Who(), Elsewhere: f.Reason.elsewhere(), err: &Error{Code: code, Message: f.Message}}
}
