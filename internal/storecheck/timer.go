package storecheck

import (
	"fmt"
	"slices"
	"time"
)

// timer times calls.
type timer struct{ all []time.Duration } // in order of length

// time times one that succeeds.
func (t *timer) time(call func() error) error {
	began := time.Now()
	if err := call(); err != nil {
		return err
	}
	t.all = append(t.all, time.Since(began))
	slices.Sort(t.all)
	return nil
}

// String says how long the calls took.
func (t *timer) String() string {
	n := len(t.all)
	return fmt.Sprintf("%d calls of %s to %s, median %s", n, short(t.all[0]), short(t.all[n-1]), short(t.all[n/2]))
}

func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
