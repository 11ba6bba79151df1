package events

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

func TestLog_NewestFirstByPages(t *testing.T) {
	f := newFixture(t)
	h := f.hub()
	var want []string
	for i := range 25 {
		e := f.event(i)
		e.Host = []string{"a.customer.com", "b.customer.com"}[i%2]
		check(t, h.Record(t.Context(), e))
		check(t, h.Record(t.Context(), e)) // again, as after a lost reply
		want = append(want, e.ID)
		f.advance(time.Minute)
	}
	f.run(h)
	until(t, "logged", func() bool { return f.count(logPrefix) == 25 && f.count(outboxPrefix) == 0 })
	slices.Reverse(want)
	for host, ids := range map[string][]string{"": want, "b.customer.com": every(want[1:], 2)} {
		var got []string
		for after, more := "", true; more; more = after != "" {
			list, next, err := h.Log(t.Context(), shingle.EventFilter{Host: host}, after, 4)
			check(t, err)
			for _, e := range list {
				got = append(got, e.ID)
			}
			after = next
		}
		if !slices.Equal(got, ids) {
			t.Errorf("%q: got %q, want %q", host, got, ids)
		}
	}
	if _, _, err := h.Log(t.Context(), shingle.EventFilter{}, "no cursor", 4); !errors.Is(err, shingle.ErrInvalid) {
		t.Errorf("a bad cursor: %v", err)
	}
	f.advance(f.hub().cfg.Keep)
	_, err := h.clean(t.Context(), f.now())
	if n := f.count("events/"); err != nil || n != 0 {
		t.Errorf("%d records are left of what is too old, %v", n, err)
	}
}

// TestLog_WhatIsTooOldGoesHoweverMuchItIs has more of it than is removed at once.
func TestLog_WhatIsTooOldGoesHoweverMuchItIs(t *testing.T) {
	f := newFixture(t)
	h := f.hub()
	for i := range 9 * cleanPage { // each with an index, and a list has no more than 1000
		e := f.event(i)
		e.ID = shingle.EventID(fmt.Sprint(i))
		check(t, h.keep(t.Context(), &e))
	}
	f.advance(h.cfg.Keep)
	f.run(h)
	until(t, "removed", func() bool { return f.count("events/") == 0 })
}

func every(list []string, n int) (out []string) {
	for i := 0; i < len(list); i += n {
		out = append(out, list[i])
	}
	return out
}
