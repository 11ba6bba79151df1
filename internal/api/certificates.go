package api

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shingle-proxy/shingle"
)

// Certificates is what the API shows and changes of certificates.
type Certificates interface {
	// Info returns what is known of host's certificate, or [shingle.ErrNotFound].
	Info(ctx context.Context, host string) (shingle.Certificate, error)
	// List returns what is known of the hosts that sort after `after`, at most
	// limit (1 to 1000) of them.
	List(ctx context.Context, after string, limit int) ([]shingle.Certificate, error)
	// Delegation returns the record by which a tenant's domain lets us answer DNS-01
	// validations, or [shingle.ErrNotFound] when that is not set up.
	Delegation(ctx context.Context, domain, tenant string) (shingle.Delegation, error)
	// Upload stores a certificate of the operator's, and returns it as it is then. Its
	// errors are [shingle.ErrNotFound] for a host that is no domain,
	// [shingle.ErrInvalid] with the field chain or key, [shingle.ErrExists] when
	// u.IfNewer and it is not, and [shingle.ErrUnavailable].
	Upload(ctx context.Context, host string, u shingle.Upload) (shingle.Certificate, error)
	// Renew has host's certificate replaced now, or returns [shingle.ErrNotFound].
	Renew(ctx context.Context, host string) error
	// Revoke has host's certificate revoked once the domain is deleted. It returns
	// [shingle.ErrInvalid] for one that is not from a CA of ours.
	Revoke(ctx context.Context, host string) error
	// Drop destroys host's certificate and its key, which is no error when there is
	// none.
	Drop(ctx context.Context, host string) error
	// Discard removes host's certificate and has it issued anew, or returns
	// [shingle.ErrNotFound].
	Discard(ctx context.Context, host string) error
	// Queue returns what waits, with at most limit hosts of it.
	Queue(ctx context.Context, limit int) (shingle.IssuanceQueue, error)
	// Drill returns the queue as it would be if every certificate were revoked
	// now, with at most limit hosts, the last to be done among them.
	Drill(ctx context.Context, limit int) (shingle.IssuanceQueue, error)
	// Calendar returns what is planned for the next days.
	Calendar(ctx context.Context) (shingle.RenewalCalendar, error)
	// Planned returns what is due on a day in UTC, behind the next of an earlier call, at
	// most limit (1 to 1000); next is empty at the end. It returns [shingle.ErrInvalid] for
	// an after that is none.
	Planned(ctx context.Context, day time.Time, after string, limit int) (list []shingle.PlannedRenewal, next string, err error)
}

