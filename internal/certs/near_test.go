package certs

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// late is a replica that has what its source had at the last sync.
type late struct {
	source *memory.Store
	has    map[string]shingle.Blob
}

// Get asks the source about what the replica does not have.
func (l *late) Get(ctx context.Context, key string) (shingle.Blob, error) {
	if b, ok := l.has[key]; ok {
		return b, nil
	}
	return l.source.Get(ctx, key)
}

func (l *late) sync(t *testing.T) {
	t.Helper()
	keys, err := l.source.List(t.Context(), "", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	l.has = map[string]shingle.Blob{}
	for _, key := range keys {
		if l.has[key], err = l.source.Get(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNear_ServesWithoutHome has a process without local copies start and serve
// while only the replica answers.
func TestNear_ServesWithoutHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newCopyFleet(t)
		other := f.other()
		other.issue(f, seenHost)
		time.Sleep(15 * time.Minute) // the session ticket key seals
		leaf := other.served(f, seenHost)
		f.near = &late{source: f.rows}
		f.near.sync(t)
		f.near.source = &memory.Store{} // home is away, and what is nowhere else is nowhere

		f.blobs.Inject(func(context.Context, string, string, func() error) error { return errAway })
		edge := f.start(f.blobs, nil)
		time.Sleep(time.Minute)
		if got := edge.served(f, seenHost); !bytes.Equal(got, leaf) {
			t.Error("another certificate is served")
		}
		if k, o := edge.tickets.Load(), other.tickets.Load(); k == nil || (*k)[0] != (*o)[0] {
			t.Error("sessions of other edges are not resumed")
		}
		if why := edge.Degraded(); !strings.HasPrefix(why, "the home region of the certificate store has not answered since 2000-01-01T") {
			t.Errorf("degraded: %q", why)
		}
		f.blobs.Inject(nil)
		time.Sleep(time.Minute)
		if why := edge.Degraded(); why != "" {
			t.Errorf("degraded: %q", why)
		}
	})
}

// TestNear_NewsComesBeforeTheCertificate renews certificates of which the replica
// has the old ones for long.
func TestNear_NewsComesBeforeTheCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newCopyFleet(t)
		f.near = &late{source: f.rows}
		other := f.other()
		other.issue(f, seenHost)
		other.issue(f, toldHost)
		time.Sleep(time.Minute)
		f.near.sync(t)
		edge := f.start(f.blobs, nil)
		time.Sleep(time.Minute)
		old := edge.served(f, seenHost)
		other.issue(f, seenHost)
		other.issue(f, toldHost)
		time.Sleep(time.Minute)
		edge.served(f, seenHost) // has it read again
		time.Sleep(time.Second)
		if bytes.Equal(edge.served(f, seenHost), old) {
			t.Error("the old certificate is served from memory")
		}
		fresh, err := other.Certificate(t.Context(), toldHost)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(edge.served(f, toldHost), fresh.Certificate[0]) {
			t.Error("the old certificate is served from the replica")
		}
	})
}
