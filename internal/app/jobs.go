package app

import (
	"context"
	"errors"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/jobs"
)

// openJobs opens the work on many domains. What is done for each line has the rules of
// the API, and is decided where it is written.
func (a *App) openJobs(cfg api.Config) *jobs.Hub {
	cfg.Store = a.stores.domains
	bulk := api.NewBulk(cfg)
	return jobs.New(jobs.Config{Blobs: a.stores.blobs, Worker: bulk, Revoked: a.revoked, Events: a.events, Unreadable: a.cfg.unreadable, Logger: a.log})
}

// revoked reports whether a token was: it is gone then, while one that has expired, or
// whose owner has signed out, is kept for a month.
func (a *App) revoked(ctx context.Context, id string) (bool, error) {
	_, err := a.tokens.Token(ctx, id)
	if errors.Is(err, shingle.ErrNotFound) {
		return true, nil
	}
	return false, err
}
