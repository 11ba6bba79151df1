package check

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

// Bounds of a keeper's work.
const (
	keeperAtOnce = 64
	keeperPage   = 500         // entries of the due index that are listed at once
	firstPage    = 20          // when little is due, as nearly always
	relistEvery  = time.Minute // at most, the due index is read from its beginning
	settleTime   = time.Minute // an entry without a status may be one that is just being made
	snoozeTime   = 30 * time.Second
)

// KeeperConfig is what a [Keeper] is made of. Blobs, Domains and Check are
// required; a zero elsewhere takes the default.
type KeeperConfig struct {
	Blobs   shingle.Blobs // the whole fleet shares it
	Domains shingle.DomainStore
	// Check looks at a domain, and knows of its certificate.
	Check func(ctx context.Context, d shingle.Domain, how Look) (shingle.CheckResult, error)
	// Ready, when set, is called for a domain that may now have a certificate.
	Ready func(ctx context.Context, d shingle.Domain) error
	// Events, when set, hears of each change of a status.
	Events    shingle.Events
	Lifecycle shingle.Lifecycle

	AtOnce int             // checks at once. Default: 64
	Poll   time.Duration   // how often it looks for what is due. Default: 2 s
	Wake   <-chan struct{} // has it look at once
	Logger *slog.Logger    // nil: none
	Now    func() time.Time
}

// Keeper keeps the status of every domain true: it checks each when its time
// comes, whoever visits. Records in the store:
//
//	statuses/HOST              the [shingle.Status], and its entries in the indexes
//	checks/due/TIME/HOST/SEQ   the index of what is due
//	checks/listed/...          the index of statuses, which [Listed] reads
//	checks/indexing            how far the statuses of before are in it
//	checks/position            how far the change feed of the domains was read
//
// What a look costs grows with what is due, not with how many domains there are.
type Keeper struct {
	cfg     KeeperConfig
	log     *slog.Logger
	records *records.Store

	recallAt time.Time // when to look for what a wrong clock has put off; Run's alone
	checking atomic.Int64
	indexed  atomic.Bool // all statuses are in their index
}

