package certs

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestNews_NoneIsTooMany makes more news within two hours than a follower remembers, as
// when very many domains are deleted at once: what comes then is heard all the same, and
// each once.
func TestNews_NoneIsTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, []*simCA{newSimCA(t, "ca")}, nil)
		defer s.close()
		other := s.process(nil)
		for i := range maxNews + 2*duePage {
			s.check(s.m.store.announce(t.Context(), simHostName(i), time.Now()))
		}
		var seen []string
		read := func() {
			next, err := other.follow(t.Context(), time.Now().Add(-newsSpan), seen)
			s.check(err)
			seen = next
		}
		read()
		if len(seen) > maxNews {
			t.Errorf("%d are remembered", len(seen))
		}
		e := fakeEntry(time.Now(), 90*day)
		other.cache.put(testHost, e)
		time.Sleep(time.Minute)
		s.check(s.m.store.announce(t.Context(), testHost, time.Now()))
		read()
		if !e.stale.Swap(false) {
			t.Error("the news was not heard")
		}
		read()
		if e.stale.Load() {
			t.Error("the news was heard twice")
		}
	})
}
