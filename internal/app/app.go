package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/certs"
	"github.com/shingle-proxy/shingle/internal/check"
	"github.com/shingle-proxy/shingle/internal/ec2"
	"github.com/shingle-proxy/shingle/internal/edge"
	"github.com/shingle-proxy/shingle/internal/events"
	"github.com/shingle-proxy/shingle/internal/files"
	"github.com/shingle-proxy/shingle/internal/jobs"
	"github.com/shingle-proxy/shingle/internal/members"
	"github.com/shingle-proxy/shingle/internal/tokens"
	"github.com/shingle-proxy/shingle/internal/traffic"
)

// App is edge and control in one process, or one of them.
type App struct {
	cfg       Config
	log       *slog.Logger
	listen    *Listeners
	stores    *stores
	asking    *askingStore  // nil without an ask service
	copy      shingle.Blobs // nil without a local copy
	certs     *certs.Manager
	masterKey *masterKeys
	instance  *instance
	// wakeCerts tells the certificate worker of changed domains.
	wakeCerts chan struct{}
	events    *events.Hub
	// wakeEvents tells whoever makes events of them.
	wakeEvents chan struct{}
	probeKey   *shingle.ProbeKey // nil when it could not be had
	keeper     *check.Keeper
	// wakeKeeper tells it of changed domains.
	wakeKeeper chan struct{}
	checker    *domainChecker // nil without the control role
	preflights preflights
	edge       *edge.Edge // nil without that role
	roster     *members.Roster
	// known is closed when the edge knows how it is, and changed receives when that is
	// otherwise than before.
	known, changed chan struct{}
	traffic        *traffic.Hub
	jobs           *jobs.Hub      // nil without the control role
	tokens         *tokens.Keeper // nil without the control role
	activity       *activity      // nil but on Lambda
	turns          turns          // there alone
	expiries       expiries       // likewise
	agent          *ec2.Agent     // nil unless the edge is an instance of a group
	control        *http.Server   // nil without that role
	closing        sync.Once
	closed         error // what Close returned
	// ending is closed when the requests to the API are to end.
	ending chan struct{}
}

