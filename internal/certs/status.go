package certs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Info returns what is known of host's certificate, with the limits of the CAs for
// it, or [shingle.ErrNotFound] for a host that was never wanted.
func (m *Manager) Info(ctx context.Context, host string) (shingle.Certificate, error) {
	c, err := m.info(ctx, host)
	if err == nil {
		c.Limits, err = m.limits(ctx, host)
	}
	return c, err
}

func (m *Manager) info(ctx context.Context, host string) (shingle.Certificate, error) {
	p, _, err := m.store.plan(ctx, host)
	if errors.Is(err, shingle.ErrNotFound) {
		return shingle.Certificate{}, shingle.Errorf(shingle.CodeNotFound, "there is no certificate for %s", host)
	}
	if err != nil {
		return shingle.Certificate{}, fmt.Errorf("read plan: %w", err)
	}
	return p.show(host, m.cfg.Now()), nil
}

// limits returns what is left of each CA's limits for host.
func (m *Manager) limits(ctx context.Context, host string) ([]shingle.NameLimits, error) {
	now := m.cfg.Now()
	list := make([]shingle.NameLimits, len(m.cas))
	for i, ca := range m.cas {
		have, err := m.budgets.ofName(ctx, ca, host, now)
		if err != nil {
			return nil, err
		}
		list[i] = shingle.NameLimits{
			Directory: ca.Directory, Failures: have.Failures.show(ca.Limits.Failures), Certificates: have.Certificates.show(ca.Limits.SameName),
		}
		next := later(have.Failures.next(ca.Limits.Failures, now), have.Certificates.next(ca.Limits.SameName, now))
		if next.After(now) {
			list[i].NotBefore = next.UTC().Truncate(time.Second)
		}
	}
	return list, nil
}

// List returns what is known of the hosts that sort after `after`, at most limit
// (1 to 1000) of them. It costs a read of the store for each.
func (m *Manager) List(ctx context.Context, after string, limit int) ([]shingle.Certificate, error) {
	if after != "" {
		after = planKey(after)
	}
	keys, err := m.store.list(ctx, planKey(""), after, limit)
	if err != nil {
		return nil, err
	}
	list := make([]shingle.Certificate, 0, len(keys))
	for _, key := range keys {
		c, err := m.info(ctx, strings.TrimPrefix(key, planKey("")))
		if errors.Is(err, shingle.ErrNotFound) || errors.Is(err, shingle.ErrUnreadable) {
			continue // dropped since; or nobody can tell of it
		}
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

func (p *plan) show(host string, now time.Time) shingle.Certificate {
	c := shingle.Certificate{
		Host: host, Tenant: p.Tenant, State: p.state(now), Issuer: p.Issuer, Serial: p.Serial,
		NotBefore: p.NotBefore, NotAfter: p.NotAfter, Uploaded: p.Uploaded, Keep: p.Keep, RenewAt: p.RenewAt, Next: p.Next,
		Failures: p.Failures, Failed: p.Failed,
	}
	if p.Gone {
		c.Issuer, c.Serial, c.NotBefore, c.NotAfter = "", "", time.Time{}, time.Time{}
	}
	if p.Window != nil {
		c.Advice = p.Window.Explanation
	}
	if w := p.warning(now); w != "" {
		c.Warnings = []string{w}
	}
	return c
}

func (p *plan) state(now time.Time) shingle.CertificateState {
	switch {
	case now.Before(p.NotAfter) && !p.Gone:
		return shingle.CertificateValid
	case p.Stopped:
		return shingle.CertificateStopped
	case p.Failed != nil && p.Failed.Code != shingle.CodeLimited:
		return shingle.CertificateFailing
	}
	return shingle.CertificateWaiting
}
