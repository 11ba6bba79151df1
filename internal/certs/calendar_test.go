package certs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// calendarOf is a Manager that does not work by itself, at a time.
func calendarOf(t *testing.T, now time.Time) *indexed {
	x := newIndexed(t)
	x.cfg.Now = func() time.Time { return now }
	return x
}

func (x *indexed) plan(n int, c class, at time.Time) {
	x.t.Helper()
	key := fmt.Sprintf("%s%s/%c%08x/h%06d.example.com/1", duePrefix, at.UTC().Format(dueTime), c, n, n)
	_, err := x.blobs.Blobs.Put(x.t.Context(), key, nil, shingle.NoVersion)
	x.check(err)
}

// lists counts listings of the due index.
func (x *indexed) lists(n *atomic.Int32) {
	x.blobs.Inject(storetest.On("List", func(_ context.Context, _, _ string, call func() error) error {
		n.Add(1)
		return call()
	}))
}

func TestCalendar_FewAreCountedByDay(t *testing.T) {
	now := time.Date(2026, 11, 25, 15, 0, 0, 0, time.UTC)
	x := calendarOf(t, now)
	for n, e := range []struct {
		class class
		at    time.Duration
	}{
		{classRenewal, -48 * time.Hour}, {classNew, 0}, // due
		{classRenewal, time.Second}, {classNew, 9*time.Hour - time.Second}, // today
		{classPlain, 9 * time.Hour}, {classRenewal, 30 * time.Hour}, // tomorrow
		{classRenewal, 89*24*time.Hour + 9*time.Hour - time.Second}, // the last day
		{classRenewal, 89*24*time.Hour + 9*time.Hour},               // too late
	} {
		x.plan(n, e.class, now.Add(e.at))
	}
	var lists atomic.Int32
	x.lists(&lists)
	c, err := x.Calendar(t.Context())
	x.check(err)
	if lists.Load() > 3 {
		t.Errorf("%d listings of the store", lists.Load())
	}
	if c.Due != 2 || c.More || len(c.Days) != 90 || !c.At.Equal(now) {
		t.Errorf("due %d, more %t, %d days, at %s", c.Due, c.More, len(c.Days), c.At)
	}
	day := func(n int) time.Time { return time.Date(2026, 11, 25+n, 0, 0, 0, 0, time.UTC) }
	for n, want := range map[int]shingle.RenewalDay{
		0: {Day: day(0), Renewals: 1, New: 1}, 1: {Day: day(1), Renewals: 2, Orders: 1}, 2: {Day: day(2)}, 89: {Day: day(89), Renewals: 1},
	} {
		if c.Days[n] != want {
			t.Errorf("day %d: %+v, want %+v", n, c.Days[n], want)
		}
	}

	// It is kept for five minutes.
	x.plan(100, classRenewal, now.Add(time.Hour))
	if c, err = x.Calendar(t.Context()); err != nil || c.Due != 2 || c.Days[0].Renewals != 1 {
		t.Errorf("counted again at once: %d due, %+v, %v", c.Due, c.Days[0], err)
	}
	x.cfg.Now = func() time.Time { return now.Add(5 * time.Minute) }
	if c, err = x.Calendar(t.Context()); err != nil || c.Due != 3 || c.Days[0].Renewals != 1 {
		t.Errorf("not counted again: %d due, %+v, %v", c.Due, c.Days[0], err)
	}
}

