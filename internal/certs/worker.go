package certs

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle/internal/records"
)

// Times of the worker.
const (
	relistEvery = time.Minute // at most, the due index is read from its beginning
	settleTime  = time.Minute // an entry without a plan may be one that is just being made
	duePage     = 1000        // entries of the due index that are listed at once
	firstPage   = 20          // when little is due, as nearly always
	maxParked   = 8           // tasks for each turn, when they wait for DNS
)

// Work keeps all wanted certificates issued and renewed until ctx ends. One process
// of the fleet at a time should, see [Manager.Lead].
func (m *Manager) Work(ctx context.Context) error {
	m.working.Store(1)
	defer m.working.Store(0)
	return newWorker(m).run(ctx)
}

// worker is the one process of the fleet that looks after what is due.
type worker struct {
	m      *Manager
	intake *records.Feed // nil without a DomainStore
	queue  *queue

	after    string    // the last key that was listed
	relist   time.Time // when to begin again at the beginning
	gate     time.Time // no budget for new certificates before
	snoozing map[string]time.Time
	busy     map[string]bool // keys of the items under way
	done     chan result
	tasks    sync.WaitGroup
}

// result tells how a task ended.
type result struct {
	key   string
	moved bool // the item is no longer in the index
}

func newWorker(m *Manager) *worker {
	w := &worker{
		m: m, queue: newQueue(), snoozing: map[string]time.Time{}, busy: map[string]bool{},
		done: make(chan result, maxParked*m.cfg.MaxIssuing),
	}
	if m.cfg.Domains != nil {
		w.intake = m.intake()
	}
	return w
}

// run works until ctx ends. A store that fails is asked again at the next poll.
func (w *worker) run(ctx context.Context) error {
	defer w.tasks.Wait()
	for _, ca := range w.m.cas {
		w.tasks.Go(func() { w.m.poll(ctx, ca) })
	}
	tick := time.NewTicker(w.m.cfg.Poll)
	defer tick.Stop()
	failing := false
	for look := true; ; {
		if look {
			err := w.look(ctx)
			if err != nil && !failing && ctx.Err() == nil {
				w.m.log.Error("certificate worker cannot see what is due", "error", err)
			}
			failing = err != nil
		}
		w.dispatch(ctx)
		look = true
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		case <-w.m.cfg.Wake:
		case r := <-w.done:
			w.finished(r)
			look = false
		}
	}
}

func (w *worker) finished(r result) {
	delete(w.busy, r.key)
	if !r.moved {
		// Perhaps a process that died has the host's lease.
		w.snoozing[r.key] = w.m.cfg.Now().Add(2 * w.m.cfg.LeaseTime)
	}
}

// look takes in what changed and what has become due.
func (w *worker) look(ctx context.Context) error {
	var intakeErr error
	if w.intake != nil {
		intakeErr = w.intake.Step(ctx)
	}
	now := w.m.cfg.Now()
	if !now.Before(w.relist) {
		w.after, w.relist = "", now.Add(min(relistEvery, 2*w.m.cfg.LeaseTime))
		intakeErr = errors.Join(intakeErr, w.m.store.clean(ctx, now), w.m.budgets.clean(ctx, w.m.cas, now), w.m.sweep(ctx), w.m.revoke(ctx))
		for key, until := range w.snoozing {
			if !now.Before(until) {
				delete(w.snoozing, key)
			}
		}
	}
	return errors.Join(intakeErr, w.list(ctx, now))
}

// list puts what is due into the queue. It costs what is due: each page is longer
// than the one before, which was full.
func (w *worker) list(ctx context.Context, now time.Time) error {
	for page, more := firstPage, true; more; page = min(4*page, duePage) {
		list, next, others, err := w.m.store.dueUntil(ctx, w.after, now, page)
		if err != nil {
			return err
		}
		more = others
		for _, i := range list {
			if w.busy[i.key] || now.Before(w.snoozing[i.key]) {
				continue
			}
			if !w.queue.push(i) {
				next, more = w.after, false
				break
			}
		}
		w.after = next
	}
	// Entries are made in the order of their seconds only: who comes in the same
	// second may sort before one that was listed.
	w.after = min(w.after, duePrefix+now.Add(-time.Second).UTC().Format(dueTime))
	return nil
}

// dispatch starts tasks, renewals and new certificates in turn, as long as there
// is a place and a budget.
func (w *worker) dispatch(ctx context.Context) {
	for idle := false; !idle && ctx.Err() == nil; {
		idle = true
		for _, c := range []class{classRenewal, classNew} {
			if w.full() || c == classNew && !w.affordable(ctx) {
				continue
			}
			if i, ok := w.queue.pop(c); ok {
				w.start(ctx, i)
				idle = false
			}
		}
	}
}

// full reports whether no task may begin. Tasks that only wait for DNS leave room
// for others.
func (w *worker) full() bool {
	return len(w.busy)-int(w.m.parked.Load()) >= w.m.cfg.MaxIssuing || len(w.busy) >= cap(w.done)
}

func (w *worker) start(ctx context.Context, i item) {
	w.busy[i.key] = true
	w.tasks.Go(func() {
		moved, err := w.m.process(ctx, i)
		if err != nil && ctx.Err() == nil {
			w.m.log.Debug("due certificate not looked after", "host", i.host, "error", err)
		}
		w.done <- result{key: i.key, moved: moved} // as wide as there are tasks
	})
}

// affordable reports whether some CA has budget for a new certificate. What has
// none stays in the queue, in its order, rather than fail.
func (w *worker) affordable(ctx context.Context) bool {
	now := w.m.cfg.Now()
	if now.Before(w.gate) {
		return false
	}
	if w.queue.len(classNew) == 0 {
		return true
	}
	gate, err := w.m.nextOrder(ctx, now)
	if err != nil {
		return false
	}
	w.gate = gate
	return !now.Before(gate)
}

// nextOrder returns when the first of the CAs takes an order for a new
// certificate; not after now if one does.
func (m *Manager) nextOrder(ctx context.Context, now time.Time) (first time.Time, err error) {
	for _, ca := range m.cas {
		have, err := m.budgets.left(ctx, ordersKey(ca.Directory), ca.Limits.Orders, now)
		if err != nil {
			return first, err
		}
		next := later(have.next(ca.Limits.Orders, now), ca.limited.end())
		if first.IsZero() || next.Before(first) {
			first = next
		}
	}
	return first, nil
}
