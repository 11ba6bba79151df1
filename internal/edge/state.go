package edge

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// State is how well an edge knows the domains.
type State struct {
	Domains int // in the table

	// Synced is when the table was last in step with the store. Zero: not since
	// the start.
	Synced time.Time
	// Snapshot is when the snapshot was written from which the edge started.
	// Zero: it did not.
	Snapshot time.Time
	// FailingSince is when the store began to fail. Zero: it does not.
	FailingSince time.Time
}

// staleAfter is how long a table may be behind the store without a word. A store
// that hangs is noticed by it.
const staleAfter = 15 * time.Second

// Degraded returns why the edge, although it serves, may serve an old picture of
// the domains. It is empty when it does not.
func (s State) Degraded(now time.Time) string {
	known, of := s.Synced, "the store was read"
	if known.IsZero() {
		known, of = s.Snapshot, "the snapshot was written"
	}
	switch {
	case known.IsZero():
		return "the domain table is not loaded yet"
	case !s.FailingSince.IsZero():
		return fmt.Sprintf("the domain store has not answered since %s; the table is %s old, from when %s",
			s.FailingSince.UTC().Format(time.RFC3339), now.Sub(known).Round(time.Second), of)
	case now.Sub(known) > staleAfter:
		return fmt.Sprintf("the domain table is %s old, from when %s", now.Sub(known).Round(time.Second), of)
	}
	return ""
}

// State returns how well the edge knows the domains.
func (e *Edge) State() State {
	s := e.sites.state.get()
	s.Domains = int(e.table.count.Load())
	return s
}

// Load is what an edge has to do, and has done since it began.
type Load struct {
	Connections, MaxConnections int // of clients over HTTPS, now; the most are those over TCP
	Requests, Errors            uint64
}

// Load returns what the edge has to do. Errors are the answers of 5xx.
func (e *Edge) Load() Load {
	l := Load{Connections: max(0, len(e.https.slots)-1), MaxConnections: cap(e.https.slots)} // one is for the next
	for _, engine := range []*engine{e.secure, e.plain} {
		for protocol := range engine.classes {
			l.add(engine.classes[protocol][:])
		}
	}
	if e.quic != nil {
		l.Connections += len(e.quic.slots)
		l.add(e.quic.classes[:])
	}
	return l
}

// add counts answers by their classes.
func (l *Load) add(classes []atomic.Uint64) {
	for class := range classes {
		n := classes[class].Load()
		l.Requests += n
		if requestClasses[class] == "5xx" {
			l.Errors += n
		}
	}
}

// Degraded returns why visitors may be served what is old: a sentence for each
// part that is cut off.
func (e *Edge) Degraded() []string {
	var list []string
	for _, why := range []string{e.State().Degraded(time.Now()), e.cfg.Certificates.Degraded()} {
		if why != "" {
			list = append(list, why)
		}
	}
	return list
}

// followed is the State without the table.
type followed struct {
	mu sync.Mutex
	is State
}

func (f *followed) get() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.is
}

// note takes in how a step of the follower ended. It reports whether it ended otherwise
// than the one before, as the first one does.
func (f *followed) note(err error, now time.Time) (changed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		changed = f.is.Synced.IsZero() || !f.is.FailingSince.IsZero()
		f.is.Synced, f.is.FailingSince = now, time.Time{}
		return changed
	}
	if changed = f.is.FailingSince.IsZero(); changed {
		f.is.FailingSince = now
	}
	return changed
}

// restored takes in that the table is that of a snapshot.
func (f *followed) restored(written time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.is.Snapshot = written
}
