package app

import (
	"context"
	"fmt"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/certs"
	"github.com/shingle-proxy/shingle/internal/files"
)

func (a *App) openCerts(ctx context.Context) (*certs.Manager, error) {
	cas, err := a.cfg.cas()
	if err != nil {
		return nil, err
	}
	key, err := a.cfg.openMasterKey(ctx)
	if err != nil {
		return nil, err
	}
	a.masterKey = key
	if err := a.openCopy(); err != nil {
		return nil, err
	}
	zone, err := a.cfg.challengeZone(ctx)
	if err != nil {
		return nil, err
	}
	methods, err := a.openMethods()
	if err != nil {
		return nil, err
	}
	return certs.New(certs.Config{
		Blobs: a.stores.blobs, Near: a.stores.nearBlobs, Copy: a.copy, Domains: a.stores.domains,
		MasterKey: key, Lacking: a.roster.Lacking, Sealed: a.sealedPlaces(),
		CAs: cas, Email: a.cfg.ACMEEmail, TermsAgreed: a.cfg.AgreeTerms, RSA: a.cfg.RSAKeys,
		Permission: shingle.PermissionFunc(a.mayIssue), Methods: methods, DNS01: zone,
		Events: a.events, Wake: a.wakeCerts, News: newsPoll * a.cfg.Poll, Instance: a.instance.name,
		HandshakeWait: a.cfg.HandshakeWait, CacheBytes: int64(a.cfg.CertMemory) << 20,
		Unreadable: a.cfg.unreadable, Logger: a.log,
	})
}

// openCopy opens the local copy of what an edge serves by.
func (a *App) openCopy() error {
	if !a.cfg.Role.edge() || a.cfg.LocalCopy == 0 {
		return nil
	}
	copied, err := files.OpenBounded(a.cfg.file("edge", "copy"), certs.CopiedCertificates, int64(a.cfg.LocalCopy)<<20)
	if err != nil {
		return fmt.Errorf("--local-copy: %w", err)
	}
	a.copy, a.stores.closers = copied, append(a.stores.closers, copied)
	return nil
}
