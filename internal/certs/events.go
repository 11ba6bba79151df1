package certs

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/shingle-proxy/shingle"
)

// issuedData is the data of a certificate that was issued.
type issuedData struct {
	Issuer   string    `json:"issuer"` // directory URL
	Serial   string    `json:"serial"`
	NotAfter time.Time `json:"not_after"`
	Renewal  bool      `json:"renewal"`
}

// failedData is the data of an attempt that failed.
type failedData struct {
	*shingle.CertificateFailure
	Failures int       `json:"failures"`          // in a row
	RetryAt  time.Time `json:"retry_at,omitzero"` // zero when stopped
}

// tellIssued records that p has a new certificate. A crash behind it may have it
// recorded again, with the same ID.
func (m *Manager) tellIssued(ctx context.Context, host string, p *plan, renewal bool) {
	m.tell(ctx, shingle.Event{
		ID: shingle.EventID(string(shingle.EventCertificateIssued), host, p.Serial), Type: shingle.EventCertificateIssued,
		Host: host, Tenant: p.Tenant,
	}, issuedData{p.Issuer, p.Serial, p.NotAfter, renewal})
}

// uploadedData is the data of a certificate that the operator brought.
type uploadedData struct {
	Serial   string    `json:"serial"`
	NotAfter time.Time `json:"not_after"`
	Keep     bool      `json:"keep"`
}

// tellUploaded records that p has a certificate of the operator's, e. A crash behind
// it may have it recorded again, with the same ID.
func (m *Manager) tellUploaded(ctx context.Context, host string, p *plan, e *entry) {
	m.tell(ctx, shingle.Event{
		ID:   shingle.EventID(string(shingle.EventCertificateUploaded), host, strconv.FormatUint(e.fence, 10)),
		Type: shingle.EventCertificateUploaded, Host: host, Tenant: p.Tenant, By: e.upload.By,
	}, uploadedData{p.Serial, p.NotAfter, p.Keep})
}

// tellFailed records that an attempt failed.
func (m *Manager) tellFailed(ctx context.Context, host string, p *plan) {
	e := shingle.Event{Type: shingle.EventCertificateFailed, Host: host, Tenant: p.Tenant}
	data := failedData{p.Failed, p.Failures, p.RetryAt}
	if p.Stopped {
		e.Type, data.RetryAt = shingle.EventCertificateStopped, time.Time{}
	}
	e.ID = shingle.EventID(string(e.Type), host, p.Failed.At.UTC().Format(time.RFC3339Nano))
	m.tell(ctx, e, data)
}

// revokedData is the data of a certificate that was revoked.
type revokedData struct {
	Issuer string `json:"issuer"` // directory URL
	Serial string `json:"serial"`
}

// tellRevoked records that a CA has revoked a certificate.
func (m *Manager) tellRevoked(ctx context.Context, host, serial string, r *revocation) {
	m.tell(ctx, shingle.Event{
		ID: shingle.EventID(string(shingle.EventCertificateRevoked), host, serial), Type: shingle.EventCertificateRevoked,
		Host: host, Tenant: r.Tenant,
	}, revokedData{r.Directory, serial})
}

func (m *Manager) tell(ctx context.Context, e shingle.Event, data any) {
	if m.cfg.Events == nil {
		return
	}
	e.At = m.cfg.Now()
	var err error
	if e.Data, err = json.Marshal(data); err == nil {
		err = m.cfg.Events.Record(context.WithoutCancel(ctx), e)
	}
	if err != nil {
		m.log.Error("event not recorded", "type", e.Type, "host", e.Host, "error", err)
	}
}