// Certificate is a host's certificate as the API shows it.
type Certificate struct {
	Host      string    `json:"host" example:"blog.customer.com"`
	Tenant    string    `json:"tenant,omitempty"`
	State     string    `json:"state" enum:"valid,waiting,failing,stopped" doc:"waiting: its order is due; failing: it will be tried again at next; stopped: somebody must act first"`
	Issuer    string    `json:"issuer,omitempty" doc:"Directory URL of the CA"`
	Serial    string    `json:"serial,omitempty" doc:"Serial number in hexadecimal"`
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	Uploaded  bool      `json:"uploaded,omitempty" doc:"Yours, not obtained by Shingle"`
	Keep      bool      `json:"keep,omitempty" doc:"Yours, and not to be replaced by ACME while it is valid"`
	RenewAt   time.Time `json:"renew_at,omitzero" doc:"When its renewal is planned"`
	Next      time.Time `json:"next,omitzero" doc:"When the worker looks at it again; absent: never"`
	Advice    string    `json:"advice,omitempty" doc:"Where the CA explains when it wants the certificate renewed"`
	Failures  int       `json:"failures,omitempty" doc:"Attempts in a row that failed"`
	Failed    *Failure  `json:"failed,omitempty" doc:"The last attempt, when it failed"`

	Warnings []string `json:"warnings,omitempty" doc:"What you should see to although nothing failed"`

	Limits []NameLimits `json:"limits,omitempty" doc:"What is left of each CA's limits for this name; not in lists"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// Failure is why an attempt to get a certificate came to nothing.
type Failure struct {
	Code    string    `json:"code" doc:"As in problems"`
	Problem string    `json:"problem,omitempty" doc:"The CA's problem type (RFC 8555 section 6.7)"`
	Reason  string    `json:"reason,omitempty" doc:"Why no CA was asked; docs/domains.md lists them"`
	Message string    `json:"message"`
	Who     string    `json:"who" enum:"customer,operator,ca,nobody" doc:"Who must act"`
	At      time.Time `json:"at"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// NameLimits are what is left of a CA's limits for one name.
type NameLimits struct {
	Directory    string    `json:"directory"`
	Failures     Budget    `json:"failures" doc:"Validations that may fail before the CA refuses the name"`
	Certificates Budget    `json:"certificates" doc:"Certificates for this name, but for renewals that the CA exempts"`
	NotBefore    time.Time `json:"not_before,omitzero" doc:"When the name may be ordered for again; absent: now"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// CertificateList is a page of certificates, in the order of their hosts.
type CertificateList struct {
	Certificates []Certificate `json:"certificates" nullable:"false"`
	Next         string        `json:"next,omitempty" doc:"Send it as after for the next page; absent at the end"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// Queue is what waits for the CAs, and what they still allow.
type Queue struct {
	CAs     []CABudget `json:"cas" nullable:"false"`
	New     int        `json:"new" doc:"Hosts without a certificate that wait"`
	Renew   int        `json:"renew" doc:"Hosts whose renewal, or a question to the CA about it, is due"`
	More    bool       `json:"more,omitempty" doc:"There are more than were counted"`
	Waiting []Waiting  `json:"waiting" nullable:"false" doc:"In the order of their turns"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// CABudget is what is left of one CA's limits.
type CABudget struct {
	Directory string    `json:"directory"`
	Orders    Budget    `json:"orders" doc:"Orders for new certificates"`
	Renewals  Budget    `json:"renewals" doc:"Renewals that the CA exempts from its limits, at our own pace"`
	NotBefore time.Time `json:"not_before,omitzero" doc:"The CA wants no order before"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// Budget is a token bucket.
type Budget struct {
	Left    float64 `json:"left"`
	Count   int     `json:"count" doc:"At most"`
	Seconds float64 `json:"seconds" doc:"In which count are earned"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// Waiting is a host whose order is due.
type Waiting struct {
	Host  string    `json:"host"`
	New   bool      `json:"new" doc:"It has no valid certificate"`
	Since time.Time `json:"since"`
	ETA   time.Time `json:"eta" doc:"When the budgets reach it"`

	_ struct{} `additionalProperties:"true"` // more will come
}

type (
	certificateAnswer  struct{ Body Certificate }
	certificatesAnswer struct{ Body CertificateList }
	queueAnswer        struct{ Body Queue }
)

type queueInput struct {
	Limit int  `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Drill bool `query:"drill" doc:"Show the queue as it would be if every certificate were revoked now, the last host of it included"`
}

func (s *server) certificateRoutes(a huma.API) {
	const all, one = "/v1/certificates", "/v1/certificates/{host}"
	register(s, a, operation("list-certificates", http.MethodGet, all, "List the certificates"), s.listCertificates)
	register(s, a, operation("get-certificate", http.MethodGet, one, "Show a certificate", http.StatusNotFound), s.getCertificate)
	s.uploadRoute(a, one)
	s.calendarRoutes(a)
	renew := operation("renew-certificate", http.MethodPost, one+"/renew", "Renew a certificate now", http.StatusNotFound)
	renew.DefaultStatus = http.StatusAccepted
	renew.Description = "Attempts that were given up are begun again. The answer is the state before the attempt."
	register(s, a, renew, s.renewCertificate)
	remove := operation("delete-certificate", http.MethodDelete, one, "Remove a certificate, and have it issued anew", http.StatusNotFound)
	remove.Description = "For one whose key may be known to others, or that cannot be read. Visitors are served with what is in memory until there is the new one. The domain stays."
	register(s, a, remove, s.deleteCertificate)
	register(s, a, operation("get-queue", http.MethodGet, "/v1/queue", "Show what waits for the CAs, and their budgets"), s.getQueue)
}

func (s *server) listCertificates(ctx context.Context, in *ListInput) (*certificatesAnswer, error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	if tenantOf(ctx) != "" {
		return s.ownCertificates(ctx, after, in.Limit)
	}
	list, err := s.Certificates.List(ctx, after, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &certificatesAnswer{CertificateList{Certificates: make([]Certificate, len(list))}}
	for i, c := range list {
		out.Body.Certificates[i] = showCertificate(c)
	}
	if len(list) == in.Limit {
		out.Body.Next = base64.RawURLEncoding.EncodeToString([]byte(list[len(list)-1].Host))
	}
	return out, nil
}

// ownCertificates returns those of the caller's tenant.
func (s *server) ownCertificates(ctx context.Context, after string, limit int) (*certificatesAnswer, error) {
	p, err := s.page(ctx, FilterInput{}, string(shingle.ByHost), shingle.DomainPlace{Host: after}, limit)
	if err != nil {
		return nil, err
	}
	out := &certificatesAnswer{CertificateList{Certificates: []Certificate{}, Next: cursorTo(string(shingle.ByHost), p.next)}}
	for _, row := range p.list {
		c, err := s.Certificates.Info(ctx, row.Host)
		if errors.Is(err, shingle.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c.Limits = nil // not in lists
		out.Body.Certificates = append(out.Body.Certificates, showCertificate(c))
	}
	return out, nil
}

func (s *server) getCertificate(ctx context.Context, in *HostInput) (*certificateAnswer, error) {
	host, err := hostInPath(in.Host)
	if err != nil {
		return nil, err
	}
	if err := s.ownHost(ctx, host); err != nil {
		return nil, err
	}
	c, err := s.Certificates.Info(ctx, host)
	if err != nil {
		return nil, err
	}
	return &certificateAnswer{showCertificate(c)}, nil
}

func (s *server) renewCertificate(ctx context.Context, in *HostInput) (*certificateAnswer, error) {
	host, err := hostInPath(in.Host)
	if err != nil {
		return nil, err
	}
	if err := s.ownHost(ctx, host); err != nil {
		return nil, err
	}
	if err := s.Certificates.Renew(ctx, host); err != nil {
		return nil, err
	}
	return s.getCertificate(ctx, in)
}

func (s *server) getQueue(ctx context.Context, in *queueInput) (*queueAnswer, error) {
	look := s.Certificates.Queue
	if in.Drill {
		look = s.Certificates.Drill
	}
	q, err := look(ctx, in.Limit)
	if err != nil {
		return nil, err
	}
	out := Queue{CAs: []CABudget{}, New: q.New, Renew: q.Renew, More: q.More, Waiting: []Waiting{}}
	for _, ca := range q.CAs {
		out.CAs = append(out.CAs, CABudget{
			Directory: ca.Directory, Orders: showBudget(ca.Orders), Renewals: showBudget(ca.Renewals), NotBefore: ca.NotBefore,
		})
	}
	for _, w := range q.Waiting {
		out.Waiting = append(out.Waiting, Waiting{Host: w.Host, New: w.New, Since: w.Since, ETA: w.ETA})
	}
	return &queueAnswer{out}, nil
}

func showBudget(b shingle.Budget) Budget {
	return Budget{Left: b.Left, Count: b.Count, Seconds: b.Per.Seconds()}
}

func showCertificate(c shingle.Certificate) Certificate {
	out := Certificate{
		Host: c.Host, Tenant: c.Tenant, State: string(c.State), Issuer: c.Issuer, Serial: c.Serial,
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, Uploaded: c.Uploaded, Keep: c.Keep, RenewAt: c.RenewAt, Next: c.Next,
		Advice: c.Advice, Failures: c.Failures, Warnings: c.Warnings,
	}
	if f := c.Failed; f != nil {
		out.Failed = &Failure{Code: string(f.Code), Problem: f.Problem, Reason: string(f.Reason), Message: f.Message, Who: f.Who, At: f.At}
	}
	for _, l := range c.Limits {
		out.Limits = append(out.Limits, NameLimits{
			Directory: l.Directory, Failures: showBudget(l.Failures), Certificates: showBudget(l.Certificates), NotBefore: l.NotBefore,
		})
	}
	return out
}
