package certs

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/shingle-proxy/shingle"
)

// uploadAttempts bounds how often an upload meets another writer.
const uploadAttempts = 4

// Upload stores a certificate of the operator's for host, in place of whatever is
// there, and has the whole fleet serve it. Unless it is to be kept, it is renewed by
// ACME as any other. To upload the same again changes nothing. It returns the
// certificate as it is afterwards or, in a dry run, would be.
//
// The host must be a domain: an uploaded key goes when its domain does. It returns
// [shingle.ErrNotFound] when it is none, [shingle.ErrInvalid] for a chain or key
// that visitors could not be served with, [shingle.ErrExists] as u.IfNewer says, and
// [shingle.ErrUnavailable] when it has to be tried again.
func (m *Manager) Upload(ctx context.Context, host string, u shingle.Upload) (shingle.Certificate, error) {
	v, err := vet(u.Chain, u.Key, host, m.cfg.Now())
	if err != nil {
		return shingle.Certificate{}, err
	}
	tenant, err := m.tenantOf(ctx, host)
	if err != nil {
		return shingle.Certificate{}, err
	}
	up := &uploading{issuance: issuance{Manager: m, host: host}, vetted: v, upload: upload{u.Keep, u.By}, tenant: tenant, ifNewer: u.IfNewer}
	if slices.ContainsFunc(m.cas, func(ca *authority) bool { return ca.Directory == u.Issuer }) {
		up.issuer = u.Issuer
	}
	var c shingle.Certificate
	if u.DryRun {
		c, err = up.rehearse(ctx)
	} else {
		c, err = up.perform(ctx)
	}
	if err == nil {
		c.Warnings = append(c.Warnings, v.doubts(m.cfg.Roots, m.cfg.Now())...)
	}
	return c, err
}

// tenantOf returns whose domain host is.
func (m *Manager) tenantOf(ctx context.Context, host string) (string, error) {
	if m.cfg.Domains == nil {
		return "", nil
	}
	d, err := m.cfg.Domains.Domain(ctx, host)
	if errors.Is(err, shingle.ErrNotFound) {
		return "", shingle.Errorf(shingle.CodeNotFound, "%s is not set up here: add the domain first", host)
	}
	if err != nil {
		return "", &shingle.Error{Code: shingle.CodeUnavailable, Message: "the domain store does not answer", Err: err}
	}
	return d.Tenant, nil
}

// uploading is one upload. It takes the place of an issuance, under the host's
// lease.
type uploading struct {
	issuance
	*vetted
	upload  upload
	issuer  string // directory of a CA of ours; empty: another, or not known
	tenant  string
	ifNewer bool

	before record // what is stored; zero when there is nothing that can be read
}

// rehearse tells what the upload would do.
func (u *uploading) rehearse(ctx context.Context) (shingle.Certificate, error) {
	if err := u.look(ctx); err != nil {
		return shingle.Certificate{}, err
	}
	e, err := newEntry([]byte(u.pem()), u.key, u.host)
	if err != nil {
		return shingle.Certificate{}, err
	}
	e.brought(&u.upload)
	now := u.cfg.Now()
	p := plan{Tenant: u.tenant, Created: now}
	p.adopt(u.host, e, u.issuer, now)
	p.reschedule()
	return p.show(u.host, now), nil
}

// perform takes the host's lease, and does it. An issuance of this process has lost
// its purpose.
func (u *uploading) perform(ctx context.Context) (shingle.Certificate, error) {
	if err := u.look(ctx); err != nil {
		return shingle.Certificate{}, err
	}
	if ended := u.issues.stop(u.host); ended != nil {
		select {
		case <-ended:
		case <-ctx.Done():
			return shingle.Certificate{}, errUploadBusy
		}
	}
	err := u.leases.hold(ctx, hostLease(u.host), func(ctx context.Context, token uint64) error {
		u.fence = token
		return u.run(ctx)
	})
	switch {
	case errors.Is(err, errLost), err != nil && ctx.Err() != nil:
		return shingle.Certificate{}, errUploadBusy
	case err != nil:
		return shingle.Certificate{}, err
	}
	if _, err := u.tenantOf(ctx, u.host); errors.Is(err, shingle.ErrNotFound) { // deleted meanwhile
		return shingle.Certificate{}, errors.Join(err, u.Drop(ctx, u.host))
	}
	return u.info(ctx, u.host)
}

