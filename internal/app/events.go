package app

import (
	"context"

	"github.com/shingle-proxy/shingle/internal/certs"
	"github.com/shingle-proxy/shingle/internal/events"
	"github.com/shingle-proxy/shingle/internal/kit"
)

// openEvents opens the events, which every process records and one of those
// with the API sends.
func (a *App) openEvents() (*events.Hub, error) {
	return events.New(events.Config{
		Blobs: a.stores.blobs, Sealer: secretSealer{a}, Domains: a.stores.domains, Wake: a.wakeEvents,
		AllowPrivate: a.cfg.PrivateWebhooks, Unreadable: a.cfg.unreadable, Logger: a.log,
	})
}

// sealedPlaces are where others than the certificates have something sealed.
func (a *App) sealedPlaces() []certs.SealedPlace {
	return []certs.SealedPlace{
		{Kind: "webhook secrets", Key: events.SealedRecords, Field: events.SealedMember, Lost: a.events.LoseSecret},
		{Kind: "key of set-up links", Key: kit.KeyRecord, Field: kit.KeyMember},
		{Kind: "key of Domain Connect", Key: kit.ConnectKeyRecord, Field: kit.KeyMember},
	}
}

// secretSealer seals the secrets of webhooks as private keys are. The manager of
// those comes after the events, which it records.
type secretSealer struct{ app *App }

// Seal implements [events.Sealer].
func (s secretSealer) Seal(ctx context.Context, plain []byte, record string) ([]byte, error) {
	return s.app.certs.Seal(ctx, plain, record)
}

// Open implements [events.Sealer].
func (s secretSealer) Open(ctx context.Context, sealed []byte, record string) ([]byte, error) {
	return s.app.certs.Open(ctx, sealed, record)
}
