package app

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/kit"
)

// maxSetupName bounds what set-up pages say of the operator, in bytes.
const maxSetupName = 100

// ValidatePages normalises what set-up pages and the sign-in to the panel are made of,
// and refuses what they cannot work with, saying which flag is at fault.
func (c *Config) ValidatePages() error {
	if err := c.validateSetup(); err != nil {
		return err
	}
	_, err := c.provider()
	return err
}

// validateSetup refuses what set-up pages cannot say.
func (c *Config) validateSetup() error {
	if c.ControlURL != "" {
		u, err := url.Parse(c.ControlURL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("--control-url: it must look like https://setup.example.com, not %q", c.ControlURL)
		}
		c.ControlURL = strings.TrimSuffix(c.ControlURL, "/")
	}
	if c.DomainConnect != "" {
		var err error
		if c.DomainConnect, err = shingle.NormalizeHost(c.DomainConnect); err != nil {
			return fmt.Errorf("--domain-connect: %s", shingle.MessageOf(err))
		}
	}
	if len(c.Service) > maxSetupName {
		return fmt.Errorf("--service-name: it has at most %d bytes", maxSetupName)
	}
	if c.Support != "" && !strings.Contains(c.Support, "@") && !strings.HasPrefix(c.Support, "https://") {
		return fmt.Errorf("--support: it must be an e-mail address, or a URL such as https://example.com/help, not %q", c.Support)
	}
	return nil
}

// openKit opens what customers set up their DNS by.
func (a *App) openKit() (*kit.Kit, error) {
	connect := kit.Connect{Provider: a.cfg.DomainConnect, Name: a.cfg.Service, Addresses: a.checker.probes.Instructions("", "", "").Addresses}
	if len(a.cfg.CNAMETargets) > 0 {
		connect.Target = a.cfg.CNAMETargets[0]
	}
	var roots *x509.CertPool
	if path := a.cfg.world.roots; path != "" {
		var err error
		if roots, err = readRoots(path); err != nil {
			return nil, err
		}
	}
	return kit.New(kit.Config{
		Texts: a.checker.probes.TextsBehind, Connect: connect, Private: a.cfg.world.private, Roots: roots,
		Blobs: a.stores.blobs, Sealer: secretSealer{a}, Domains: a.stores.near, Statuses: a.keeper, Checker: a.checker,
		Delegation: func(ctx context.Context, domain, tenant string) (shingle.Delegation, error) {
			return a.certs.Delegation(ctx, domain, tenant)
		},
		URL: a.cfg.ControlURL, Service: a.cfg.Service, Support: a.cfg.Support, Unreadable: a.cfg.unreadable, Logger: a.log,
	})
}

// withKit serves set-up pages beside the API.
func withKit(api http.Handler, k *kit.Kit) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, kit.Prefix) {
			k.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})
}
