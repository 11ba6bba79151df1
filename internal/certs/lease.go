package certs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shingle-proxy/shingle"
)

// maxObserved bounds the leases of others that a process watches.
const maxObserved = 10_000

// leases gives work to one process of the fleet at a time. A lease is a record
// that its holder keeps rewriting: whoever has seen the same version for the
// whole lease time may take it over. So no clock is ever compared with another
// machine's, and a holder that stands still loses its lease.
//
// A lease keeps others from doing work twice; it does not protect what is
// written. For that each write is conditional on what was read under the lease,
// and carries the fencing token, which grows with every holder.
type leases struct {
	store  *store
	holder string // this process, unlike any other that lives
	ttl    time.Duration

	running atomic.Int64 // leases that this process holds

	mu       sync.Mutex
	observed map[string]observation
}

// observation is a lease of another, and since when it looked like that.
type observation struct {
	version string
	since   time.Time // by our own monotonic clock
}

// leaseRecord is a lease as it is stored. A released one stays, lest the token
// begin again.
type leaseRecord struct {
	Token  uint64 `json:"token"`
	Holder string `json:"holder"` // empty: released
	Beat   uint64 `json:"beat"`   // so that no two writes are the same bytes
}

// Readable returns an error for what is no lease.
func (r *leaseRecord) Readable() error {
	if r.Token == 0 {
		return shingle.RecordFault("its token is missing")
	}
	return nil
}

// lease is one that this process holds.
type lease struct {
	all     *leases
	key     string
	record  leaseRecord
	version string
}

var (
	errHeld = shingle.Errorf(shingle.CodeConflict, "another process of the fleet is at work on it")
	errLost = errors.New("the lease was lost")
)

func newLeases(s *store, instance string, ttl time.Duration) *leases {
	return &leases{store: s, holder: instance, ttl: ttl, observed: map[string]observation{}}
}

func leaseKey(name string) string { return "leases/" + name }

// hold runs f under the lease with that name, and releases it. It waits for the
// lease as long as ctx lasts. The context of f ends, with the cause errLost,
// when the lease is lost. token grows from holder to holder.
func (l *leases) hold(ctx context.Context, name string, f func(ctx context.Context, token uint64) error) error {
	for {
		held, err := l.try(ctx, name)
		if err == nil {
			return l.run(ctx, held, f)
		}
		if !errors.Is(err, errHeld) {
			return fmt.Errorf("acquire lease %s: %w", name, err)
		}
		select {
		case <-time.After(l.ttl / 8):
		case <-ctx.Done():
			return &shingle.Error{Code: shingle.CodeUnavailable, Message: errHeld.Message, Err: ctx.Err()}
		}
	}
}

// try takes the lease if it is free or abandoned, and returns errHeld if it is
// not. Any other error is the store's.
func (l *leases) try(ctx context.Context, name string) (*lease, error) {
	key := leaseKey(name)
	var r leaseRecord
	version, err := l.store.get(ctx, key, &r)
	switch {
	case errors.Is(err, shingle.ErrNotFound):
		version = shingle.NoVersion
	case errors.Is(err, shingle.ErrUnreadable): // it looks like that until its holder writes it again, or nobody has it
		if !l.abandoned(key, version, time.Now()) {
			return nil, errHeld
		}
		r = leaseRecord{Token: uint64(time.Now().Unix())} // greater than any that was counted
	case err != nil:
		return nil, err
	case r.Holder != "" && r.Holder != l.holder && !l.abandoned(key, version, time.Now()):
		return nil, errHeld
	}
	held := &lease{all: l, key: key, record: leaseRecord{Token: r.Token + 1, Holder: l.holder}}
	held.version, err = l.store.put(ctx, key, held.record, version)
	if errors.Is(err, shingle.ErrConflict) {
		return nil, errHeld
	}
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.observed, key)
	return held, nil
}

// abandoned notes what another's lease looks like, and reports whether it has
// looked like that for the whole lease time.
func (l *leases) abandoned(key, version string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	o, ok := l.observed[key]
	if ok && o.version == version {
		return now.Sub(o.since) >= l.ttl
	}
	if len(l.observed) >= maxObserved {
		clear(l.observed) // who waits begins to wait anew
	}
	l.observed[key] = observation{version: version, since: now}
	return false
}

// run runs f beside the goroutine that keeps the lease.
func (l *leases) run(ctx context.Context, held *lease, f func(context.Context, uint64) error) error {
	l.running.Add(1)
	defer l.running.Add(-1)
	working, lose := context.WithCancelCause(ctx)
	token := held.record.Token // the record is the keeper's from here on
	var keeper sync.WaitGroup
	keeper.Go(func() {
		if err := held.keep(working); err != nil {
			lose(fmt.Errorf("%w: %w", errLost, err))
		}
	})
	err := f(working, token)
	lost := errors.Is(context.Cause(working), errLost)
	lose(nil)
	keeper.Wait()
	if !lost {
		held.release(context.WithoutCancel(ctx))
	}
	return err
}

// keep rewrites the lease three times a lease time until ctx ends. It returns an
// error when the lease is another's, or may be.
func (h *lease) keep(ctx context.Context) error {
	tick := time.NewTicker(h.all.ttl / 3)
	defer tick.Stop()
	kept := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		began := time.Now() // before the write: others count from when they see it
		err := h.refresh(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			kept = began
		case errors.Is(err, shingle.ErrConflict):
			return err
		case time.Since(kept) > h.all.ttl*2/3:
			return err
		}
	}
}

func (h *lease) refresh(ctx context.Context) error {
	next := h.record
	next.Beat++
	return h.write(ctx, next)
}

// release leaves the record without a holder. A release that fails costs the
// next holder the lease time.
func (h *lease) release(ctx context.Context) {
	_ = h.write(ctx, leaseRecord{Token: h.record.Token, Beat: h.record.Beat + 1})
}

// write replaces the record, which must still be ours. An earlier write of ours
// whose reply was lost is told from another holder's.
func (h *lease) write(ctx context.Context, next leaseRecord) error {
	version, err := h.all.store.put(ctx, h.key, next, h.version)
	if errors.Is(err, shingle.ErrConflict) {
		var now leaseRecord
		found, err := h.all.store.get(ctx, h.key, &now)
		if err != nil { // of one that cannot be read: it may be another's
			return err
		}
		h.version = found
		if now.Holder != h.record.Holder || now.Token != h.record.Token {
			return shingle.ErrConflict
		}
		next.Beat = max(next.Beat, now.Beat+1)
		if version, err = h.all.store.put(ctx, h.key, next, h.version); err != nil {
			return err
		}
		h.record, h.version = next, version
		return nil
	}
	if err == nil {
		h.record, h.version = next, version
	}
	return err
}
