package certs

import (
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// maxRefusals bounds the hosts whose refusal is remembered, evictionSpan those
// that are looked at to find one that can go.
const (
	maxRefusals  = 10_000
	evictionSpan = 8
)

// refusals remembers the hosts whose last issuance failed, so that repeated
// handshakes cause neither orders nor reads of the store. The plan in the store
// has the same for the fleet.
type refusals struct {
	mu   sync.Mutex
	list map[string]refusal
}

type refusal struct {
	until  time.Time // no attempt before
	why    *shingle.CertificateFailure
	looked time.Time // when the store last had nothing
}

func newRefusals() *refusals { return &refusals{list: map[string]refusal{}} }

// check returns nil when host may be tried at now, and else the last failure
// with the time of the next attempt.
func (r *refusals) check(host string, now time.Time) error {
	why, until := r.get(host)
	return refusal{until: until, why: why}.check(now)
}

func (f refusal) check(now time.Time) error {
	if f.why == nil || !now.Before(f.until) {
		return nil
	}
	return shingle.Errorf(f.why.Code, "%s; the next attempt is after %s", f.why.Message, f.until.UTC().Format(time.RFC3339))
}

// recent is check for a host about which the store was asked a moment ago.
func (r *refusals) recent(host string, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.list[host]
	if now.Sub(f.looked) >= refusalLookEvery {
		return nil
	}
	return f.check(now)
}

// look is check for a host that the store has nothing for at now.
func (r *refusals) look(host string, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, ok := r.list[host]
	if f.looked = now; ok {
		r.list[host] = f
	}
	return f.check(now)
}

// get returns the last failure, or nil.
func (r *refusals) get(host string) (why *shingle.CertificateFailure, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.list[host]
	return f.why, f.until
}

func (r *refusals) put(host string, until time.Time, why *shingle.CertificateFailure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.list[host]; !ok && len(r.list) >= maxRefusals {
		r.evict()
	}
	r.list[host] = refusal{until: until, why: why}
}

func (r *refusals) clear(host string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.list, host)
}

// evict forgets, of a few hosts, the one whose next attempt is nearest.
func (r *refusals) evict() {
	var victim string
	looked := 0
	for host, f := range r.list {
		if looked == 0 || f.until.Before(r.list[victim].until) {
			victim = host
		}
		if looked++; looked == evictionSpan {
			break
		}
	}
	delete(r.list, victim)
}
