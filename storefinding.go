package shingle

import (
	"fmt"
	"time"
)

// StoreFinding is what an inspection of a store found out about one thing.
type StoreFinding struct {
	Check    string   // what was looked at, such as "encryption at rest"
	Severity Severity // how it is
	Message  string   // what was found, without a trailing full stop
	Do       string   // what the operator does about it; empty: nothing
}

// Severity says how bad a [StoreFinding] is.
type Severity string

// The severities.
const (
	SeverityOK      Severity = "ok"
	SeverityUnknown Severity = "unknown" // it could not be looked at, and nothing that runs needs it
	SeverityWarning Severity = "warning" // it works, and should be better
	SeverityFailed  Severity = "failed"  // it does not work
)

// Bounds of a wrong clock. AWS refuses requests that are off by more than some
// minutes, and what is due is judged by the clock.
const (
	clockWarning = 5 * time.Second
	clockFailure = 5 * time.Minute
)

// ClockFinding compares our clock with the Date header, of whole seconds, with
// which a server answered a request. A zero server time is one that it did not tell.
func ClockFinding(asked, answered, server time.Time) StoreFinding {
	f := StoreFinding{Check: "clock", Severity: SeverityOK}
	if server.IsZero() {
		f.Severity, f.Message = SeverityUnknown, "the server tells no time"
		return f
	}
	ours := asked.Add(answered.Sub(asked) / 2)
	skew := ours.Sub(server.Add(500 * time.Millisecond))
	doubt := 500*time.Millisecond + answered.Sub(asked)/2
	if skew.Abs() <= doubt {
		f.Message = "agrees with the server's, as far as a second can tell"
		return f
	}
	way := "ahead of"
	if skew < 0 {
		way = "behind"
	}
	f.Message = fmt.Sprintf("%s %s the server's", skew.Abs().Round(100*time.Millisecond), way)
	switch {
	case skew.Abs() >= clockFailure:
		f.Severity = SeverityFailed
	case skew.Abs() >= clockWarning:
		f.Severity = SeverityWarning
	}
	if f.Severity != SeverityOK {
		f.Do = "set this machine's clock by NTP: timedatectl set-ntp true"
	}
	return f
}
