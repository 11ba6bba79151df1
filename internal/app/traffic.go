package app

import (
	"github.com/shingle-proxy/shingle/internal/traffic"
)

// openTraffic opens what is counted by domain, here and elsewhere.
func (a *App) openTraffic() (*traffic.Hub, error) {
	cfg := traffic.Config{Blobs: a.stores.blobs, Every: a.cfg.Traffic, Unreadable: a.cfg.unreadable, Logger: a.log}
	if a.edge != nil {
		cfg.Source, cfg.Edge = a.edge, a.memberID()
	}
	return traffic.New(cfg)
}
