// Package traffic keeps what visitors asked of each domain, by the hour, for a week.
//
// Each edge writes for itself what it counted in an hour: a record, or several when it
// has visitors for more domains than fit in one. Whoever reads adds them up.
//
// Records in the store:
//
//	traffic/SHARE/HOUR/EDGE    what an edge counted in an hour for a share of the domains
//
// SHARE is "all", or the first one or two digits of the domain's hash.
package traffic

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

const (
	prefix     = "traffic/"
	allDomains = "all"
	hourLayout = "2006010215"
	hexDigits  = "0123456789abcdef"
)

// Source has what was counted.
type Source interface {
	// TakeTraffic calls add with what was counted of each domain since the last call.
	TakeTraffic(now time.Time, add func(domain string, n shingle.Traffic))
}

// Config is what a [Hub] is made of. Blobs is required.
type Config struct {
	Blobs shingle.Blobs // the whole fleet shares it
	// Source is the edge in this process; nil: there is none. Edge is its name, which the
	// next process there has too, and no other; it is a segment of a key.
	Source Source
	Edge   string
	// Every is how often what was counted is written, at most: a part of an hour without
	// a rest. Default: a quarter of an hour.
	Every      time.Duration
	Unreadable *shingle.Unreadable // told of records that cannot be read; nil: nobody is
	Logger     *slog.Logger        // nil: none
	Now        func() time.Time    // nil: time.Now
}

// Hub is the traffic of a fleet. Its methods are safe for concurrent use.
type Hub struct {
	cfg     Config
	log     *slog.Logger
	records *records.Store
	run     string // this process, in what it writes

	writing sync.Mutex // held by who writes
	failing bool       // the last writing failed
	swept   time.Time  // by the last leader in this process; only Lead has to do with it

	mu    sync.Mutex
	hours []*hour   // those that are not written, oldest first; the last one is the present
	taken time.Time // for a reader

	answers answers
	places  chan struct{} // has one for each read under way
}

// New returns a Hub. The caller runs [Hub.Run] beside the edge, ends with [Hub.Close],
// and runs [Hub.Lead] in the process that leads.
func New(cfg Config) (*Hub, error) {
	cfg.Every = cmp.Or(cfg.Every, 15*time.Minute)
	switch {
	case cfg.Blobs == nil || cfg.Source != nil && cfg.Edge == "":
		return nil, errors.New("traffic: Blobs, and of an edge its name, are required")
	case !Divides(cfg.Every):
		return nil, errors.New("traffic: Every must be a minute or more, and a part of an hour without a rest")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Hub{cfg: cfg, log: cfg.Logger, records: records.New(cfg.Blobs, cfg.Unreadable), run: rand.Text()[:8], places: make(chan struct{}, sideBySide)}, nil
}

// Divides reports whether every can be [Config.Every]: so the last writing of an hour is
// at its end.
func Divides(every time.Duration) bool {
	return every >= time.Minute && every <= time.Hour && time.Hour%every == 0
}

// Forget drops what was counted of a domain here in the present hour, before the start
// of this process too: it was deleted, and whoever adds the name next is not to see it.
// Earlier hours are left to the reader, who knows since when the domain is there.
func (h *Hub) Forget(domain string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.present(h.cfg.Now()).forget(domain)
	h.answers.forget(domain)
}

// present returns the hour that a time is in, or the last one that is later.
func (h *Hub) present(now time.Time) *hour {
	at := now.UTC().Truncate(time.Hour)
	if n := len(h.hours); n == 0 || h.hours[n-1].at.Before(at) {
		h.hours = append(h.hours, &hour{at: at})
	}
	return h.hours[len(h.hours)-1]
}

// share names the share of the domains that one is in, by so many digits of its hash.
func share(domain string, digits int) string {
	if digits == 0 {
		return allDomains
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(domain)) // never fails
	low := h.Sum64() & 0xff
	return string([]byte{hexDigits[low>>4], hexDigits[low&15]})[:digits]
}

func keyOf(share string, at time.Time, edge string) string {
	return prefix + share + "/" + at.Format(hourLayout) + "/" + edge
}

func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
