package certs

import (
	"context"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Bounds of a calendar. What it reads is bounded by its days, however many hosts there
// are: three listings when little is planned, and 725 at most.
const (
	calendarDays = 90
	calendarLife = 5 * time.Minute // in memory
	dayCounted   = 2 * duePage     // entries of a day that are counted one by one
	daySamples   = 6               // of what a day has beyond them
	sampleSize   = 200             // entries
	daysAtOnce   = 8
)

// calendar is the last one that was made. Its place in turn is held by whoever makes the
// next.
type calendar struct {
	turn chan struct{}
	last shingle.RenewalCalendar
}

// Calendar returns what is planned for the next 90 days. It may be five minutes old.
func (m *Manager) Calendar(ctx context.Context) (shingle.RenewalCalendar, error) {
	if err := acquire(ctx, m.calendar.turn); err != nil {
		return shingle.RenewalCalendar{}, err
	}
	defer func() { <-m.calendar.turn }()
	now := m.cfg.Now().UTC().Truncate(time.Second)
	if age := now.Sub(m.calendar.last.At); age >= 0 && age < calendarLife {
		return m.calendar.last, nil
	}
	out := shingle.RenewalCalendar{At: now, Days: make([]shingle.RenewalDay, calendarDays)}
	due, more, err := m.between(ctx, time.Time{}, now.Add(time.Second), dayCounted)
	if err != nil {
		return out, err
	}
	out.Due, out.More = len(due), more
	if err := m.countDays(ctx, now, out.Days); err != nil {
		return out, err
	}
	m.calendar.last = out
	return out, nil
}

// countDays counts what is due after now: all at once when it is little, and else several
// days side by side.
func (m *Manager) countDays(ctx context.Context, now time.Time, days []shingle.RenewalDay) error {
	today, next := dayOf(now), now.Add(time.Second)
	few, more, err := m.between(ctx, next, today.AddDate(0, 0, len(days)), dayCounted)
	if err != nil {
		return err
	}
	if !more {
		sums := make([]dueCount, len(days))
		for _, i := range few {
			sums[int(i.at.Sub(today)/(24*time.Hour))].add([]item{i}, 1)
		}
		for n := range days {
			days[n] = m.renewalDay(today.AddDate(0, 0, n), sums[n])
		}
		return nil
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	places := make(chan struct{}, daysAtOnce)
	var counting sync.WaitGroup
	for n := range days {
		places <- struct{}{}
		counting.Go(func() {
			defer func() { <-places }()
			day := today.AddDate(0, 0, n)
			var err error
			if days[n], err = m.countDay(ctx, day, later(day, next)); err != nil {
				stop(err)
			}
		})
	}
	counting.Wait()
	return context.Cause(ctx)
}

// countDay counts what is due on a day, from a time on. The first of many are counted one
// by one; how many follow is told by how close they are in samples: renewals are spread over
// hours, so that the entries of one are as close as their neighbours.
func (m *Manager) countDay(ctx context.Context, day, from time.Time) (out shingle.RenewalDay, err error) {
	to := day.AddDate(0, 0, 1)
	list, more, err := m.between(ctx, from, to, dayCounted)
	if err != nil {
		return out, err
	}
	var sum dueCount
	sum.add(list, 1)
	if more {
		err = m.sample(ctx, list[len(list)-1].at.Add(time.Second), to, &sum)
	}
	out = m.renewalDay(day, sum)
	out.Estimated = more
	return out, err
}

// renewalDay is what was counted, held against what the first CA lets do in a day.
func (m *Manager) renewalDay(day time.Time, sum dueCount) shingle.RenewalDay {
	limits := m.cas[0].Limits
	return shingle.RenewalDay{
		Day: day, Renewals: int(math.Round(sum.renewals)), Orders: int(math.Round(sum.orders)), New: int(math.Round(sum.fresh)),
		Over: sum.orders+sum.fresh > limits.Orders.aDay() || sum.renewals-sum.orders > limits.Renewals.aDay(),
	}
}

// sample adds to sum an estimate of what is due from one time to another.
func (m *Manager) sample(ctx context.Context, from, to time.Time, sum *dueCount) error {
	step := to.Sub(from) / daySamples
	for n := range time.Duration(daySamples) {
		start := from.Add(n * step)
		list, more, err := m.between(ctx, start, start.Add(step), sampleSize)
		if err != nil {
			return err
		}
		weight := 1.0
		if more { // the distance to the last one is that of all but one
			covered := max(list[len(list)-1].at.Sub(start), time.Second)
			weight = max(1, float64(len(list)-1)/float64(len(list))*float64(step)/float64(covered))
		}
		sum.add(list, weight)
	}
	return nil
}

// between returns at most limit entries of the due index that are due from one time on,
// and before another. more reports whether there may be others.
func (m *Manager) between(ctx context.Context, from, to time.Time, limit int) (list []item, more bool, err error) {
	after := ""
	if !from.IsZero() {
		after = duePrefix + from.UTC().Format(dueTime)
	}
	for more = true; more && len(list) < limit; {
		var page []item
		if page, after, more, err = m.store.dueUntil(ctx, after, to.Add(-time.Second), min(duePage, limit-len(list))); err != nil {
			return nil, false, err
		}
		list = append(list, page...)
	}
	return list, more, nil
}

// Planned returns what is due on a day in UTC and after now, in the order of its time,
// behind a place in it that an earlier call returned as next, at most limit (1 to 1000).
// next is empty at the end. Without after it begins at the beginning.
func (m *Manager) Planned(ctx context.Context, day time.Time, after string, limit int) (list []shingle.PlannedRenewal, next string, err error) {
	day = dayOf(day)
	from := later(day, m.cfg.Now().Add(time.Second))
	place := duePrefix + from.UTC().Format(dueTime)
	if after != "" {
		if i, ok := parseItem(duePrefix + after); !ok || !dayOf(i.at).Equal(day) || shingle.CheckBlob(i.key, nil) != nil {
			return nil, "", &shingle.Error{Code: shingle.CodeInvalid, Field: "after", Message: "this is no place in the list of that day"}
		}
		place = max(place, duePrefix+after)
	}
	due, place, more, err := m.store.dueUntil(ctx, place, day.AddDate(0, 0, 1).Add(-time.Second), limit)
	if err != nil {
		return nil, "", err
	}
	for _, i := range due {
		list = append(list, shingle.PlannedRenewal{Host: i.host, At: i.at, New: i.class == classNew, Order: i.class != classRenewal})
	}
	if more {
		next = strings.TrimPrefix(place, duePrefix)
	}
	return list, next, nil
}

// dueCount counts entries of the due index by what they take.
type dueCount struct{ renewals, orders, fresh float64 }

// add counts each entry as so many.
func (t *dueCount) add(list []item, weight float64) {
	for _, i := range list {
		switch i.class {
		case classNew:
			t.fresh += weight
		case classPlain:
			t.orders += weight
			t.renewals += weight
		default:
			t.renewals += weight
		}
	}
}

// aDay is how many are earned in a day.
func (r Rate) aDay() float64 { return float64(24*time.Hour) / float64(r.every()) }

// dayOf is the beginning of a day in UTC.
func dayOf(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }
