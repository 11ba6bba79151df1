package app

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/check"
)

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
		Store: a.stores.near, Blobs: a.stores.blobs, Tokens: a.tokens, Permission: shingle.PermissionFunc(a.mayIssue),
		Certificates: a.certs, Keys: a.certs, Edges: a.roster, Events: a.events, Traffic: a.traffic, SetupKit: setup,
		Checker: a.checker, Statuses: check.Shown{From: a.stores.reader(), Unreadable: a.cfg.unreadable},

		Target: a.cfg.Target, Origins: a.cfg.originPolicy(), CADirectories: directories,
		MaxDomains: a.cfg.MaxDomains, MaxDomainsOf: maxDomainsOf, RateLimit: a.cfg.RateLimit,
		ControlURL: a.cfg.ControlURL, PageOrigins: a.cfg.PageOrigins, CloudflareZone: a.cfg.CloudflareZone, AskToken: a.cfg.AskToken,

		Ending: a.ending, Degraded: a.degraded, Unreadable: a.cfg.unreadable, Version: a.cfg.Version, Logger: a.log,
	}
	if a.cfg.checks() {
		cfg.StatusIndex = check.NewListed(a.stores.blobs, a.cfg.unreadable)
	}
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
