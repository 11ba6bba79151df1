package app

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/members"
)

// Times between what scheduled calls do. There is one every minute, and mostly there
// is nothing to do, for which it pays half a read unit.
const (
	gatherTime = 10 * time.Minute // what is due by plan is done together, for a turn costs 71 read units
	hurryTime  = time.Hour        // after somebody changed something: what is due is done at once
	turnEvery  = time.Hour        // for what is planned nowhere, such as old records
)

// turns is what an instance of the function knows of what there is to do.
type turns struct {
	cursor shingle.Cursor // of the domains, from before the last turn
	ended  time.Time      // the last turn; zero: there was none here
	looked time.Time      // for what others left to do: an edge, or another instance of the function
	next   time.Time      // when something is due, as far as is known
	hurry  time.Time      // until then
}

// turn is a scheduled call: it does what is due, if anything is. An error, which
// Lambda counts, tells that the store did not answer.
func (a *App) turn(ctx context.Context) error {
	now := time.Now()
	if a.touched(ctx) {
		a.turns.hurry = now.Add(hurryTime)
	} else if !a.due(ctx, now) {
		return nil
	}
	cursor, err := a.stores.domains.Head(ctx) // what comes during the turn may not be seen by it
	a.workFor(ctx, workTime)
	t := turns{cursor: cursor, ended: time.Now(), hurry: a.turns.hurry}
	var certificate time.Time
	if err == nil {
		t.looked = t.ended
		t.next, certificate, err = a.nextDue(ctx)
	}
	if err == nil && a.cfg.Measures != nil {
		err = a.measure(ctx, t.ended, certificate)
	}
	if err != nil { // the next call knows nothing, and does a turn
		t.ended = time.Time{}
	}
	a.turns = t
	return err
}

// touched reports whether somebody has changed something since the last turn: here,
// or a domain anywhere. A store that does not answer is the turn's to complain of.
func (a *App) touched(ctx context.Context) bool {
	if a.turns.ended.IsZero() {
		return false
	}
	if a.activity.since(a.turns.ended) {
		return true
	}
	changes, _, err := a.stores.domains.Changes(ctx, a.turns.cursor, 1)
	return err != nil || len(changes) > 0
}

// due reports whether it is time for a turn.
func (a *App) due(ctx context.Context, now time.Time) bool {
	t := &a.turns
	if now.Sub(t.ended) >= turnEvery {
		return true
	}
	if !now.Before(t.next) {
		return now.Before(t.hurry) || now.Sub(t.ended) >= gatherTime
	}
	if now.Sub(t.looked) < gatherTime {
		return false
	}
	next, _, err := a.nextDue(ctx)
	t.looked, t.next = now, next
	return err != nil || !now.Before(next)
}

// nextDue returns when something is planned, or may be, and when the next of that is
// about a certificate; zero: nothing is.
func (a *App) nextDue(ctx context.Context) (next, certificate time.Time, err error) {
	next = time.Now().Add(turnEvery)
	if certificate, err = a.certs.NextDue(ctx); err != nil {
		return next, certificate, err
	}
	var check time.Time
	if a.cfg.checks() {
		if check, err = a.keeper.NextDue(ctx); err != nil {
			return next, certificate, err
		}
	}
	for _, at := range []time.Time{certificate, check} {
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	for _, waiting := range []func(context.Context) (bool, error){a.events.Waiting, a.jobs.Waiting} {
		is, err := waiting(ctx)
		if err != nil {
			return next, certificate, err
		}
		if is {
			next = time.Now()
		}
	}
	return next, certificate, nil
}

// activity notes when something was last written, leases and the report of this process
// apart: all that is done ends in a write.
type activity struct {
	shingle.Blobs
	last atomic.Int64 // Unix milliseconds
}

// Put implements [shingle.Blobs].
func (a *activity) Put(ctx context.Context, key string, value []byte, ifVersion string) (string, error) {
	if !strings.HasPrefix(key, "leases/") && !strings.HasPrefix(key, members.Prefix) {
		a.note()
	}
	return a.Blobs.Put(ctx, key, value, ifVersion)
}

// Delete implements [shingle.Blobs].
func (a *activity) Delete(ctx context.Context, key, ifVersion string) error {
	a.note()
	return a.Blobs.Delete(ctx, key, ifVersion)
}

func (a *activity) note() { a.last.Store(time.Now().UnixMilli()) }

// since reports whether something was written after a time.
func (a *activity) since(t time.Time) bool { return time.UnixMilli(a.last.Load()).After(t) }

func (a *activity) quiet(d time.Duration) bool {
	return time.Since(time.UnixMilli(a.last.Load())) >= d
}