// New opens the stores and puts the parts together. The App takes the
// listeners over, also when New fails.
func New(ctx context.Context, cfg Config, l *Listeners) (*App, error) {
	a := &App{ending: make(chan struct{}), cfg: cfg, log: cfg.Logger, listen: l}
	if cfg.OnLambda {
		a.activity = &activity{}
	}
	if err := a.open(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *App) open(ctx context.Context) error {
	if err := a.cfg.validate(); err != nil {
		return err
	}
	a.cfg.unreadable = shingle.NewUnreadable(a.log)
	wake := make(chan struct{}, 1)
	a.wakeCerts, a.wakeEvents, a.wakeKeeper = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	var err error
	if a.stores, err = openStores(ctx, &a.cfg, func() {
		for _, follower := range []chan struct{}{wake, a.wakeCerts, a.wakeEvents, a.wakeKeeper} {
			select {
			case follower <- struct{}{}:
			default: // it has not taken the last one yet
			}
		}
	}); err != nil {
		return err
	}
	if a.activity != nil {
		a.activity.Blobs, a.stores.blobs = a.stores.blobs, a.activity
	}
	if a.instance, err = openInstance(a.cfg.file("instance")); err != nil {
		return err
	}
	a.changed = make(chan struct{}, 1)
	if a.cfg.Role.edge() {
		a.known = make(chan struct{})
	}
	a.roster = members.New(members.Config{Ready: a.known, Changed: a.changed, Blobs: a.stores.blobs, Unreadable: a.cfg.unreadable, Logger: a.log, Every: a.cfg.Report, Called: a.cfg.OnLambda})
	if a.events, err = a.openEvents(); err != nil {
		return err
	}
	if a.certs, err = a.openCerts(ctx); err != nil {
		return err
	}
	a.probeKey = a.openProbeKey(ctx)
	if err := a.openKeeper(); err != nil {
		return err
	}
	if a.cfg.Role.edge() {
		if err := a.openEdge(ctx, wake); err != nil {
			return err
		}
	}
	if a.traffic, err = a.openTraffic(); err != nil {
		return err
	}
	if a.cfg.Role.control() {
		return a.openControl(ctx)
	}
	return nil
}

func (a *App) openControl(ctx context.Context) error {
	var err error
	if a.tokens, err = a.openTokens(ctx); err != nil {
		return err
	}
	if a.checker, err = a.openChecker(); err != nil {
		return err
	}
	directories, err := a.cfg.directories()
	if err != nil {
		return err
	}
	setup, err := a.openKit()
	if err != nil {
		return err
	}
	maxDomainsOf, err := a.cfg.maxDomainsOf()
	if err != nil {
		return err
	}
	cfg := api.Config{
		MaxDomains: a.cfg.MaxDomains, MaxDomainsOf: maxDomainsOf,
		CloudflareZone: a.cfg.CloudflareZone, Target: a.cfg.Target, CADirectories: directories,
		Store: a.stores.near, Tokens: a.tokens, Blobs: a.stores.blobs, Ending: a.ending, RateLimit: a.cfg.RateLimit, PageOrigins: a.cfg.PageOrigins, Origins: a.cfg.originPolicy(), Certificates: a.certs, Keys: a.certs, Edges: a.roster, Checker: a.checker, Statuses: check.Shown{From: a.stores.reader(), Unreadable: a.cfg.unreadable},
		Permission: shingle.PermissionFunc(a.mayIssue), Events: a.events, AskToken: a.cfg.AskToken, Degraded: a.degraded, Version: a.cfg.Version, Logger: a.log,
		SetupKit: setup, ControlURL: a.cfg.ControlURL, Unreadable: a.cfg.unreadable,
	}
	if a.cfg.checks() {
		cfg.StatusIndex = check.NewListed(a.stores.blobs, a.cfg.unreadable)
	}
	cfg.Traffic = a.traffic
	a.jobs = a.openJobs(cfg)
	cfg.Jobs = a.jobs
	handler, err := api.New(cfg)
	if err != nil {
		return err
	}
	if handler, err = a.withPanel(ctx, handler); err != nil {
		return err
	}
	a.control = &http.Server{
		Handler: withKit(handler, setup), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second,
		WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	return nil
}

func (a *App) openEdge(ctx context.Context, wake <-chan struct{}) error {
	target, err := shingle.ParseOrigin(a.cfg.Target)
	if err != nil {
		return err
	}
	store := a.stores.near
	if a.cfg.AskURL != "" {
		if a.asking, err = newAskingStore(store, a.cfg.AskURL, a.log); err != nil {
			return err
		}
		store = a.asking
	}
	a.edge, err = edge.New(edge.Config{
		HTTPS: a.listen.HTTPS, HTTP: a.listen.HTTP, HTTP3: a.listen.HTTP3, PublicPort: a.cfg.PublicPort, Target: target, Origins: a.cfg.originPolicy(),
		Store: store, Snapshot: a.cfg.snapshot(), StoreName: a.stores.name, Dropped: func(domain string) { a.traffic.Forget(domain) },
		Certificates: a.certs, TicketKeys: a.certs, ProbeKey: a.probeKey, Wake: wake, PollInterval: a.cfg.Poll, AccessLog: a.cfg.AccessLog, StateChanged: a.stateChanged(), Logger: a.log,
		SettingsBytes: int64(a.cfg.SettingsMemory) << 20, HandshakeTimeout: a.cfg.HandshakeWait + handshakeOverhead,
		ShutdownDelay: a.cfg.ShutdownDelay, GracePeriod: a.cfg.GracePeriod,
	})
	if err != nil || a.cfg.Instance.Group == "" {
		return err
	}
	cloud, err := ec2.Open(ctx, a.cfg.Instance)
	if err != nil {
		return fmt.Errorf("--aws-group: %w", err)
	}
	a.agent = &ec2.Agent{Cloud: cloud, Healthy: a.edge.Healthy, Drain: a.edge.Drain, Logger: a.log}
	if a.cfg.Instance.Log != "" {
		a.agent.Measure = edgeMeasures(a.cfg.Stage, a.edge.Healthy, a.edge.Answers)
	}
	return nil
}

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
		Blobs: a.stores.blobs, Near: a.stores.nearBlobs, Copy: a.copy, MasterKey: key, Lacking: a.roster.Lacking, Sealed: a.sealedPlaces(), DNS01: zone, Methods: methods, Permission: shingle.PermissionFunc(a.mayIssue),
		CAs: cas, RSA: a.cfg.RSAKeys, Email: a.cfg.ACMEEmail, TermsAgreed: a.cfg.AgreeTerms,
		Domains: a.stores.domains, Events: a.events, Wake: a.wakeCerts, News: newsPoll * a.cfg.Poll, Instance: a.instance.name, HandshakeWait: a.cfg.HandshakeWait,
		CacheBytes: int64(a.cfg.CertMemory) << 20, Unreadable: a.cfg.unreadable, Logger: a.log,
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

// degraded returns why this process may serve what is old.
func (a *App) degraded() []string {
	if a.edge != nil {
		return a.edge.Degraded()
	}
	if why := a.certs.Degraded(); why != "" {
		return []string{why}
	}
	return nil
}

// Allow creates a domain unless it exists.
func (a *App) Allow(ctx context.Context, d shingle.Domain) error {
	if err := d.Validate(); err != nil {
		return err
	}
	if _, err := a.stores.domains.CreateDomain(ctx, d, time.Now()); err != nil && !errors.Is(err, shingle.ErrExists) {
		return fmt.Errorf("create domain %s: %w", d.Host, err)
	}
	return nil
}

// Run serves until ctx ends or a part fails, and then closes everything: first what
// others can take over, and what visitors need when the edge has ended. ready is called
// once when requests are answered.
func (a *App) Run(ctx context.Context, ready func() error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	serving, ended := context.WithCancel(context.WithoutCancel(ctx))
	defer ended()
	var parts, edge sync.WaitGroup
	if a.edge != nil {
		edge.Go(func() { cancel(a.edge.Run(ctx)) })
	}
	parts.Go(func() { a.work(ctx, serving) })
	parts.Go(func() { a.traffic.Run(serving) })
	if a.agent != nil {
		parts.Go(func() { a.agent.Run(ctx) })
	}
	if a.control != nil {
		parts.Go(func() {
			if err := a.control.Serve(a.listen.Control); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("serve control: %w", err))
			}
		})
	}
	var scrapes *http.Server
	if a.listen.Metrics != nil {
		scrapes = a.metricsServer()
		parts.Go(func() {
			if err := scrapes.Serve(a.listen.Metrics); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("serve metrics: %w", err))
			}
		})
	}
	if a.edge == nil || a.awaitEdge(ctx) {
		if err := ready(); err != nil {
			cancel(err)
		}
	}
	<-ctx.Done()
	a.endControl()
	edge.Wait()
	ended()
	if scrapes != nil {
		_ = scrapes.Close()
	}
	parts.Wait()
	err := context.Cause(ctx)
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, a.Close())
}

