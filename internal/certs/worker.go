package certs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

// Times of the worker.
const (
	relistEvery = 5 * time.Minute // at most, the due index is read from its beginning
	choresEvery = time.Minute     // at most, what is to be removed or revoked is looked for
	overlap     = time.Minute     // of two looks: entries made late, by a clock that is behind
	settleTime  = time.Minute     // an entry without a plan may be one that is just being made
	gateTime    = time.Minute     // at most, before a budget that was empty is read again
	crowdTime   = 10 * time.Minute
)

const (
	duePage   = 1000 // entries of the due index that are listed at once
	firstPage = 20   // when little is due, as nearly always
	maxParked = 8    // tasks for each turn, when they wait for DNS
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

	seen    time.Time            // what is due until then was listed
	relist  time.Time            // when to begin again at the beginning
	chores  time.Time            // when to look for what is to be removed or revoked
	gates   map[class]time.Time  // no order of the class before
	crowds  map[string]time.Time // no new certificate for the registered domain before
	waiting map[string]waiting   // items that are put back into the queue, by key
	busy    map[string]bool      // keys of the items under way
	running map[class]int        // how many of them
	domains map[string]int       // and for which registered domains a new certificate
	done    chan result
	tasks   sync.WaitGroup
}

// waiting is an item that is put back into the queue at a time.
type waiting struct {
	item
	until time.Time
}

// result tells how a task ended.
type result struct {
	item
	moved bool // it is no longer in the index
}

func newWorker(m *Manager) *worker {
	w := &worker{
		m: m, queue: newQueue(), gates: map[class]time.Time{}, crowds: map[string]time.Time{}, waiting: map[string]waiting{},
		busy: map[string]bool{}, running: map[class]int{}, domains: map[string]int{},
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
	delete(w.gates, r.class) // what needed no order has left its budget to another
	w.running[r.class]--
	if d := shingle.RegisteredDomain(r.host); r.class == classNew {
		if w.domains[d]--; w.domains[d] == 0 {
			delete(w.domains, d)
		}
	}
	if !r.moved {
		// Perhaps a process that died has the host's lease.
		w.wait(r.item, w.m.cfg.Now().Add(2*w.m.cfg.LeaseTime))
	}
}

// wait puts an item aside. What there is no room for is found in the index again.
func (w *worker) wait(i item, until time.Time) {
	if len(w.waiting) < maxQueue {
		w.waiting[i.key] = waiting{i, until}
	}
}

// look takes in what changed and what has become due.
func (w *worker) look(ctx context.Context) error {
	var err error
	if w.intake != nil {
		err = w.intake.Step(ctx)
	}
	now := w.m.cfg.Now()
	w.wake(now)
	after := duePrefix + w.seen.Add(-overlap).UTC().Format(dueTime)
	if !now.Before(w.relist) {
		after, w.relist = "", now.Add(min(relistEvery, 8*w.m.cfg.LeaseTime))
	}
	if !now.Before(w.chores) {
		w.chores = now.Add(min(choresEvery, 2*w.m.cfg.LeaseTime))
		err = errors.Join(err, w.m.store.clean(ctx, now), w.m.budgets.clean(ctx, w.m.cas, now), w.m.sweep(ctx), w.m.revoke(ctx))
	}
	if !now.Before(w.m.recallAt) {
		w.m.recallAt = now.Add(recallEvery)
		err = errors.Join(err, w.m.recall(ctx, now))
	}
	if listErr := w.list(ctx, after, now); listErr != nil {
		w.relist = now
		return errors.Join(err, listErr)
	}
	w.seen = now
	return err
}

// wake puts back into the queue whose time has come, in the order of the index.
func (w *worker) wake(now time.Time) {
	var woken []item
	for key, x := range w.waiting {
		if !now.Before(x.until) {
			delete(w.waiting, key)
			woken = append(woken, x.item)
		}
	}
	slices.SortFunc(woken, func(a, b item) int { return strings.Compare(a.key, b.key) })
	for _, i := range woken {
		w.queue.push(i)
	}
	for domain, until := range w.crowds {
		if !now.Before(until) {
			delete(w.crowds, domain)
		}
	}
}

// list puts what is due into the queue. It costs what is due: each page is longer
// than the one before, which was full.
func (w *worker) list(ctx context.Context, after string, now time.Time) error {
	for page, more := firstPage, true; more; page = min(4*page, duePage) {
		var items []item
		var err error
		if items, after, more, err = w.m.store.dueUntil(ctx, after, now, page); err != nil {
			return err
		}
		for _, i := range items {
			if _, waits := w.waiting[i.key]; !waits && !w.busy[i.key] {
				w.queue.push(i) // what finds no room is found again
			}
		}
	}
	return nil
}

// dispatch starts tasks, the classes in turn, as long as there is a place and a
// budget.
func (w *worker) dispatch(ctx context.Context) {
	for idle := false; !idle && ctx.Err() == nil; {
		idle = true
		for _, c := range classes {
			if i, ok := w.next(ctx, c); ok {
				w.start(ctx, i)
				idle = false
			}
		}
	}
}

// next returns the item of the class whose turn it is, if there is a place for it
// and a budget. What has none stays in the queue, in its order, rather than fail.
func (w *worker) next(ctx context.Context, c class) (i item, ok bool) {
	now := w.m.cfg.Now()
	if w.full() || now.Before(w.gates[c]) || w.queue.len(c) == 0 {
		return item{}, false
	}
	gate, err := w.m.gate(ctx, c, w.running, now)
	if err != nil || gate.After(now) {
		w.gates[c] = now.Add(min(max(gate.Sub(now), time.Second), gateTime))
		return item{}, false
	}
	for {
		if i, ok = w.queue.pop(c); !ok || c != classNew {
			return i, ok
		}
		until := w.crowd(ctx, shingle.RegisteredDomain(i.host), now)
		if !until.After(now) {
			return i, true
		}
		w.wait(i, until)
	}
}

// crowd returns when the registered domain has a budget for another name.
func (w *worker) crowd(ctx context.Context, domain string, now time.Time) time.Time {
	if until := w.crowds[domain]; until.After(now) {
		return until
	}
	until, err := w.m.domainGate(ctx, domain, w.domains, now)
	if err != nil {
		until = now.Add(time.Second)
	}
	if latest := now.Add(crowdTime); until.After(latest) {
		until = latest // an order that runs may give back what it took
	}
	if until.After(now) && len(w.crowds) < maxQueue {
		w.crowds[domain] = until
	}
	return until
}

// full reports whether no task may begin. Tasks that only wait for DNS leave room
// for others.
func (w *worker) full() bool {
	return len(w.busy)-int(w.m.parked.Load()) >= w.m.cfg.MaxIssuing || len(w.busy) >= cap(w.done)
}

func (w *worker) start(ctx context.Context, i item) {
	w.busy[i.key] = true
	w.running[i.class]++
	if i.class == classNew {
		w.domains[shingle.RegisteredDomain(i.host)]++
	}
	w.tasks.Go(func() {
		moved, err := w.m.process(ctx, i)
		if err != nil && ctx.Err() == nil {
			w.m.log.Debug("due certificate not looked after", "host", i.host, "error", err)
		}
		w.done <- result{item: i, moved: moved} // as wide as there are tasks
	})
}
