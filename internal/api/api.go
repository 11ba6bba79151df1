// Package api is the JSON API of the control plane, the ask endpoint for a Caddy
// fleet, and the Go client of the API.
//
// Everything below /v1 needs a bearer token, whose role decides what it may do
// (roles.go); every error is a [Problem]. The
// OpenAPI document at /openapi.json, and the page at /docs, are made from the types in this package.
package api

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

// Config is what the API is made of. Store and Tokens are required.
type Config struct {
	Store  shingle.DomainStore
	Tokens Tokens
	// Origins says which origins domains may have.
	Origins shingle.OriginPolicy
	// Certificates are shown and renewed. Nil: there are no such routes.
	Certificates Certificates

	// Keys are shown and rotated. Nil: there are no such routes.
	Keys Keys

	// Edges are the processes of the fleet. Nil: there are no such routes, and a rewrap
	// does not look whether all of them have the key.
	Edges Edges

	// Unreadable is told of records that cannot be read. Nil: nobody is.
	Unreadable *shingle.Unreadable

	// Jobs are work on many domains. Nil: there are no such routes.
	Jobs Jobs

	// Checker looks at domains from outside. Nil: there is no such route.
	Checker Checker
	// Statuses are shown with their domains. Nil: they are not.
	Statuses Statuses
	// StatusIndex finds domains by their statuses. Nil: these are looked for one by one,
	// and the domains have no order by them.
	StatusIndex shingle.StatusIndex
	// Events are listed, and sent to webhooks. Nil: there are no such routes.
	Events EventLog

	// Traffic is shown with its domains. Nil: there is no such route.
	Traffic TrafficLog

	// SetupKit makes what customers set up their DNS by. Nil: there are no such routes.
	SetupKit SetupKit
	// ControlURL is where customers reach what it serves. Empty: where a request
	// reached the API.
	ControlURL string

	// Permission is asked by /ask about the domain that it has found. Nil: that there
	// is one is enough.
	Permission shingle.Permission

	// Blobs keep answers to requests with an Idempotency-Key. Nil: the key is not
	// heeded.
	Blobs shingle.Blobs
	// RateLimit is how many requests a second each token may make of this process,
	// those of ten seconds at once; a tenant's token a tenth. 0: any number.
	RateLimit int
	// MaxDomains is how many domains a tenant may have, MaxDomainsOf those of some of them;
	// 0: any number. With either Store must be a [shingle.DomainCounter].
	MaxDomains   int
	MaxDomainsOf map[string]int
	// PageOrigins are those of web pages that may call the API, such as
	// https://panel.example.com. None: no page of another origin may.
	PageOrigins []string

	// CloudflareZone is the zone ID by which programs written for Cloudflare's API
	// find the domains, below /client/v4; it takes Blobs. Empty: there are no such routes.
	CloudflareZone string
	// Target is where requests go that no origin of a domain's takes, and
	// CADirectories are the directory URLs of the CAs, for those routes. Empty: not known.
	Target        string
	CADirectories []string

	// AskToken is what /ask demands, as ?token= or as a bearer token. Empty:
	// anybody who reaches the API may ask, and so learn which names are served.
	AskToken string

	// Ending, when it is closed, ends the streams of events. Nil: they end with their
	// requests.
	Ending <-chan struct{}

	// Degraded returns why this process, although it serves, may serve what is
	// old: a sentence for each part that cannot reach what it depends on. Nil:
	// it never is.
	Degraded func() []string

	Version string           // of the software, for the OpenAPI document
	Logger  *slog.Logger     // one line a request at level info, faults at error; nil: none
	Now     func() time.Time // nil: time.Now
}

// server is the API's handler; see request.go.
type server struct {
	Config
	mux  *http.ServeMux
	open map[string]bool // the routes that need no bearer token
	// allowed has the roles that may use each other route.
	allowed map[string][]shingle.TokenRole
	rates   rateLimit
	quotas  *quotas
	once    *once          // nil without Blobs
	ids     *records.Store // of [cfIDRecord]; nil without Blobs
	pages   cfPages
	lines   *jobLines     // nil without Jobs
	streams chan struct{} // has one for each stream that is open

	tenantStreams, tenantChecks shares
}

// New returns the handler of the whole API. Read and write time-outs are up to
// the http.Server around it.
func New(cfg Config) (http.Handler, error) {
	if cfg.Store == nil || cfg.Tokens == nil {
		return nil, errors.New("api: Store and Tokens are required")
	}
	if _, counts := cfg.Store.(shingle.DomainCounter); !counts && (cfg.MaxDomains != 0 || len(cfg.MaxDomainsOf) > 0) {
		return nil, errors.New("api: MaxDomains takes a Store that counts")
	}
	if cfg.CloudflareZone != "" && cfg.Blobs == nil {
		return nil, errors.New("api: CloudflareZone takes Blobs")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &server{Config: cfg, mux: http.NewServeMux(), open: map[string]bool{}, allowed: map[string][]shingle.TokenRole{}, quotas: newQuotas(&cfg)}
	s.streams = make(chan struct{}, maxStreams)
	s.tenantStreams.most, s.tenantStreams.what = maxStreams/tenantShare, "streams"
	s.tenantChecks.most, s.tenantChecks.what = tenantChecks, "checks"
	s.rates.perSecond, s.ids = cfg.RateLimit, newIDs(cfg.Blobs, cfg.Unreadable)
	if cfg.Blobs != nil {
		s.once = &once{records: records.New(cfg.Blobs, cfg.Unreadable), now: cfg.Now}
	}
	a := humago.New(s.mux, humaConfig(cfg.Version))
	s.domainRoutes(a)
	s.statusRoutes(a)
	s.tokenRoutes(a)
	if cfg.Certificates != nil {
		s.certificateRoutes(a)
	}
	if cfg.Keys != nil {
		s.keyRoutes(a)
	}
	if cfg.Jobs != nil {
		s.jobRoutes(a)
	}
	if cfg.Edges != nil {
		s.edgeRoutes(a)
	}
	if cfg.Checker != nil {
		s.checkRoutes(a)
		s.claimRoutes(a)
	}
	if cfg.Events != nil {
		s.eventRoutes(a)
	}
	if cfg.Traffic != nil {
		s.trafficRoutes(a)
	}
	if cfg.CloudflareZone != "" {
		s.cloudflareRoutes()
	}
	if cfg.SetupKit != nil {
		s.setupRoutes(a)
	}
	s.public("GET /ask", s.ask)
	s.public("GET /health", s.health)
	describePublic(a.OpenAPI())
	if err := s.serveSpec(a.OpenAPI()); err != nil {
		return nil, fmt.Errorf("describe API: %w", err)
	}
	if err := s.serveReference(a.OpenAPI()); err != nil {
		return nil, fmt.Errorf("describe API: %w", err)
	}
	return s, nil
}

// public registers a route that needs no bearer token.
func (s *server) public(route string, h http.HandlerFunc) {
	s.open[route] = true
	s.mux.HandleFunc(route, h)
}

// health answers 200 in any case: the process serves.
func (s *server) health(w http.ResponseWriter, _ *http.Request) {
	if s.Degraded != nil {
		if why := s.Degraded(); len(why) > 0 {
			writeText(w, http.StatusOK, "degraded\n"+strings.Join(why, "\n"))
			return
		}
	}
	writeText(w, http.StatusOK, "ok")
}
