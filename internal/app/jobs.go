package app

import (
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/jobs"
)

// openJobs opens the work on many domains. What is done for each line has the rules of
// the API, and is decided where it is written.
func (a *App) openJobs(cfg api.Config) *jobs.Hub {
	cfg.Store = a.stores.domains
	bulk := api.NewBulk(cfg)
	return jobs.New(jobs.Config{Blobs: a.stores.blobs, Worker: bulk, Events: a.events, Logger: a.log})
}
