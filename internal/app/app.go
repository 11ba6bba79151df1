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
	"github.com/shingle-proxy/shingle/internal/certs"
	"github.com/shingle-proxy/shingle/internal/check"
	"github.com/shingle-proxy/shingle/internal/ec2"
	"github.com/shingle-proxy/shingle/internal/edge"
	"github.com/shingle-proxy/shingle/internal/events"
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
