package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// cfHostname is a domain as Cloudflare shows a custom hostname.
type cfHostname struct {
	ID                 string          `json:"id"`
	Hostname           string          `json:"hostname"`
	SSL                cfSSL           `json:"ssl"`
	CustomMetadata     json.RawMessage `json:"custom_metadata,omitempty"`
	CustomOriginServer string          `json:"custom_origin_server,omitempty"`
	Status             string          `json:"status"`
	VerificationErrors []string        `json:"verification_errors,omitempty"`
	CreatedAt          time.Time       `json:"created_at"`

	OwnershipVerification     *cfOwnershipTXT  `json:"ownership_verification,omitempty"`
	OwnershipVerificationHTTP *cfOwnershipHTTP `json:"ownership_verification_http,omitempty"`
}

// cfOwnershipTXT is a TXT record that proves control.
type cfOwnershipTXT struct {
	Type  string `json:"type"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

// cfOwnershipHTTP is a page that proves control.
type cfOwnershipHTTP struct {
	URL  string `json:"http_url"`
	Body string `json:"http_body"`
}

// cfSSL is the certificate of a custom hostname.
type cfSSL struct {
	ID                   string          `json:"id"`
	Status               string          `json:"status"`
	Method               string          `json:"method"`
	Type                 string          `json:"type"`
	Wildcard             bool            `json:"wildcard"`
	BundleMethod         string          `json:"bundle_method"`
	CertificateAuthority string          `json:"certificate_authority,omitempty"`
	Settings             cfSSLSettings   `json:"settings"`
	ValidationErrors     []cfText        `json:"validation_errors,omitempty"`
	ValidationRecords    []cfDelegation  `json:"validation_records,omitempty"`
	DelegationRecords    []cfDelegation  `json:"dcv_delegation_records,omitempty"`
	Hosts                []string        `json:"hosts,omitempty"`
	Issuer               string          `json:"issuer,omitempty"`
	SerialNumber         string          `json:"serial_number,omitempty"`
	ExpiresOn            *time.Time      `json:"expires_on,omitempty"`
	Certificates         []cfCertificate `json:"certificates,omitempty"`
}

type cfSSLSettings struct {
	HTTP2         string `json:"http2"`
	HTTP3         string `json:"http3"`
	TLS13         string `json:"tls_1_3"`
	MinTLSVersion string `json:"min_tls_version"`
}

type cfText struct {
	Message string `json:"message"`
}

// cfDelegation is a CNAME record by which the customer lets us answer validations.
type cfDelegation struct {
	CNAME  string `json:"cname"`
	Target string `json:"cname_target"`
	Status string `json:"status"`
}

type cfCertificate struct {
	ID           string    `json:"id"`
	Issuer       string    `json:"issuer"`
	SerialNumber string    `json:"serial_number"`
	IssuedOn     time.Time `json:"issued_on"`
	ExpiresOn    time.Time `json:"expires_on"`
}

// What becomes of our states. Cloudflare has a hostname active before there is a
// certificate; here it is active when visitors are served.
var cfStatuses = map[shingle.State]string{
	shingle.StatePending:   "pending",
	shingle.StateVerifying: "pending",
	shingle.StateIssuing:   "pending",
	shingle.StateActive:    "active",
	shingle.StateDrifting:  "active", // it is served still; verification_errors warns
	shingle.StatePaused:    "moved",
	shingle.StateBlocked:   "blocked",
}

// cfStatusOf returns the status of a hostname. Where domains are not checked, the
// certificate says all that is known.
func cfStatusOf(d *Domain, c *shingle.Certificate) string {
	switch {
	case d.Paused:
		return "blocked"
	case d.Status != nil && d.Status.State != string(shingle.StateRemoved): // of before it was added again
		return cfStatuses[shingle.State(d.Status.State)]
	case d.Status == nil && c != nil && c.State == shingle.CertificateValid:
		return "active"
	}
	return "pending"
}

// cfSSLStatusOf returns the status of a hostname's certificate.
func cfSSLStatusOf(d *Domain, c *shingle.Certificate, now time.Time) string {
	state := shingle.StateIssuing
	if d.Status != nil {
		state = shingle.State(d.Status.State)
	}
	ordered := state == shingle.StateIssuing || state == shingle.StateActive || state == shingle.StateDrifting
	switch {
	case d.Paused:
		return "inactive"
	case c == nil && d.Status == nil:
		return "initializing"
	case c == nil && ordered:
		return "pending_issuance"
	case c == nil:
		return "pending_validation"
	case c.State == shingle.CertificateValid:
		return "active"
	case !c.NotAfter.IsZero() && !now.Before(c.NotAfter):
		return "expired"
	case c.State == shingle.CertificateStopped && c.Failed != nil && c.Failed.Who == shingle.WhoCustomer:
		return "validation_timed_out"
	case c.State == shingle.CertificateStopped:
		return "issuance_timed_out"
	case c.State == shingle.CertificateFailing && c.Failed != nil && c.Failed.Who == shingle.WhoCustomer, !ordered:
		return "pending_validation"
	}
	return "pending_issuance"
}

// cfAuthorities are Cloudflare's names of CAs, by the end of their directories' hosts.
var cfAuthorities = map[string]string{".letsencrypt.org": "lets_encrypt", ".pki.goog": "google", ".ssl.com": "ssl_com", ".digicert.com": "digicert"}

func cfAuthority(directory string) string {
	host, _, _ := strings.Cut(strings.TrimPrefix(directory, "https://"), "/")
	for end, name := range cfAuthorities {
		if strings.HasSuffix("."+host, end) {
			return name
		}
	}
	return ""
}

// cfShow returns a domain as Cloudflare would show it. d is as [server.shown] returns
// it, with its status.
func (s *server) cfShow(ctx context.Context, d *Domain) (*cfHostname, error) {
	c, err := s.certificateOf(ctx, d.Host)
	if err != nil {
		return nil, err
	}
	return cfShown(d, c, s.Now()), nil
}

// certificateOf returns what is known of a host's certificate, nil when nothing is.
func (s *server) certificateOf(ctx context.Context, host string) (*shingle.Certificate, error) {
	if s.Certificates == nil {
		return nil, nil
	}
	c, err := s.Certificates.Info(ctx, host)
	if errors.Is(err, shingle.ErrNotFound) {
		return nil, nil
	}
	return &c, err
}

func cfShown(d *Domain, c *shingle.Certificate, now time.Time) *cfHostname {
	set, _ := shingle.SettingsText(d.Settings).Parse() // what cannot be read is of a newer version
	h := &cfHostname{
		ID: cfID(d), Hostname: d.Host, CustomMetadata: set.Metadata, CustomOriginServer: cfOrigin(d.Origin),
		Status: cfStatusOf(d, c), CreatedAt: d.CreatedAt,
		SSL: cfSSL{
			ID: cfID(d), Status: cfSSLStatusOf(d, c, now), Method: "http", Type: "dv", Wildcard: shingle.IsWildcard(d.Host), BundleMethod: "ubiquitous",
			Settings: cfSSLSettings{HTTP2: "on", HTTP3: cmp.Or(set.HTTP3, shingle.HTTP3On), TLS13: "on", MinTLSVersion: "1.2"},
		},
	}
	if h.SSL.Wildcard {
		h.SSL.Method = "txt"
	}
	if set.TLS != nil && set.TLS.MinVersion != "" {
		h.SSL.Settings.MinTLSVersion = set.TLS.MinVersion
	}
	h.verification(d)
	h.SSL.certificate(c, now)
	if d.Delegation != nil {
		state := "pending"
		if h.SSL.Status == "active" {
			state = "active"
		}
		h.SSL.DelegationRecords = []cfDelegation{{d.Delegation.Name, d.Delegation.Value, state}}
		if state == "pending" {
			h.SSL.ValidationRecords = h.SSL.DelegationRecords
		}
	}
	return h
}

// verification says what is to be done, until all is well.
func (h *cfHostname) verification(d *Domain) {
	if st := d.Status; st != nil && !d.Paused && st.Who != shingle.WhoNobody {
		h.VerificationErrors = []string{st.Message}
	}
	if h.Status == "active" || d.DNS == nil || d.DNS.Proof == nil || d.Status != nil && !d.Status.Proven.IsZero() {
		return
	}
	p := d.DNS.Proof
	h.OwnershipVerification = &cfOwnershipTXT{"txt", p.TXT, p.Text}
	if p.URL != "" {
		h.OwnershipVerificationHTTP = &cfOwnershipHTTP{p.URL, p.Text}
	}
}

// certificate adds what is known of the certificate.
func (s *cfSSL) certificate(c *shingle.Certificate, now time.Time) {
	if c == nil {
		return
	}
	if c.Failed != nil {
		s.ValidationErrors = []cfText{{c.Failed.Message}}
	}
	if c.NotAfter.IsZero() {
		return
	}
	s.CertificateAuthority, s.Issuer, s.SerialNumber, s.ExpiresOn, s.Hosts = cfAuthority(c.Issuer), c.Issuer, c.Serial, &c.NotAfter, []string{c.Host}
	if now.Before(c.NotAfter) {
		s.Certificates = []cfCertificate{{ID: s.ID, Issuer: c.Issuer, SerialNumber: c.Serial, IssuedOn: c.NotBefore, ExpiresOn: c.NotAfter}}
	}
}

// cfOrigin is the host of an origin; one that is not plain HTTPS keeps its URL's form.
func cfOrigin(origin string) string {
	if o, err := shingle.ParseOrigin(origin); err == nil && o.TLS {
		return o.Authority()
	}
	return origin
}

func (s *server) cfGet(r *http.Request) (*cfAnswer, error) {
	if err := cfNoQuery(r); err != nil {
		return nil, err
	}
	host, err := s.cfHost(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	d, err := s.get(r.Context(), &HostInput{host})
	if err != nil {
		return nil, err
	}
	h, err := s.cfShow(r.Context(), &d.Body)
	return &cfAnswer{status: http.StatusOK, result: h}, err
}
