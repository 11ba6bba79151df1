// Package kit is what customers set up their DNS by: a page behind a signed link for
// one domain, the same as a widget for the operator's own pages, and a text for an
// e-mail.
//
// Whoever has a link may look at one domain and have it checked, within limits, and
// nothing else. Pages ask no other host for anything.
package kit

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

// Config is what a [Kit] is made of. [New] says what is required.
type Config struct {
	Blobs    shingle.Blobs // keeps the key of the links
	Sealer   Sealer
	Domains  Domains
	Statuses Statuses
	Checker  Checker

	// Delegation returns the record by which a tenant's domain lets us answer DNS-01
	// validations; [shingle.ErrNotFound] where that is not set up. Nil: nowhere.
	Delegation func(ctx context.Context, domain, tenant string) (shingle.Delegation, error)

	// Texts returns the TXT values of a name, or of what it is an alias of, as resolvers
	// have them. Nil: nothing is asked of DNS providers.
	Texts func(ctx context.Context, name string) ([]string, error)
	// Connect is what they are asked for.
	Connect Connect
	Private []netip.Prefix // networks where they may be though the Internet does not route them: for development
	Roots   *x509.CertPool // that their certificates are verified by; nil: the system's

	URL     string // of the control plane, for customers; empty: where a request reached it
	Service string // what customers know the product as; empty: it is not named
	Support string // where they find help: a URL or an e-mail address; empty: not said

	Unreadable *shingle.Unreadable // told of records that cannot be read; nil: nobody is
	Logger     *slog.Logger        // nil: none
	Now        func() time.Time    // nil: time.Now
}

// Sealer encrypts what must not be readable in the store. What it returns opens
// only with the name of the record that it is in.
type Sealer interface {
	Seal(ctx context.Context, plain []byte, record string) ([]byte, error)
	Open(ctx context.Context, sealed []byte, record string) ([]byte, error)
}

// Domains has the row of each domain; see [shingle.DomainStore].
type Domains interface {
	Domain(ctx context.Context, host string) (shingle.Domain, error)
}

// Statuses has the status of each domain, or [shingle.ErrNotFound] before there is
// one.
type Statuses interface {
	Status(ctx context.Context, host string) (shingle.Status, error)
}

// Checker looks at domains from outside.
type Checker interface {
	// CheckDomain looks at a domain now, within a bounded time, which changes its
	// status. It returns [shingle.ErrLimited] when too many are being checked.
	CheckDomain(ctx context.Context, host string) (shingle.CheckResult, error)
	// Instructions returns what the customer of a tenant may set for a domain.
	Instructions(host, tenant string) shingle.Instructions
	// AtProvider returns a record as it is typed in where the zone of a result is kept.
	AtProvider(record shingle.DNSRecord, at *shingle.DNSResult) shingle.DNSRecord
}

// Kit makes links, and serves what is behind them. It is safe for concurrent use, and
// has no goroutine of its own.
type Kit struct {
	cfg    Config
	key    linkKey
	checks *checks

	connectKey connectKey
	connecter  *connecter

	mux *http.ServeMux
}

// New returns a Kit.
func New(cfg Config) (*Kit, error) {
	if cfg.Blobs == nil || cfg.Sealer == nil || cfg.Domains == nil || cfg.Statuses == nil || cfg.Checker == nil {
		return nil, errors.New("kit: Blobs, Sealer, Domains, Statuses and Checker are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	k := &Kit{cfg: cfg, checks: newChecks(), mux: http.NewServeMux()}
	kept := records.New(cfg.Blobs, cfg.Unreadable)
	k.key = linkKey{secret: secret{kept, cfg.Sealer, KeyRecord, "key of set-up links"}, now: cfg.Now}
	k.connectKey = connectKey{secret: secret{kept, cfg.Sealer, ConnectKeyRecord, "key of Domain Connect"}, now: cfg.Now}
	k.connecter = newConnecter(&k.cfg)
	if err := k.routes(); err != nil {
		return nil, err
	}
	return k, nil
}
