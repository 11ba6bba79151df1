package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle/internal/panel"
)

const (
	panelKeyRecord = "panel/key"
	panelKeyWait   = 5 * time.Second
)

// withPanel puts the operator's panel beside the API, whose client it is.
func (a *App) withPanel(ctx context.Context, api http.Handler) (http.Handler, error) {
	visit := a.cfg.PublicPort
	if a.listen.HTTPS != nil {
		visit = cmp.Or(visit, port(a.listen.HTTPS))
	}
	elsewhere, err := a.openSignIn()
	if err != nil {
		return nil, err
	}
	pages, err := panel.New(panel.Config{SignIn: elsewhere, API: api, Key: a.openPanelKey(ctx), VisitPort: visit, Version: a.cfg.Version, Logger: a.log})
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, panel.Root):
			pages.ServeHTTP(w, r)
		case r.URL.Path == "/" || r.URL.Path+"/" == panel.Root:
			http.Redirect(w, r, panel.Root, http.StatusSeeOther)
		default:
			api.ServeHTTP(w, r)
		}
	}), nil
}

// openPanelKey returns the key that seals the panel's sessions: that in the store, made
// the first time, so that all processes of a fleet open what one has sealed. Without the
// store it is this process' own, and its sessions end with it. Who has the store and a
// visitor's cookie learns nothing that the cookie alone would not let them do.
func (a *App) openPanelKey(ctx context.Context) (key [32]byte) {
	wait := panelKeyWait
	if a.stores.away {
		wait /= 30
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	key, err := storedKey(ctx, a.stores, panelKeyRecord)
	if err != nil {
		a.log.Warn("sessions of the panel end with this process", "error", err)
		_, _ = rand.Read(key[:]) // never fails
	}
	return key
}