var errUploadBusy = shingle.Errorf(shingle.CodeUnavailable, "a certificate for this host is being obtained at this moment: try again in a minute")

// look reads what is stored, and refuses if that is newer.
func (u *uploading) look(ctx context.Context) error {
	u.before = record{}
	var err error
	u.version, err = u.store.get(ctx, certKey(u.host), &u.before)
	switch {
	case errors.Is(err, shingle.ErrNotFound):
		u.version = shingle.NoVersion
		return nil
	case errors.Is(err, shingle.ErrUnavailable):
		return err
	case err != nil:
		return nil // a record that cannot be read may be replaced
	}
	if !u.ifNewer || !u.cfg.Now().Before(u.before.NotAfter) {
		return nil
	}
	leaf, err := leafOf([]byte(u.before.Chain))
	switch {
	case err != nil, leaf.Equal(u.chain[0]):
		return nil
	case u.before.Upload != nil && u.before.Upload.Keep:
		return shingle.Errorf(shingle.CodeExists, "%s has a certificate of yours that is to be kept until %s", u.host, leaf.NotAfter.UTC().Format(time.DateOnly))
	case leaf.NotBefore.After(u.chain[0].NotBefore):
		return shingle.Errorf(shingle.CodeExists, "%s has a certificate that was issued later, on %s", u.host, leaf.NotBefore.UTC().Format(time.DateOnly))
	}
	return nil
}

// run stores the certificate and takes in what follows from it. The plan comes last:
// until it knows the certificate, the upload can be repeated.
func (u *uploading) run(ctx context.Context) error {
	for range uploadAttempts {
		if err := u.look(ctx); err != nil {
			return err
		}
		e, err := u.put(ctx)
		if errors.Is(err, shingle.ErrConflict) {
			continue // somebody wrote without the lease, which we have now
		}
		if err != nil {
			return fmt.Errorf("store certificate: %w", err)
		}
		return u.settle(context.WithoutCancel(ctx), e)
	}
	return fmt.Errorf("store certificate: %w", shingle.ErrConflict)
}

// put stores the certificate, unless it is there already.
func (u *uploading) put(ctx context.Context) (*entry, error) {
	e, err := newEntry([]byte(u.pem()), u.key, u.host)
	if err != nil {
		return nil, err
	}
	e.issuer, e.fence = u.issuer, u.fence
	e.brought(&u.upload)
	if old := u.before.Upload; old != nil && old.Keep == u.upload.Keep && u.before.Chain == u.pem() && u.before.Issuer == u.issuer {
		e.fence = u.before.Fence
		e.brought(old)
		return e, nil
	}
	key, err := u.store.sealKey(ctx, u.key, certKey(u.host))
	if err != nil {
		return nil, err
	}
	_, err = u.store.put(ctx, certKey(u.host), record{
		Chain: u.pem(), Key: key, Issuer: u.issuer, Issued: u.cfg.Now().UTC(), NotAfter: e.notAfter, Fence: u.fence, Upload: &u.upload,
	}, u.version)
	return e, err
}

// settle has this process and all others serve e, and the plan know it.
func (u *uploading) settle(ctx context.Context, e *entry) error {
	u.cache.put(u.host, e)
	u.refusals.clear(u.host)
	u.readiness.clear(u.host)
	var err error
	if u.plan, _, err = u.store.plan(ctx, u.host); err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return fmt.Errorf("read plan: %w", err)
	}
	if e.fence != u.fence && u.known(&u.plan) {
		return nil // repeated
	}
	u.finish(ctx)
	now := u.cfg.Now()
	edit := func(p *plan) { p.Tenant = u.tenant; p.adopt(u.host, e, u.issuer, now) }
	next := u.plan
	edit(&next)
	u.tellUploaded(ctx, u.host, &next, e)
	if _, err = u.changePlan(ctx, edit); err != nil {
		return err
	}
	u.log.Info("certificate uploaded", "host", u.host, "expires", e.notAfter, "keep", u.upload.Keep, "by", u.upload.By)
	if next.dueWarning(now) != 0 {
		return u.warn(ctx, u.host) // the worker would see in a minute only what was due before
	}
	return nil
}

// known reports whether the plan is about this upload.
func (u *uploading) known(p *plan) bool {
	serial := hex.EncodeToString(u.chain[0].SerialNumber.Bytes())
	return p.Uploaded && p.Keep == u.upload.Keep && p.Serial == serial && p.Issuer == u.issuer
}
