// Package members keeps the list of the processes of a fleet: each reports itself, once
// a minute or so, and takes its report away when it ends.
//
// Records in the store:
//
//	edges/ID    a process, as it last said of itself
package members

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

// Prefix begins the keys of the records.
const Prefix = "edges/"

// Times of the reports.
const (
	spread     = 12               // of the time between two is added, at most, so that a fleet that started at once does not report at once
	again      = 10 * time.Second // after one that failed; and what one more is earned in for a change
	atOnce     = 3                // reports of changes, one upon the other
	readyTime  = 10 * time.Second // at most, the first one waits until the process knows how it is
	sweepEvery = time.Hour
	endTime    = 2 * time.Second // for the removal of the last one
)

// Bounds of a report, which keep it within the kilobyte that is one write.
const (
	maxSentences = 4
	maxSentence  = 300 // bytes
	maxKeys      = 16
	sideBySide   = 16 // reads of a listing
	pageSize     = 1000
)

// Config is what a [Roster] is made of. Blobs is required.
type Config struct {
	Blobs      shingle.Blobs       // the whole fleet shares it
	Unreadable *shingle.Unreadable // told of records that cannot be read; nil: nobody is
	Logger     *slog.Logger        // nil: none
	Now        func() time.Time
	// Every is how often a process reports itself, at most. Default: a minute, which is
	// at most 43,200 writes in a month of 30 days.
	Every time.Duration
	// Ready, when set, is closed when the process knows how it is: its first report waits
	// for that, for some seconds at most. Changed, when it receives, says that it is otherwise
	// than before, and has it reported at once; three times, and then every ten seconds.
	Ready, Changed <-chan struct{}
	// Called says that the process is called now and then, and is not gone in between:
	// it reports itself at the end of a call, and the report stays.
	Called bool
}

// Roster is the list.
type Roster struct {
	records *records.Store
	log     *slog.Logger
	now     func() time.Time
	every   time.Duration
	called  bool
	ready   <-chan struct{}
	changed <-chan struct{} // elsewhere
	leads   chan struct{}   // whether this process leads has changed
	changes *rate.Limiter   // reports besides those that are due

	mu      sync.Mutex
	self    string    // ID of this process; empty: it has not reported yet
	leading bool      // or, of a process that is called, it has led
	last    time.Time // that this process reported
	swept   time.Time
}

// New returns the list in cfg.Blobs.
func New(cfg Config) *Roster {
	r := &Roster{records: records.New(cfg.Blobs, cfg.Unreadable), log: cfg.Logger, now: cfg.Now, every: cmp.Or(cfg.Every, time.Minute), called: cfg.Called,
		ready: cfg.Ready, changed: cfg.Changed, leads: make(chan struct{}, 1), changes: rate.NewLimiter(rate.Every(again), atOnce)}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.now == nil {
		r.now = time.Now
	}
	return r
}

// Report reports this process, as describe has it, until ctx ends. The ID must stay the
// same; Reported, Every and Leads are filled in.
func (r *Roster) Report(ctx context.Context, describe func(ctx context.Context) shingle.Member) {
	var own own
	if r.called {
		r.reportCall(ctx, describe)
		return
	}
	r.awaitReady(ctx)
	failed := false
	for r.awaitTurn(ctx) {
		version := own.version
		err := r.report(ctx, describe(ctx), &own)
		if ctx.Err() != nil {
			own.version = cmp.Or(own.version, version)
			break
		}
		if err != nil && !failed {
			r.log.Warn("this process is not on the list of edges for now", "error", err)
		}
		if failed = err != nil; failed && !r.rest(ctx, again) {
			break
		}
	}
	r.leave(context.WithoutCancel(ctx), &own)
}

// awaitReady returns when the first report can be made.
func (r *Roster) awaitReady(ctx context.Context) {
	if r.ready == nil {
		return
	}
	select {
	case <-r.ready:
	case <-time.After(readyTime):
	case <-ctx.Done():
	}
	select {
	case <-r.changed: // of which the first report tells
	default:
	}
}

