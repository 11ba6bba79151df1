package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/certs"
	"github.com/shingle-proxy/shingle/internal/check"
)

// maxChecks bounds the checks that people wait for at once.
const maxChecks = 32

// domainChecker is the check of the API: what the probes find, and what is known
// of the certificate.
type domainChecker struct {
	probes *check.Checker
	certs  *certs.Manager
	keeper *check.Keeper
	key    *shingle.ProbeKey // nil when it could not be had
	turns  chan struct{}
	wake   func() // the keeper of this process
}

// CheckDomain implements [api.Checker].
func (c *domainChecker) CheckDomain(ctx context.Context, host string) (shingle.CheckResult, error) {
	return c.inTurn(func() (shingle.CheckResult, error) {
		r, _, err := c.keeper.CheckNow(ctx, host)
		if errors.Is(err, shingle.ErrNotFound) {
			return c.probe(ctx, check.Request{Host: host, Thorough: true, AnyTenant: true})
		}
		return r, err
	})
}

// CheckFor implements [api.Checker].
func (c *domainChecker) CheckFor(ctx context.Context, host, tenant string) (shingle.CheckResult, error) {
	return c.inTurn(func() (shingle.CheckResult, error) {
		return c.look(ctx, shingle.Domain{Host: host, Tenant: tenant}, check.Look{Thorough: true, Prove: true})
	})
}

// CheckSoon implements [api.Checker].
func (c *domainChecker) CheckSoon(ctx context.Context, host string) error {
	err := c.keeper.CheckSoon(ctx, host)
	c.wake()
	return err
}

// Instructions implements [api.Checker].
func (c *domainChecker) Instructions(host, tenant string) shingle.Instructions {
	return c.probes.Instructions(host, c.label(tenant), c.proof(host, tenant))
}

// AtProvider implements [kit.Checker].
func (c *domainChecker) AtProvider(record shingle.DNSRecord, at *shingle.DNSResult) shingle.DNSRecord {
	return c.probes.AtProvider(record, at)
}

// inTurn does a check that somebody waits for, unless there are too many.
func (c *domainChecker) inTurn(do func() (shingle.CheckResult, error)) (shingle.CheckResult, error) {
	select {
	case c.turns <- struct{}{}:
		defer func() { <-c.turns }()
	default:
		return shingle.CheckResult{}, shingle.Errorf(shingle.CodeLimited, "%d domains are being checked now, try again in a moment", maxChecks)
	}
	return do()
}

// label is the tenant's own below the CNAME targets; empty when there is none.
func (c *domainChecker) label(tenant string) string {
	if c.key == nil || tenant == "" {
		return ""
	}
	return c.key.Label(tenant)
}

// proof is the text by which the owner of host says that it is the tenant's.
func (c *domainChecker) proof(host, tenant string) string {
	if c.key == nil {
		return ""
	}
	return c.key.Proof(host, tenant)
}

// look probes a domain, and adds what is known of its certificate.
func (c *domainChecker) look(ctx context.Context, d shingle.Domain, how check.Look) (shingle.CheckResult, error) {
	r, err := c.probe(ctx, check.Request{
		Host: d.Host, Label: c.label(d.Tenant), Proof: c.proof(d.Host, d.Tenant), Thorough: how.Thorough, Prove: how.Prove,
	})
	if err == nil && how.Prove && !r.DNS.Proven {
		r.DNS.Proven, err = c.hasWildcard(ctx, d)
	}
	if refusal, ok := errors.AsType[*shingle.Refusal](shingle.Preflight(r)); ok && refusal.Elsewhere {
		r.DNS.Delegated = c.certs.Delegated(ctx, d.Host)
	}
	return r, err
}

// hasWildcard reports whether a tenant has proven the wildcard that covers a domain,
// and so the domain.
func (c *domainChecker) hasWildcard(ctx context.Context, d shingle.Domain) (bool, error) {
	wildcard := shingle.Covering(d.Host)
	if wildcard == "" || wildcard == d.Host || d.Tenant == "" {
		return false, nil
	}
	s, err := c.keeper.Status(ctx, wildcard)
	if errors.Is(err, shingle.ErrNotFound) {
		return false, nil
	}
	proven := !s.Proven.IsZero() || !s.Activated.IsZero() // no wildcard has a certificate without a record of its tenant's own
	return proven && s.Tenant == d.Tenant && !s.ProofNeeded && s.State != shingle.StateRemoved, err
}

func (c *domainChecker) probe(ctx context.Context, req check.Request) (shingle.CheckResult, error) {
	r, err := c.probes.Check(ctx, req)
	if err == nil {
		err = c.addCertificate(ctx, &r)
	}
	return r, err
}

// addCertificate adds what is known of a host's certificate to what was found. Why it
// was not allowed to be ordered before is no news: that is what was looked at now.
func (c *domainChecker) addCertificate(ctx context.Context, r *shingle.CheckResult) error {
	info, err := c.certs.Info(ctx, r.Host)
	if errors.Is(err, shingle.ErrNotFound) {
		return nil
	}
	if info.NotAfter.After(r.CertifiedUntil) {
		r.CertifiedUntil = info.NotAfter
	}
	if r.Failed = info.Failed; r.Failed != nil && r.Failed.Code == shingle.CodeForbidden {
		r.Failed = nil
	}
	if len(info.Warnings) > 0 { // it knows better than the probe, which expects it to be renewed
		r.HTTPS.Notes = slices.DeleteFunc(r.HTTPS.Notes, func(f shingle.Finding) bool { return f.Reason == shingle.ReasonExpiresSoon })
		r.HTTPS.Notes = append(r.HTTPS.Notes, shingle.Finding{Reason: shingle.ReasonExpiresSoon, Message: fmt.Sprintf(
			"The certificate ends on %s and is not renewed by itself: the operator has to upload the next one.", info.NotAfter.UTC().Format("2 January 2006"))})
	}
	return err
}

