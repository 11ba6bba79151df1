package shingle

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