// awaitTurn returns when a report is due, by time or by a change; false when ctx ended.
func (r *Roster) awaitTurn(ctx context.Context) bool {
	due := time.NewTimer(r.untilDue())
	defer due.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-due.C:
		return true
	case <-r.changed:
	case <-r.leads:
	}
	return r.changes.Wait(ctx) == nil
}

// reportCall reports a call, at its end, unless it was done shortly before.
func (r *Roster) reportCall(ctx context.Context, describe func(ctx context.Context) shingle.Member) {
	<-ctx.Done()
	r.mu.Lock()
	recent := !r.last.IsZero() && r.now().Sub(r.last) < r.every
	r.mu.Unlock()
	if recent {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	if err := r.report(ctx, describe(ctx), &own{}); err != nil {
		r.log.Debug("this process is not on the list of edges for now", "error", err)
	}
}

// Lead is the part of the housekeeping: it removes those that fell silent long ago, and
// its process is the one that leads.
func (r *Roster) Lead(ctx context.Context) error {
	r.lead(true)
	defer r.lead(false)
	for r.rest(ctx, r.untilSweep()) {
		if err := r.sweep(ctx); err != nil {
			return err
		}
		r.mu.Lock()
		r.swept = r.now()
		r.mu.Unlock()
	}
	return ctx.Err()
}

// Members returns the processes whose IDs sort after `after`, at most limit (1 to
// 1000), and the ID to go on from; empty at the end.
func (r *Roster) Members(ctx context.Context, after string, limit int) (list []shingle.Member, next string, err error) {
	if after != "" {
		after = Prefix + after
	}
	keys, err := r.records.List(ctx, Prefix, after, limit)
	if err != nil {
		return nil, "", err
	}
	if len(keys) == limit {
		next = strings.TrimPrefix(keys[limit-1], Prefix)
	}
	list, err = r.read(ctx, keys)
	return list, next, err
}

// Lacking returns the IDs of the live processes, other than this one, that cannot use a
// master key. One of a version without reports is not known.
func (r *Roster) Lacking(ctx context.Context, masterKey string) (ids []string, err error) {
	for after := ""; ; {
		list, next, err := r.Members(ctx, after, pageSize)
		if err != nil {
			return nil, err
		}
		for i := range list {
			if list[i].Lacks(masterKey, r.now()) {
				ids = append(ids, list[i].ID)
			}
		}
		if after = next; after == "" {
			return ids, nil
		}
	}
}

// Member returns one, or [shingle.ErrNotFound].
func (r *Roster) Member(ctx context.Context, id string) (m shingle.Member, err error) {
	if !shingle.IsTokenID(id) { // which has the same letters
		return m, notThere(id)
	}
	_, err = r.records.Get(ctx, Prefix+id, &m)
	if err == nil && r.now().Sub(m.Reported) > shingle.MemberKept {
		err = shingle.ErrNotFound
	}
	if errors.Is(err, shingle.ErrNotFound) {
		err = notThere(id)
	}
	m.Self = r.is(m.ID)
	return m, err
}

func notThere(id string) error {
	return shingle.Errorf(shingle.CodeNotFound, "there is no edge %.64q: it may have ended, or been replaced", id)
}

// read reads the records of keys, side by side, in their order. What is gone by now, and
// what is too old, is left out.
func (r *Roster) read(ctx context.Context, keys []string) ([]shingle.Member, error) {
	found, errs := make([]shingle.Member, len(keys)), make([]error, len(keys))
	var readers sync.WaitGroup
	places := make(chan struct{}, sideBySide)
	for i, key := range keys {
		places <- struct{}{}
		readers.Go(func() {
			defer func() { <-places }()
			_, errs[i] = r.records.Get(ctx, key, &found[i])
		})
	}
	readers.Wait()
	list := make([]shingle.Member, 0, len(keys))
	for i := range keys {
		switch {
		case errors.Is(errs[i], shingle.ErrNotFound), errors.Is(errs[i], shingle.ErrUnreadable):
		case errs[i] != nil:
			return nil, errs[i]
		case r.now().Sub(found[i].Reported) <= shingle.MemberKept:
			found[i].Self = r.is(found[i].ID)
			list = append(list, found[i])
		}
	}
	return list, nil
}

// own is the record of this process, as far as it knows.
type own struct{ key, version string }

// report writes the record of this process, whoever wrote it last.
func (r *Roster) report(ctx context.Context, m shingle.Member, s *own) (err error) {
	r.mu.Lock()
	m.Reported, m.Every, m.Leads = r.now().UTC().Truncate(time.Second), r.every, r.leading
	if r.called {
		m.Every = shingle.MemberCalled
	}
	r.mu.Unlock()
	m.Unreadable = strings.Join(bounded([]string{m.Unreadable}), "")
	m.Degraded, m.MasterKeys = bounded(m.Degraded), m.MasterKeys[max(0, len(m.MasterKeys)-maxKeys):]
	s.key = Prefix + m.ID
	s.version, err = r.records.Put(ctx, s.key, m, s.version)
	if errors.Is(err, shingle.ErrConflict) { // of the process before, or removed while this one was suspended
		var old shingle.Member
		s.version, err = r.records.Get(ctx, s.key, &old)
		if err == nil || errors.Is(err, shingle.ErrNotFound) || errors.Is(err, shingle.ErrUnreadable) {
			s.version, err = r.records.Put(ctx, s.key, m, s.version)
		}
	}
	if err == nil {
		r.mu.Lock()
		r.last, r.self = r.now(), m.ID
		r.mu.Unlock()
	}
	return err
}

// leave takes the record of this process away.
func (r *Roster) leave(ctx context.Context, s *own) {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	if s.version == "" {
		return
	}
	if err := r.records.Remove(ctx, s.key); err != nil {
		r.log.Debug("the report of this process stays on the list of edges", "error", err)
	}
}

// sweep removes the records of processes that fell silent long ago. Those of DynamoDB
// end by themselves too, when nobody leads.
func (r *Roster) sweep(ctx context.Context) error {
	for after := ""; ; {
		keys, err := r.records.List(ctx, Prefix, after, 1000)
		if err != nil || len(keys) == 0 {
			return err
		}
		for _, key := range keys {
			after = key
			var m shingle.Member
			_, err := r.records.Get(ctx, key, &m)
			if err == nil && r.now().Sub(m.Reported) > shingle.MemberKept {
				err = r.records.Remove(ctx, key)
			}
			if err != nil && !errors.Is(err, shingle.ErrNotFound) && !errors.Is(err, shingle.ErrUnreadable) {
				return err
			}
		}
	}
}

func (r *Roster) is(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.self == id
}

func (r *Roster) lead(is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leading == (is || r.called) {
		return
	}
	r.leading = is || r.called
	select {
	case r.leads <- struct{}{}:
	default: // it is to be told already
	}
}

// untilDue is how long the next report can wait.
func (r *Roster) untilDue() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last.IsZero() {
		return 0
	}
	return r.every + rand.N(r.every/spread) - r.now().Sub(r.last)
}

// untilSweep is how long the next sweep can wait, of a process that leads now and then
// too.
func (r *Roster) untilSweep() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.swept.IsZero() {
		return 0
	}
	return sweepEvery - r.now().Sub(r.swept)
}

func (r *Roster) rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func bounded(list []string) []string {
	out := make([]string, 0, maxSentences)
	for _, s := range list[:min(len(list), maxSentences)] {
		out = append(out, strings.ToValidUTF8(s[:min(len(s), maxSentence)], ""))
	}
	return out
}