func (a *App) openChecker() (*domainChecker, error) {
	cfg := check.Config{
		Targets: a.cfg.CNAMETargets, Resolvers: a.cfg.Resolvers, RootServers: a.cfg.world.rootServers,
		Private: a.cfg.world.private,
	}
	if a.edge != nil { // elsewhere, edges are taken to have the usual ports
		cfg.HTTPPort, cfg.HTTPSPort = port(a.listen.HTTP), cmp.Or(a.cfg.PublicPort, port(a.listen.HTTPS))
	}
	if a.probeKey != nil {
		cfg.ProbeKey = *a.probeKey
	}
	for _, s := range a.cfg.EdgeAddresses {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("--edge-address: %q is not an IP address", s)
		}
		cfg.Addresses = append(cfg.Addresses, addr)
	}
	var err error
	if cfg.CAs, err = a.caaNames(); err != nil {
		return nil, err
	}
	cfg.Delegated = a.certs.Delegated
	if path := a.cfg.world.roots; path != "" {
		if cfg.Roots, err = readRoots(path); err != nil {
			return nil, err
		}
	}
	probes, err := check.New(cfg)
	if err != nil {
		return nil, err
	}
	return &domainChecker{probes: probes, certs: a.certs, keeper: a.keeper, key: a.probeKey, turns: make(chan struct{}, maxChecks), wake: func() {
		select {
		case a.wakeKeeper <- struct{}{}:
		default: // it has not taken the last one yet
		}
	}}, nil
}

// caaNames are our CAs as CAA records know them.
func (a *App) caaNames() ([]check.CA, error) {
	cas, err := a.cfg.cas()
	if err != nil {
		return nil, err
	}
	var list []check.CA
	for _, ca := range cas {
		list = append(list, check.CA{
			Name: ca.Directory, Identities: identities[ca.Directory],
			Account: func(ctx context.Context) string { return a.certs.AccountURI(ctx, ca.Directory) },
		})
	}
	return list, nil
}

// openMethods returns what knows which validation methods CAA records leave to our CAs,
// nil on a machine without a resolver: then the CAs tell.
func (a *App) openMethods() (func(ctx context.Context, host, directory string) []string, error) {
	cas, err := a.caaNames()
	if err != nil {
		return nil, err
	}
	lookup, err := check.New(check.Config{CAs: cas, Resolvers: a.cfg.Resolvers, RootServers: a.cfg.world.rootServers, Private: a.cfg.world.private})
	if err != nil {
		a.log.Warn("CAA records do not choose how domains are validated", "error", err)
		return nil, nil
	}
	return lookup.Methods, nil
}

// identities are the names that CAs recognise in CAA records, by directory.
var identities = map[string][]string{
	directories["letsencrypt"]:         {"letsencrypt.org"},
	directories["letsencrypt-staging"]: {"letsencrypt.org"},
	directories["google"]:              {"pki.goog"},
	directories["zerossl"]:             {"sectigo.com"},
}

const (
	probeKeyRecord = "check/probe-key"
	probeKeyWait   = 3 * time.Second
)

// openProbeKey returns the key by which the edges of this installation are told
// from others: that in the store, made the first time, or else the copy that this
// machine keeps, since an edge starts without a store. Without either, probes are
// not answered until the next start. The key guards no more than that, and is not
// sealed.
func (a *App) openProbeKey(ctx context.Context) *shingle.ProbeKey {
	wait := probeKeyWait
	if a.stores.away {
		wait /= 30
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	local := a.cfg.file("probe.key")
	stored, err := storedKey(ctx, a.stores, probeKeyRecord)
	key := shingle.ProbeKey(stored)
	if err == nil {
		if err := writeFile(local, key[:], 0o600); err != nil {
			a.log.Warn("probe key not kept on this machine", "error", err)
		}
		return &key
	}
	if data, fileErr := os.ReadFile(local); fileErr == nil && len(data) == len(key) {
		key = shingle.ProbeKey(data)
		return &key
	}
	a.log.Warn("no probe key: the domain check cannot recognise this edge", "error", err)
	return nil
}

// storedKey returns the key that a record of the store has; it is made the first time.
func storedKey(ctx context.Context, s *stores, record string) (key [32]byte, err error) {
	b, err := s.reader().Get(ctx, record)
	if errors.Is(err, shingle.ErrNotFound) {
		_, _ = rand.Read(key[:]) // never fails
		if _, err = s.blobs.Put(ctx, record, key[:], shingle.NoVersion); err == nil {
			return key, nil
		}
		b, err = s.blobs.Get(ctx, record) // of whoever was first
	}
	if err != nil {
		return key, fmt.Errorf("open key %s: %w", record, err)
	}
	if len(b.Value) != len(key) {
		return key, fmt.Errorf("open key %s: the record is damaged: delete it", record)
	}
	return [32]byte(b.Value), nil
}
