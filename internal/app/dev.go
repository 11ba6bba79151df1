package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/devenv"
)

// ExampleHost is the domain that `shingle dev` allows from the start.
const ExampleHost = "blog.customer.localhost"

// exampleTarget is what customers' CNAME records lead to in `shingle dev`.
const exampleTarget = "edge.operator.localhost"

// exampleZone is where the DNS-01 validations of `shingle dev` are answered.
const exampleZone = "acme.operator.localhost"

// Endpoints is where the parts of a running `shingle dev` are, as host:port.
// Programs read it from endpoints.json in the data folder.
type Endpoints struct {
	HTTPS   string `json:"https"`
	HTTP    string `json:"http"`
	Control string `json:"control"`
	DNS     string `json:"dns"`
	Origin  string `json:"origin"`
	CA      string `json:"ca"` // URL of the ACME directory
	Metrics string `json:"metrics,omitempty"`

	RootPath  string `json:"-"` // the CA's root
	TokenPath string `json:"-"`
}

// Dev runs everything on this machine: edge, control, and in place of the rest
// of the world a CA, the customers' DNS and, unless cfg has a target, an
// origin. ready is called when the example domain can be visited.
func Dev(ctx context.Context, cfg Config, ready func(Endpoints)) (err error) {
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	l, err := Listen(&cfg)
	if err != nil {
		return err
	}
	world, err := startWorld(&cfg, l)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer func() { err = errors.Join(err, world.close()) }()
	cfg.settleIn(world)
	a, err := New(ctx, cfg, l)
	if err != nil {
		return err
	}
	world.dns.SetAlias(func(name string) string { return a.delegated(ctx, name) })
	if err := a.Allow(ctx, shingle.Domain{Host: ExampleHost, Tenant: "example"}); err != nil {
		return errors.Join(err, a.Close())
	}
	e := world.endpoints(l, a.TokenPath())
	return a.Run(ctx, func() error {
		data, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if err := writeFile(cfg.file("endpoints.json"), append(data, '\n'), 0o600); err != nil {
			return err
		}
		ready(e)
		return nil
	})
}

// settleIn has a process take the world for the Internet.
func (cfg *Config) settleIn(world *world) {
	cfg.ACMECAs, cfg.ACMERoot, cfg.AgreeTerms = []string{world.ca.DirectoryURL()}, world.ca.RootPath(), true
	cfg.CNAMETargets, cfg.EdgeAddresses, cfg.Resolvers = []string{exampleTarget}, []string{"127.0.0.1"}, []string{world.dns.Addr()}
	cfg.PrivateWebhooks = true
	cfg.Service, cfg.Support = cmp.Or(cfg.Service, "Sample Product"), cmp.Or(cfg.Support, "help@operator.localhost")
	cfg.Origins = []string{"public", "127.0.0.0/8", "::1"}
	cfg.Proof = cmp.Or(cfg.Proof, ProofPointing) // every name points here, whoever tries what
	cfg.world = playedWorld{
		rootServers: cfg.Resolvers, private: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, roots: world.ca.RootPath(), dns01: world.dns,
	}
	cfg.DNS01Zone = exampleZone
}

// endpoints are where the parts are.
func (w *world) endpoints(l *Listeners, token string) Endpoints {
	e := Endpoints{
		HTTPS: l.HTTPS.Addr().String(), HTTP: l.HTTP.Addr().String(), Control: l.Control.Addr().String(),
		DNS: w.dns.Addr(), CA: w.ca.DirectoryURL(), RootPath: w.ca.RootPath(), TokenPath: token,
	}
	if l.Metrics != nil {
		e.Metrics = l.Metrics.Addr().String()
	}
	if w.origin != nil {
		e.Origin = w.origin.Addr()
	}
	return e
}

// delegated returns what a played customer has been told to set for a challenge
// name: that of the wildcard below, or else of the host itself.
func (a *App) delegated(ctx context.Context, name string) string {
	host := strings.TrimPrefix(name, "_acme-challenge.")
	for _, domain := range []string{"*." + host, host} {
		d, err := a.stores.domains.Domain(ctx, domain)
		if err != nil {
			continue
		}
		if is, err := a.certs.Delegation(ctx, d.Host, d.Tenant); err == nil {
			return is.Target
		}
	}
	return ""
}

// world is what `shingle dev` plays.
type world struct {
	dns    *devenv.DNS
	ca     *devenv.CA
	origin *devenv.Origin // nil when the target is somebody else's
}

func startWorld(cfg *Config, l *Listeners) (w *world, err error) {
	w = &world{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.dns, err = devenv.NewDNS(devenv.DNSConfig{ZoneFile: cfg.file("zone.txt"), Logger: cfg.Logger}); err != nil {
		return w, err
	}
	if w.ca, err = devenv.NewCA(devenv.CAConfig{
		Dir: cfg.file("ca"), HTTPPort: port(l.HTTP), TLSPort: port(l.HTTPS), DNSAddr: w.dns.Addr(), Logger: cfg.Logger,
	}); err != nil {
		return w, err
	}
	if cfg.Target == "" {
		if w.origin, err = devenv.NewOrigin(devenv.OriginConfig{Logger: cfg.Logger}); err != nil {
			return w, err
		}
		cfg.Target = "http://" + w.origin.Addr()
	}
	return w, nil
}

func (w *world) close() error {
	var errs []error
	if w.origin != nil {
		errs = append(errs, w.origin.Close())
	}
	if w.ca != nil {
		errs = append(errs, w.ca.Close())
	}
	if w.dns != nil {
		errs = append(errs, w.dns.Close())
	}
	return errors.Join(errs...)
}