// NewKeeper returns a Keeper. The caller runs [Keeper.Run] in the process that
// leads; the other methods work in any.
func NewKeeper(cfg KeeperConfig) (*Keeper, error) {
	if cfg.Blobs == nil || cfg.Domains == nil || cfg.Check == nil {
		return nil, errors.New("check: Blobs, Domains and Check are required")
	}
	cfg.AtOnce = cmp.Or(cfg.AtOnce, keeperAtOnce)
	cfg.Poll = cmp.Or(cfg.Poll, 2*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Keeper{cfg: cfg, log: cfg.Logger, records: records.New(cfg.Blobs)}, nil
}

// Status returns the status of a host, or [shingle.ErrNotFound] for one that the
// keeper has not heard of.
func (k *Keeper) Status(ctx context.Context, host string) (shingle.Status, error) {
	var s shingle.Status
	_, err := k.records.Get(ctx, statusKey(host), &s)
	if errors.Is(err, shingle.ErrNotFound) {
		err = shingle.Errorf(shingle.CodeNotFound, "%s has no status yet", host)
	}
	return s, err
}

// Runs reports whether a process of the fleet keeps statuses, or did.
func (k *Keeper) Runs(ctx context.Context) (bool, error) {
	_, err := k.cfg.Blobs.Get(ctx, positionKey)
	if errors.Is(err, shingle.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// NextDue returns when a check is due next, which may be past, or the zero time
// when none is.
func (k *Keeper) NextDue(ctx context.Context) (time.Time, error) {
	keys, err := k.records.List(ctx, duePrefix, "", 1)
	if err != nil || len(keys) == 0 {
		return time.Time{}, err
	}
	at, _, _ := strings.Cut(strings.TrimPrefix(keys[0], duePrefix), "/")
	due, err := time.Parse(dueTime, at)
	if err != nil {
		return k.cfg.Now(), nil //nolint:nilerr // Run knows what to do with it
	}
	return due, nil
}

// Checking reports whether this process is looking at a domain for [Keeper.Run].
func (k *Keeper) Checking() bool { return k.checking.Load() > 0 }

// CheckNow checks a domain thoroughly, for somebody who waits, and returns what
// was found and the status that follows from it. A domain that is not set up is
// [shingle.ErrNotFound].
func (k *Keeper) CheckNow(ctx context.Context, host string) (shingle.CheckResult, shingle.Status, error) {
	return k.check(ctx, host, true)
}

// CheckSoon makes the check of a domain due now. It is no error when the keeper has
// not heard of it, or does not check it.
func (k *Keeper) CheckSoon(ctx context.Context, host string) error {
	_, err := k.change(ctx, host, again)
	return err
}

func (k *Keeper) check(ctx context.Context, host string, thorough bool) (shingle.CheckResult, shingle.Status, error) {
	known, _, err := k.entry(ctx, host) // before the domain: a change in between is seen at the end
	if err != nil {
		return shingle.CheckResult{}, shingle.Status{}, err
	}
	d, err := k.cfg.Domains.Domain(ctx, host)
	if err != nil {
		return shingle.CheckResult{}, shingle.Status{}, err
	}
	unknown := known.Host == "" || known.Tenant != d.Tenant
	r, err := k.cfg.Check(ctx, d, Look{Thorough: thorough, Prove: thorough || unknown || known.ProofNeeded})
	if err != nil {
		return r, shingle.Status{}, err
	}
	s, ok, err := k.conclude(ctx, &d, known.Status, &r)
	if err != nil || !ok {
		return r, s, err
	}
	ready := s.MayIssue() == nil || s.State == shingle.StatePending && r.DNS.Delegated
	if ready && k.cfg.Ready != nil {
		err = k.cfg.Ready(ctx, d)
	}
	return r, s, err
}

// take takes in a change of a domain: its check is due at once.
func (k *Keeper) take(ctx context.Context, c *shingle.Change) error {
	_, err := k.change(ctx, c.Host, func(s shingle.Status, now time.Time) shingle.Status {
		switch {
		case c.Deleted && s.Host == "":
			return s
		case c.Deleted:
			return k.cfg.Lifecycle.Remove(s, now)
		case s.Host == "" || s.State == shingle.StateRemoved || s.Tenant != c.Domain.Tenant:
			s = k.cfg.Lifecycle.Begin(c.Domain, s, now)
		}
		switch {
		case c.Before.Host != "" && s.Next.Equal(now.Truncate(time.Second)):
			s.Next = now.Add(time.Second) // a check that is under way has to see that something changed
		case c.Before.Host != "" || s.Checked.IsZero():
			s.Next = now
		}
		return s
	})
	return err
}

const (
	statusPrefix = "statuses/"
	duePrefix    = "checks/due/"
	positionKey  = "checks/position"
	dueTime      = "20060102T150405"
	changeTries  = 8
)

func statusKey(host string) string { return statusPrefix + host }

// entry is a status as it is stored.
type entry struct {
	shingle.Status
	Due    string `json:"due,omitempty"`    // its key in the due index, which no other write has; empty: none
	Listed string `json:"listed,omitempty"` // its key in the index of statuses, likewise
	// Unlisted is the key that Listed took the place of by this write, and that may be
	// left when the writer died.
	Unlisted string `json:"unlisted,omitempty"`
	Seq      int64  `json:"seq"` // counts the writes
}

// dueValue is what an entry in the due index holds.
type dueValue struct {
	// Listed is the key that the same write makes in the index of statuses. If it is
	// not the status' when this entry is found to be nobody's, it is nobody's either.
	Listed string `json:"listed,omitempty"`
}

// dueKey is the key of a new entry in the due index.
func dueKey(host string, at time.Time, seq int64) string {
	return duePrefix + at.UTC().Format(dueTime) + "/" + host + "/" + strconv.FormatInt(seq, 10)
}

// change reads a status, the zero one when there is none, has edit change it, and
// writes it between making its new entries in the indexes and removing the old
// ones: a crash leaves an entry too many and never one too few.
func (k *Keeper) change(ctx context.Context, host string, edit func(s shingle.Status, now time.Time) shingle.Status) (shingle.Status, error) {
	for range changeTries {
		before, version, err := k.entry(ctx, host)
		if err != nil {
			return before.Status, err
		}
		s := edit(before.Status, k.cfg.Now().UTC())
		if s.Host == "" {
			return s, nil
		}
		if s.Next = s.Next.Truncate(time.Second); reflect.DeepEqual(before.Status, s) && (before.Listed != "" || s.State == shingle.StateRemoved) {
			return s, nil
		}
		err = k.write(ctx, &before, s, version)
		if !errors.Is(err, shingle.ErrConflict) {
			return s, err
		}
	}
	return shingle.Status{}, fmt.Errorf("write status of %s: %w", host, shingle.ErrConflict)
}

// entry reads what is stored for a host, the zero entry when there is nothing.
func (k *Keeper) entry(ctx context.Context, host string) (e entry, version string, err error) {
	version, err = k.records.Get(ctx, statusKey(host), &e)
	if err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return e, "", fmt.Errorf("read status: %w", err)
	}
	return e, version, nil
}

func (k *Keeper) write(ctx context.Context, before *entry, s shingle.Status, version string) error {
	after := entry{Status: s, Due: before.Due, Listed: before.Listed, Seq: before.Seq + 1}
	if !s.Next.Equal(before.Next) {
		after.Due = ""
		if !s.Next.IsZero() {
			after.Due = dueKey(s.Host, s.Next, after.Seq)
		}
	}
	if before.Listed == "" || !alike(&before.Status, &s) {
		after.Listed, after.Unlisted = listedKey(&s), before.Listed
	}
	mark, err := k.enter(ctx, before, &after)
	if err != nil {
		return err
	}
	if err := k.tell(ctx, &before.Status, &after.Status); err != nil {
		return err
	}
	if _, err := k.records.Put(ctx, statusKey(s.Host), after, version); err != nil {
		if errors.Is(err, shingle.ErrConflict) && after.Listed != before.Listed { // it is certainly nobody's
			err = errors.Join(err, k.remove(ctx, after.Listed))
		}
		return err
	}
	old := []string{before.Unlisted, after.Unlisted, mark}
	if after.Due != before.Due {
		old = append(old, before.Due) // at last: who finds it tidies the others
	}
	for _, key := range old {
		if err := k.remove(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// enter makes the entries in the indexes that after has and before has not. That in the
// due index comes first, for whoever finds it later tidies the other; when there is none
// a mark takes its place, which is to be removed when the status is written.
func (k *Keeper) enter(ctx context.Context, before, after *entry) (mark string, err error) {
	listed, due := after.Listed, after.Due
	if listed == before.Listed {
		listed = ""
	}
	if due == before.Due {
		due = ""
	}
	if listed != "" && due == "" {
		mark = dueKey(after.Host, k.cfg.Now(), rand.Int64()) // no other attempt's, lest that one's entry be forgotten
		due = mark
	}
	if due != "" {
		if err := k.records.Create(ctx, due, dueValue{Listed: listed}); err != nil {
			return "", fmt.Errorf("mark check due: %w", err)
		}
	}
	if listed != "" {
		if err := k.records.Create(ctx, listed, struct{}{}); err != nil {
			return "", fmt.Errorf("list status: %w", err)
		}
	}
	return mark, nil
}

// remove removes an entry of an index; an empty key is none.
func (k *Keeper) remove(ctx context.Context, key string) error {
	if key == "" {
		return nil
	}
	return k.records.Remove(ctx, key)
}

// alike reports whether two statuses have the same place in the index of statuses.
func alike(a, b *shingle.Status) bool {
	return a.State == b.State && a.Who == b.Who && a.Tenant == b.Tenant && a.Changed.Equal(b.Changed)
}

// statusData is the data of the event of a changed status.
type statusData struct {
	Before  shingle.State  `json:"before,omitempty"`
	State   shingle.State  `json:"state"`
	Reason  shingle.Reason `json:"reason"`
	Message string         `json:"message"`
	Who     string         `json:"who"`
}

// tell records that a status changes. It comes before the status is written, so
// that no change goes untold; one that is then lost to another is told all the
// same, and corrected by the next.
func (k *Keeper) tell(ctx context.Context, before, after *shingle.Status) error {
	if k.cfg.Events == nil || before.State == after.State && before.Reason == after.Reason && before.Who == after.Who {
		return nil
	}
	data, err := json.Marshal(statusData{before.State, after.State, after.Reason, after.Message, after.Who})
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	at := after.Changed.UTC()
	return k.cfg.Events.Record(ctx, shingle.Event{
		ID:   shingle.EventID(string(shingle.EventDomainStatus), after.Host, string(after.State), string(after.Reason), at.Format(time.RFC3339Nano)),
		Type: shingle.EventDomainStatus, At: at, Host: after.Host, Tenant: after.Tenant, Data: data,
	})
}

// Run checks what is due until ctx ends. One process of the fleet at a time
// should; two do no harm but check twice.
func (k *Keeper) Run(ctx context.Context) error {
	r := &rounds{Keeper: k, busy: map[string]bool{}, snoozing: map[string]time.Time{}, done: make(chan finished, k.cfg.AtOnce)}
	r.feed = records.Feed{
		Records: k.records, Domains: k.cfg.Domains, Key: positionKey, All: true, Take: k.take,
		Gap: func() { k.log.Warn("checks fell behind the change feed, reading all domains again") },
	}
	defer r.checks.Wait()
	r.checks.Go(func() { k.keepIndexing(ctx) })
	tick := time.NewTicker(k.cfg.Poll)
	defer tick.Stop()
	failing := false
	for look := true; ; {
		if look {
			err := r.look(ctx)
			if err != nil && !failing && ctx.Err() == nil {
				k.log.Error("domains are not checked", "error", err)
			}
			failing = err != nil
		}
		look = true
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		case <-k.cfg.Wake:
		case f := <-r.done:
			delete(r.busy, f.key)
			if f.err != nil {
				r.snoozing[f.key] = k.cfg.Now().Add(snoozeTime)
			}
			look = r.more && len(r.busy) <= k.cfg.AtOnce/2
		}
	}
}

// rounds is the work of the one process that checks.
type rounds struct {
	*Keeper
	feed     records.Feed
	busy     map[string]bool      // keys of the checks under way
	snoozing map[string]time.Time // keys of checks that failed for a fault of ours; bounded by a relist
	relist   time.Time            // when to forget who snoozes
	more     bool                 // not all that is due found a place
	done     chan finished
	checks   sync.WaitGroup
}

// finished is a check that was made, or could not be.
type finished struct {
	key string
	err error
}

// look takes in what changed, and begins what is due.
func (r *rounds) look(ctx context.Context) error {
	if err := r.feed.Step(ctx); err != nil {
		return err
	}
	now := r.cfg.Now()
	if !now.Before(r.relist) {
		clear(r.snoozing)
		r.relist = now.Add(relistEvery)
	}
	if !now.Before(r.recallAt) {
		if err := r.recall(ctx); err != nil {
			return err
		}
		r.recallAt = now.Add(recallEvery)
	}
	r.more = false
	page := firstPage
	for after := ""; ; page = min(5*page, keeperPage) {
		keys, err := r.records.List(ctx, duePrefix, after, page)
		if err != nil {
			return fmt.Errorf("list due checks: %w", err)
		}
		for _, key := range keys {
			after = key
			part := strings.Split(strings.TrimPrefix(key, duePrefix), "/")
			if due, err := time.Parse(dueTime, part[0]); err != nil || len(part) != 3 {
				continue
			} else if due.After(now) {
				return nil
			}
			if r.busy[key] || now.Before(r.snoozing[key]) {
				continue
			}
			if len(r.busy) >= r.cfg.AtOnce {
				r.more = true
				return nil
			}
			r.begin(ctx, key, part[1])
		}
		if len(keys) < page {
			return nil
		}
	}
}

func (r *rounds) begin(ctx context.Context, key, host string) {
	r.busy[key] = true
	r.checking.Add(1)
	r.checks.Go(func() {
		defer r.checking.Add(-1)
		err := r.attend(ctx, key, host)
		if err != nil && ctx.Err() == nil {
			r.log.Warn("domain not checked", "host", host, "error", err)
		}
		r.done <- finished{key, err} // as wide as there are places
	})
}

// attend does what is due for a host. An entry that its status does not name was
// left by a crash, or is just being made.
func (r *rounds) attend(ctx context.Context, key, host string) error {
	e, version, err := r.entry(ctx, host)
	switch {
	case err != nil:
		return err
	case e.Due != key:
		return r.tidy(ctx, key, host, &e, version)
	case e.State == shingle.StateRemoved:
		return r.forget(ctx, key, &e)
	}
	_, _, err = r.check(ctx, host, false)
	if errors.Is(err, shingle.ErrNotFound) { // deleted, and the feed did not tell
		_, err = r.change(ctx, host, r.cfg.Lifecycle.Remove)
	}
	return err
}

// tidy removes an entry that its status does not name. Whoever made it may have
// stood still and be about to write a status that does: so the status is written
// first, and that write meets a conflict.
func (r *rounds) tidy(ctx context.Context, key, host string, e *entry, version string) error {
	at, err := time.Parse(dueTime, strings.TrimPrefix(key, duePrefix)[:len(dueTime)])
	if err == nil && r.cfg.Now().Sub(at) < settleTime {
		return nil
	}
	var due dueValue
	if _, err = r.records.Get(ctx, key, &due); err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return err
	}
	unlisted := e.Unlisted
	if e.Host == "" {
		err = r.adopt(ctx, host)
	} else {
		e.Seq, e.Unlisted = e.Seq+1, ""
		_, err = r.records.Put(ctx, statusKey(host), e, version)
	}
	if err != nil {
		return err
	}
	if due.Listed != e.Listed {
		err = r.remove(ctx, due.Listed)
	}
	if err := errors.Join(err, r.remove(ctx, unlisted)); err != nil {
		return err
	}
	return r.records.Remove(ctx, key)
}

// adopt gives a domain that has no status one. It is no error when it is gone.
func (r *rounds) adopt(ctx context.Context, host string) error {
	d, err := r.cfg.Domains.Domain(ctx, host)
	if errors.Is(err, shingle.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.take(ctx, &shingle.Change{Host: host, Domain: d})
}

// forget ends the quarantine of a removed name.
func (r *rounds) forget(ctx context.Context, key string, e *entry) error {
	if _, err := r.cfg.Domains.Domain(ctx, e.Host); !errors.Is(err, shingle.ErrNotFound) {
		return err // added again: the feed tells
	}
	for _, key := range []string{e.Unlisted, statusKey(e.Host), key} {
		if err := r.remove(ctx, key); err != nil {
			return err
		}
	}
	return nil
}
