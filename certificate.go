package shingle

import (
	"log/slog"
	"time"
)

// CertificateState is whether visitors of a host are served, and if not, why.
type CertificateState string

// The states of a certificate.
const (
	CertificateValid   CertificateState = "valid"   // served; Failed, if set, is about its renewal
	CertificateWaiting CertificateState = "waiting" // none yet: its order is due, or waits for a budget
	CertificateFailing CertificateState = "failing" // none: the last attempt failed, and Next is the next
	CertificateStopped CertificateState = "stopped" // none: no attempt until Failed.Who has acted
)

// Certificate is what is known of a host's certificate. It never has a key.
type Certificate struct {
	Host      string
	Tenant    string
	State     CertificateState
	Issuer    string // directory URL of the CA; empty when uploaded or when there is none
	Serial    string // hex
	NotBefore time.Time
	NotAfter  time.Time // zero when there is none
	Uploaded  bool      // by the operator
	Keep      bool      // uploaded, and not to be replaced by ACME while it is valid
	RenewAt   time.Time // when an order is planned
	Next      time.Time // when the host is looked at again; zero: never
	Advice    string    // URL in which the CA explains when it wants the certificate renewed
	Failures  int       // attempts in a row that failed
	Failed    *CertificateFailure
	Limits    []NameLimits // of each CA; nil when not asked for
	Warnings  []string     // what the operator should see to although nothing failed
}

// Upload is a certificate of the operator's own. It holds a private key, and does
// not print.
type Upload struct {
	Chain  string // PEM: the certificate, and the intermediates in any order
	Key    string // PEM
	Keep   bool   // ACME does not replace it while it is valid
	Issuer string // directory URL of the CA that issued it; empty: not known
	By     string // the ID of the token that sent it
	// IfNewer leaves a valid certificate alone that was issued later, or is to be
	// kept: that is [ErrExists].
	IfNewer bool
	DryRun  bool // check everything, and store nothing
}

// String implements [fmt.Stringer], lest the key be printed.
func (Upload) String() string { return "certificate and key" }

// GoString implements [fmt.GoStringer], likewise.
func (u Upload) GoString() string { return u.String() }

// LogValue implements [slog.LogValuer], likewise.
func (u Upload) LogValue() slog.Value { return slog.StringValue(u.String()) }

// NameLimits are what is left of a CA's limits for one name.
type NameLimits struct {
	Directory    string
	Failures     Budget // validations that may fail
	Certificates Budget // certificates for the same name, but for renewals that the CA exempts
	// NotBefore is when the name may be ordered for again; zero: now.
	NotBefore time.Time
}

// Readiness is what strangers may learn of a host's certificate: not one word of
// the CA's, no name, no number.
type Readiness struct {
	State   CertificateState
	Issuing bool      // an order is under way
	Problem string    // the last failure's problem type (RFC 8555 section 6.7), without its URN; may be empty
	Reason  Reason    // why no CA was asked; may be empty
	Who     string    // must act, when failing or stopped
	Next    time.Time // when to expect more; zero: not known
}

// Who must act that a certificate can be had.
const (
	WhoCustomer = "customer" // who owns the domain, at their DNS
	WhoOperator = "operator" // who runs Shingle
	WhoCA       = "ca"
	WhoNobody   = "nobody" // it will be tried again
)

// CertificateFailure is why the last attempt came to nothing, in words that may
// be shown.
type CertificateFailure struct {
	Code    Code      `json:"code"`
	Problem string    `json:"problem,omitempty"` // the CA's problem type (RFC 8555 section 6.7)
	Reason  Reason    `json:"reason,omitempty"`  // why no CA was asked
	Message string    `json:"message"`
	Who     string    `json:"who"`
	At      time.Time `json:"at"`
}

// IssuanceQueue is what waits for the CAs, and what they still allow.
type IssuanceQueue struct {
	CAs     []CABudget
	Waiting []WaitingCertificate // in the order of their turns, at most as many as were asked for
	New     int                  // hosts without a certificate that wait
	Renew   int                  // hosts whose renewal, or a question to the CA about it, is due
	More    bool                 // there are more than were counted
}

// RenewalCalendar is what is planned for certificates: of each host the next renewal
// alone, and as it is planned now. A CA may wish for another time any day.
type RenewalCalendar struct {
	At   time.Time // when it was counted
	Due  int       // hosts that are due already, and wait for their turn
	More bool      // there are more of those than were counted
	Days []RenewalDay
}

// RenewalDay is what is due on a day in UTC; today, what is still to become due.
type RenewalDay struct {
	Day       time.Time // its beginning
	Renewals  int       // of certificates that are valid then; and reminders of the end of one that is kept
	Orders    int       // of the renewals: those that count as orders at the first CA
	New       int       // attempts for hosts without a valid certificate
	Estimated bool      // there were too many to count each
	Over      bool      // they are more than the first CA's budgets allow in a day
}

// PlannedRenewal is a host that is due at a time.
type PlannedRenewal struct {
	Host  string
	At    time.Time
	New   bool // it has no valid certificate then
	Order bool // it counts as an order at the first CA
}

// CABudget is what is left of one CA's limits.
type CABudget struct {
	Directory string
	Orders    Budget // orders for new certificates
	Renewals  Budget // renewals that the CA exempts from its limits
	// NotBefore is when the CA, by its own word or because it is out of order,
	// gets the next order; zero: now.
	NotBefore time.Time
}

// Budget is a token bucket.
type Budget struct {
	Left  float64
	Count int           // at most
	Per   time.Duration // in which Count are earned
}

// WaitingCertificate is a host whose order is due.
type WaitingCertificate struct {
	Host  string
	New   bool      // it has no valid certificate
	Since time.Time // it is due
	ETA   time.Time // by the budgets of the first CA
}

// Delegation is the record by which a customer lets us answer the DNS-01
// validations of a domain (RFC 8555 section 8.4): a CNAME from Name to Target,
// both without the final dot.
type Delegation struct {
	Name   string // _acme-challenge.customer.com
	Target string // a name in a zone of ours, another one for each tenant
}
