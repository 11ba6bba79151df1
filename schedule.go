package shingle

import "time"

// Bounds of the time to the next check.
const (
	MinCheck = 5 * time.Second
	MaxCheck = 36 * time.Hour
)

const day = 24 * time.Hour

// paces are how often a domain is checked: after a fraction of the time for
// which nothing has changed, within bounds.
var paces = map[State]struct {
	fraction time.Duration
	min, max time.Duration
}{
	StatePending:   {8, MinCheck, time.Hour},
	StateVerifying: {8, MinCheck, time.Hour},
	StateIssuing:   {8, MinCheck, time.Hour},
	StateActive:    {8, 5 * time.Minute, time.Hour}, // with a problem; otherwise daily
	StateDrifting:  {24, time.Minute, time.Hour},
	StatePaused:    {24, 15 * time.Minute, day},
}

// next is when to check again: the host's own place in the day for a domain that
// is well, so that a fleet's checks are spread evenly, and sooner for others. It
// is zero for a blocked domain, and stays for a removed one.
func (l Lifecycle) next(s *Status, now time.Time) time.Time {
	switch {
	case s.State == StateRemoved:
		return s.Next
	case s.State == StateBlocked:
		return time.Time{}
	case s.State == StateActive && s.Who == WhoNobody:
		return daily(s.Host, now)
	}
	pace := paces[s.State]
	age := now.Sub(s.Changed)
	wait := min(max(age/pace.fraction, pace.min), pace.max)
	switch { // a customer who has not come in days will not come this minute
	case s.State != StatePending:
	case now.Sub(s.Since) > 30*day:
		wait = max(wait, day)
	case now.Sub(s.Since) > 7*day:
		wait = max(wait, 6*time.Hour)
	}
	wait += time.Duration(Share(s.Host) * float64(wait/8)) // no two hosts in step
	at := now.Add(wait)
	if end := s.DriftedAt.Add(l.grace()); s.State == StateDrifting && at.After(end) && end.Sub(now) > MinCheck {
		at = end
	}
	return at
}

// daily is the host's own time of day, at least half a day from now.
func daily(host string, now time.Time) time.Time {
	own := time.Duration(Share(host) * float64(day))
	at := now.Truncate(day).Add(own)
	for at.Sub(now) < day/2 {
		at = at.Add(day)
	}
	return at
}
