// Package events keeps what happened, and sends it to webhooks by the Standard
// Webhooks specification.
//
// An event is recorded in the outbox, in one write. Whoever leads the fleet moves
// it from there into the log and makes a delivery for each webhook that asks for
// it, every step of which can be repeated: a process that dies loses nothing, and
// a receiver may get an event twice, with the same webhook-id.
//
// Records in the store:
//
//	events/outbox/TIME/ID            recorded, not yet in the log
//	events/log/AGE/ID                the event; AGE sorts the newest first
//	events/hosts/HOST/AGE/ID         which events are HOST's
//	events/tenants/TENANT/AGE/ID     which events are TENANT's
//	events/due/WEBHOOK/TIME/ID       a delivery, with the time of its next attempt
//	events/dead/WEBHOOK/AGE/ID       a delivery that was given up
//	events/position                  how far the change feed has become events
//	webhooks/ID                      a webhook, with its sealed secrets
package events

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

// Sealer encrypts the secrets of webhooks for storage. record names the place of
// the value, at which alone it opens.
type Sealer interface {
	Seal(ctx context.Context, plain []byte, record string) ([]byte, error)
	Open(ctx context.Context, sealed []byte, record string) ([]byte, error)
}

// Config is what a [Hub] is made of. Blobs and Sealer are required; a zero
// elsewhere takes the default.
type Config struct {
	Blobs  shingle.Blobs // the whole fleet shares it
	Sealer Sealer

	// Domains, when set, is followed: what changes becomes an event.
	Domains shingle.DomainStore
	// Wake, when it receives, has the leader look for work at once; otherwise it
	// does so every Poll.
	Wake <-chan struct{}
	// Poll is how often the leader looks into the store. Default: 5 s.
	Poll time.Duration

	// Schedule has the wait after each attempt but the last; when it is used up
	// the delivery becomes a dead letter. Default: from 5 s to a day, ten
	// attempts in three and a half days.
	Schedule []time.Duration
	// GiveUp is how long a webhook may fail before it is disabled. Default: 5 days.
	GiveUp time.Duration
	// Keep is how long the log goes back. Default: 90 days.
	Keep time.Duration
	// Timeout bounds one delivery. Default: 15 s.
	Timeout time.Duration
	// AllowPrivate lets webhooks be on this machine or in a private network, and
	// plain HTTP: for development. Without it whoever may set up a webhook could
	// reach what only we can.
	AllowPrivate bool

	Unreadable *shingle.Unreadable // told of records that cannot be read; nil: nobody is
	Logger     *slog.Logger        // nil: none
	Now        func() time.Time    // nil: time.Now
}

// Hub records, keeps and sends events. Its methods are safe for concurrent use.
type Hub struct {
	cfg     Config
	log     *slog.Logger
	records *records.Store
	client  *http.Client
	cleaned time.Time // the log, by the last leader in this process; only Run has to do with it
	// attempts are those under way.
	attempts atomic.Int64
	wake     chan struct{} // an event was recorded here
	logged   signal        // one was moved into the log here
}

// New returns a Hub. The caller runs [Hub.Run] in the process that leads.
func New(cfg Config) (*Hub, error) {
	if cfg.Blobs == nil || cfg.Sealer == nil {
		return nil, errors.New("events: Blobs and Sealer are required")
	}
	cfg.Poll = cmp.Or(cfg.Poll, 5*time.Second)
	cfg.GiveUp = cmp.Or(cfg.GiveUp, 5*24*time.Hour)
	cfg.Keep = cmp.Or(cfg.Keep, 90*24*time.Hour)
	cfg.Timeout = cmp.Or(cfg.Timeout, 15*time.Second)
	if cfg.Schedule == nil {
		cfg.Schedule = defaultSchedule
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Hub{
		cfg: cfg, log: cfg.Logger, records: records.New(cfg.Blobs, cfg.Unreadable), client: newClient(cfg.AllowPrivate, cfg.Timeout),
		wake: make(chan struct{}, 1),
	}, nil
}

// defaultSchedule is the one that the specification suggests.
var defaultSchedule = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
	10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

const (
	outboxPrefix = "events/outbox/"
	logPrefix    = "events/log/"
	hostsPrefix  = "events/hosts/"
	ofTenants    = "events/tenants/"
	duePrefix    = "events/due/"
	deadPrefix   = "events/dead/"

	timeLayout = "20060102T150405.000000"
	page       = 500
)

// Waiting reports whether events wait to be sent, or to be sent again.
func (h *Hub) Waiting(ctx context.Context) (bool, error) {
	for _, prefix := range []string{outboxPrefix, duePrefix} {
		keys, err := h.records.List(ctx, prefix, "", 1)
		if err != nil || len(keys) > 0 {
			return len(keys) > 0, err
		}
	}
	return false, nil
}

// Sending reports whether this process is sending for [Hub.Run].
func (h *Hub) Sending() bool { return h.attempts.Load() > 0 }

// Record implements [shingle.Events].
func (h *Hub) Record(ctx context.Context, e shingle.Event) error {
	if e.ID == "" || e.Type == "" || e.At.IsZero() || len(e.Data) > shingle.MaxEventData {
		return shingle.Errorf(shingle.CodeInvalid, "an event has an ID, a type, a time, and at most %d bytes of data", shingle.MaxEventData)
	}
	e.At = e.At.UTC().Truncate(time.Microsecond)
	if err := h.records.Create(ctx, outboxPrefix+stamp(e.At)+"/"+e.ID, e); err != nil {
		return fmt.Errorf("record event: %w", err)
	}
	h.nudge()
	return nil
}

// nudge has the leader look at once, if it is this process.
func (h *Hub) nudge() {
	select {
	case h.wake <- struct{}{}:
	default: // it is to look already
	}
}

// stamp is a time in keys, oldest first.
func stamp(t time.Time) string { return t.UTC().Format(timeLayout) }

// age is a time in keys, newest first.
func age(t time.Time) string { return fmt.Sprintf("%016d", math.MaxInt64/1000-t.UnixMicro()) }

func logKey(e *shingle.Event) string { return logPrefix + age(e.At) + "/" + e.ID }

// indexKeys are the places in the indexes where e is found.
func indexKeys(e *shingle.Event) (keys []string) {
	if e.Host != "" {
		keys = append(keys, hostsPrefix+e.Host+"/"+age(e.At)+"/"+e.ID)
	}
	if e.Tenant != "" {
		keys = append(keys, tenantPrefix(e.Tenant)+age(e.At)+"/"+e.ID)
	}
	return keys
}

// tenantPrefix is where a tenant's events are found. A colon, which no key has,
// becomes an asterisk, which no tenant has.
func tenantPrefix(tenant string) string {
	return ofTenants + strings.ReplaceAll(tenant, ":", "*") + "/"
}
