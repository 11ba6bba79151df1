package api

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/shingle-proxy/shingle"
)

func (s *server) cfCreate(r *http.Request) (*cfAnswer, error) {
	ctx := r.Context()
	c, err := cfBody(r)
	if err != nil {
		return nil, err
	}
	d := shingle.Domain{Host: c.hostname, Tenant: tenantOf(ctx)}
	if err := c.apply(&d); err != nil {
		return nil, err
	}
	if err := s.validate(&d, nil); err != nil {
		return nil, err
	}
	if err := errors.Join(c.fits(&d), s.cfCan(ctx, c, &d)); err != nil {
		return nil, err
	}
	if tenantOf(ctx) == "" { // a tenant's token may set nothing of the kind
		if d.Settings, err = d.Settings.WithCloudflareID(newCFID(d.Host)); err != nil {
			return nil, err
		}
	}
	if d, err = s.insert(ctx, d); err != nil {
		return nil, err
	}
	if err := s.cfUpload(ctx, c, d.Host); err != nil {
		return nil, errors.Join(err, s.undo(ctx, &d))
	}
	return s.cfWritten(ctx, http.StatusCreated, c, d)
}

// undo deletes a domain that has just been created, if it is still as it was.
func (s *server) undo(ctx context.Context, d *shingle.Domain) error {
	_, err := s.remove(ctx, &deleteInput{HostInput: HostInput{d.Host}, IfMatchInput: IfMatchInput{etag(*d)}})
	return err
}

// cfEdit changes what a body names. One with ssl has attempts at a certificate that
// were given up begun again, and the domain checked.
func (s *server) cfEdit(r *http.Request) (*cfAnswer, error) {
	ctx := r.Context()
	c, err := cfBody(r)
	if err != nil {
		return nil, err
	}
	host, err := s.cfHost(ctx, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	d, err := s.change(ctx, host, "", func(d *shingle.Domain) error {
		if same, err := shingle.NormalizeDomain(c.hostname); c.hostname != "" && (err != nil || same != d.Host) {
			return &cfFault{http.StatusConflict, []cfMessage{{Code: cfImmutable, Message: "Modifying the custom hostname is not supported", Source: &cfSource{"/hostname"}}}}
		}
		return errors.Join(c.apply(d), c.fits(d), s.cfCan(ctx, c, d))
	})
	if err != nil {
		return nil, err
	}
	if err := s.cfUpload(ctx, c, d.Host); err != nil {
		return nil, err
	}
	if c.ssl {
		if err := s.cfAgain(ctx, d.Host); err != nil {
			return nil, err
		}
	}
	return s.cfWritten(ctx, http.StatusAccepted, c, d)
}

func (s *server) cfDelete(r *http.Request) (*cfAnswer, error) {
	if err := cfNoQuery(r); err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	host, err := s.cfHost(r.Context(), id)
	if err != nil {
		return nil, err
	}
	if _, err := s.remove(r.Context(), &deleteInput{HostInput: HostInput{host}}); err != nil {
		return nil, err
	}
	return &cfAnswer{status: http.StatusOK, id: id, result: map[string]string{"id": id}}, nil
}

// cfCan refuses what this installation cannot do for a domain.
func (s *server) cfCan(ctx context.Context, c *cfChange, d *shingle.Domain) error {
	if c.authority != "" && !slices.ContainsFunc(s.CADirectories, func(url string) bool { return cfAuthority(url) == c.authority }) {
		return cfUnsupportedAt("/ssl/certificate_authority", "%.40q is none of the CAs that are set up here (--acme-ca)", c.authority)
	}
	if c.chain != "" && s.Certificates == nil {
		return cfUnsupportedAt("/ssl/custom_certificate", "no certificates are kept here")
	}
	if !c.txt || shingle.IsWildcard(d.Host) {
		return nil
	}
	err := shingle.ErrNotFound
	if s.Certificates != nil {
		var delegation error
		if _, delegation = s.Certificates.Delegation(ctx, d.Host, d.Tenant); delegation == nil {
			return nil
		} else if !errors.Is(delegation, err) {
			return delegation
		}
	}
	return cfUnsupportedAt("/ssl/method", `"txt" is not supported: take http, or set --dns01-zone up, whose record validates before the hostname leads here`)
}

// cfUpload stores the certificate that a body brings.
func (s *server) cfUpload(ctx context.Context, c *cfChange, host string) error {
	if c.chain == "" {
		return nil
	}
	_, err := s.putCertificate(ctx, &uploadInput{HostInput: HostInput{host}, Body: NewCertificate{Chain: c.chain, Key: c.key, Keep: true}})
	return err
}

// cfAgain begins attempts at a certificate again, unless there is a valid one.
func (s *server) cfAgain(ctx context.Context, host string) error {
	c, err := s.certificateOf(ctx, host)
	if err == nil && c != nil && c.State != shingle.CertificateValid {
		err = s.Certificates.Renew(ctx, host)
	}
	if err == nil || errors.Is(err, shingle.ErrNotFound) {
		s.checkSoon(ctx, host)
		return nil
	}
	return err
}

// cfWritten shows a row that was written.
func (s *server) cfWritten(ctx context.Context, status int, c *cfChange, row shingle.Domain) (*cfAnswer, error) {
	d := s.shown(ctx, row)
	var err error
	if d.Status, err = s.status(ctx, d.Host); err != nil {
		return nil, err
	}
	h, err := s.cfShow(ctx, &d)
	if err != nil {
		return nil, err
	}
	a := &cfAnswer{status: status, result: h}
	if c.txt && len(h.SSL.DelegationRecords) > 0 {
		a.messages = []cfMessage{{Code: cfUnsupported, Source: &cfSource{"/ssl/method"}, Message: "ssl.method txt: the record is the CNAME in ssl.validation_records, once and for all; when the hostname leads here first, none is needed"}}
	}
	return a, nil
}
