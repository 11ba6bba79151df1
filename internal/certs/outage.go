package certs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// probeEvery is how often a store that fails is tried by those who have a local
// copy to do with.
const probeEvery = time.Second

// outage knows since when the store fails.
type outage struct {
	mu    sync.Mutex
	since time.Time // zero: it answers
	next  time.Time // when somebody is to try again
}

// note takes in how an operation on the store ended.
func (o *outage) note(answered bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case answered:
		o.since, o.next = time.Time{}, time.Time{}
	case o.since.IsZero():
		o.since = time.Now()
		o.next = o.since.Add(probeEvery)
	}
}

// noteRead takes in how a read ended, unless its caller did not wait.
func (o *outage) noteRead(ctx context.Context, err error) {
	if answered := err == nil || errors.Is(err, shingle.ErrNotFound); answered || ctx.Err() == nil {
		o.note(answered)
	}
}

// avoid reports whether the caller is to do without the store: while it fails
// all are, but one each probeEvery.
func (o *outage) avoid() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.since.IsZero() {
		return false
	}
	if now.Before(o.next) {
		return true
	}
	o.next = now.Add(probeEvery)
	return false
}

// begin returns since when the store fails; zero: it answers.
func (o *outage) begin() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.since
}

// Degraded returns why certificates may be older than they need be, or not be served
// at all. It is empty while the store answers and every master key that is needed
// is there.
func (m *Manager) Degraded() string {
	if since := m.store.outage.begin(); !since.IsZero() {
		return fmt.Sprintf("the certificate store has not answered since %s; what is in memory or in the local copy is served", since.UTC().Format(time.RFC3339))
	}
	if since := m.store.away.begin(); !since.IsZero() {
		return fmt.Sprintf("the home region of the certificate store has not answered since %s; what the replica here has is served", since.UTC().Format(time.RFC3339))
	}
	return *m.keyTrouble.Load()
}