// work does what is due, as far as it is this process's to do: until ctx ends, and what
// serves visitors until serving does.
func (a *App) work(ctx, serving context.Context) {
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { a.certs.Follow(serving) })
	parts.Go(func() { a.roster.Report(serving, a.reporter()) })
	if a.control != nil {
		parts.Go(func() { a.certs.Lead(ctx, a.housekeeping()) })
	}
}

// housekeeping is what one process of the fleet does for all.
func (a *App) housekeeping() map[string]func(context.Context) error {
	parts := map[string]func(context.Context) error{"certificates": a.certs.Work, "events": a.events.Run, "edges": a.roster.Lead, "jobs": a.jobs.Run, "tokens": a.tokens.Run, "traffic": a.traffic.Lead}
	if a.cfg.checks() {
		parts["checks"] = a.keeper.Run
	}
	if store, ok := a.stores.domains.(indexer); ok {
		parts["index"] = func(ctx context.Context) error { return a.index(ctx, store) }
	}
	return parts
}

// endControl gives the requests to the API a moment to end.
func (a *App) endControl() {
	if a.control == nil {
		return
	}
	close(a.ending)
	end, stop := context.WithTimeout(context.Background(), 3*time.Second)
	defer stop()
	if a.control.Shutdown(end) != nil {
		_ = a.control.Close()
	}
}

// awaitEdge waits until the edge can serve. It reports false when ctx ended.
func (a *App) awaitEdge(ctx context.Context) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for a.edge.Healthy() != nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// Close frees what New took. Run has done it when it returns. What it closes is
// left in its place: others may look at it still, and hear that it is closed.
func (a *App) Close() error {
	a.closing.Do(func() { a.closed = a.close() })
	return a.closed
}

func (a *App) close() error {
	errs := []error{a.listen.Close()}
	if a.traffic != nil {
		a.traffic.Close()
	}
	if a.certs != nil {
		errs = append(errs, a.certs.Close())
	}
	if a.asking != nil {
		a.asking.close()
	}
	if a.stores != nil {
		errs = append(errs, a.stores.close())
	}
	if a.instance != nil {
		errs = append(errs, a.instance.close())
	}
	return errors.Join(errs...)
}