// TestCalendar_ManyAreEstimated plans what no calendar counts one by one. What is said to
// be exact is, and the rest is not far off, at a bounded cost.
func TestCalendar_ManyAreEstimated(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	x := calendarOf(t, now)
	chance := rand.New(rand.NewPCG(1, 2))
	truth := map[int]int{0: 3_000, 3: 2_000, 5: 40_000, 6: 1_500} // of days
	n := 0
	for day, count := range truth {
		from, long := dayOf(now).AddDate(0, 0, day), 24*time.Hour
		if day == 0 {
			from, long = now.Add(time.Second), 12*time.Hour-time.Second
		}
		for range count {
			c := classRenewal
			if n%4 == 0 {
				c = classPlain
			}
			x.plan(n, c, from.Add(time.Duration(chance.Int64N(int64(long)))))
			n++
		}
	}
	var lists atomic.Int32
	x.lists(&lists)
	c, err := x.Calendar(t.Context())
	x.check(err)
	if lists.Load() > 725 {
		t.Errorf("%d listings of the store", lists.Load())
	}
	for day, is := range c.Days {
		count := truth[day]
		off := math.Abs(float64(is.Renewals-count)) / float64(max(count, 1))
		t.Logf("%s: %d of %d", is.Day.Format("2 Jan"), is.Renewals, count)
		switch {
		case is.Estimated != (count >= dayCounted):
			t.Errorf("day %d with %d: estimated is %t", day, count, is.Estimated)
		case !is.Estimated && is.Renewals != count:
			t.Errorf("day %d with %d: exactly %d", day, count, is.Renewals)
		case off > 0.1, is.Estimated && math.Abs(float64(is.Orders)/float64(is.Renewals)-0.25) > 0.05:
			t.Errorf("day %d with %d: about %d, of them %d orders", day, count, is.Renewals, is.Orders)
		case is.Over != (count == 40_000): // of them 10,000 orders, where 2,400 a day are allowed
			t.Errorf("day %d with %d: over is %t", day, count, is.Over)
		}
	}
}

func TestCalendar_WaitsForNoStore(t *testing.T) {
	x := calendarOf(t, time.Now())
	for n := range dayCounted + 1 {
		x.plan(n, classRenewal, x.cfg.Now().Add(48*time.Hour))
	}
	for _, well := range []int32{0, 1, 3, 20} { // listings before the store is out of order
		var lists atomic.Int32
		x.blobs.Inject(storetest.On("List", func(_ context.Context, _, _ string, call func() error) error {
			if lists.Add(1) > well {
				return errors.New("out of order")
			}
			return call()
		}))
		if _, err := x.Calendar(t.Context()); !errors.Is(err, shingle.ErrUnavailable) {
			t.Errorf("a store that does not answer after %d listings: %v", well, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	x.calendar.turn <- struct{}{}
	if _, err := x.Calendar(ctx); !errors.Is(err, shingle.ErrUnavailable) {
		t.Errorf("another counts: %v", err)
	}
}

func TestPlanned_PagesOfADay(t *testing.T) {
	now := time.Date(2026, 11, 25, 15, 0, 0, 0, time.UTC)
	x := calendarOf(t, now)
	x.plan(0, classRenewal, now.Add(-time.Hour))
	x.plan(1, classNew, now.Add(time.Second))
	for n := 2; n < 7; n++ {
		x.plan(n, classRenewal, now.Add(9*time.Hour).Add(time.Duration(n-2)*time.Hour))
	}
	x.plan(7, classPlain, now.Add(33*time.Hour-time.Second))
	x.plan(8, classRenewal, now.Add(33*time.Hour))
	read := func(day time.Time, limit int) (hosts string) {
		t.Helper()
		for after, pages := "", 0; pages == 0 || after != ""; pages++ {
			list, next, err := x.Planned(t.Context(), day, after, limit)
			x.check(err)
			for _, p := range list {
				hosts += fmt.Sprintf(" %s %s %t %t", p.Host[6:7], p.At.Format("02T15"), p.New, p.Order)
			}
			after = next
		}
		return strings.TrimSpace(hosts)
	}
	if got := read(now, 1); got != "1 25T15 true true" {
		t.Errorf("today has %q", got)
	}
	want := "2 26T00 false false 3 26T01 false false 4 26T02 false false 5 26T03 false false 6 26T04 false false 7 26T23 false true"
	for _, limit := range []int{1, 2, 6, 100} {
		if got := read(now.AddDate(0, 0, 1), limit); got != want {
			t.Errorf("tomorrow has, by %d, %q", limit, got)
		}
	}
	for _, after := range []string{"nonsense", "20261128T000000/r00000001/a.example.com/1", "20261126T000000/r00000001/a b/1", "20261126T000000/r00000001/a/1/2"} {
		if _, _, err := x.Planned(t.Context(), now.AddDate(0, 0, 1), after, 10); !errors.Is(err, shingle.ErrInvalid) {
			t.Errorf("after %q: %v", after, err)
		}
	}
}
