package shingle

import "time"

// Rewrap says what is to be done about the keys that seal what is secret in a
// store. The zero value has every data key wrapped under the current master key;
// what the data keys seal stays as it is.
type Rewrap struct {
	// Deep seals every value anew, under data keys made from now on: for when a
	// data key may have become known. A Deep rewrap that was broken off is gone on
	// with.
	Deep bool
	// Lost is the ID of a master key or data key that nobody has any more. What
	// only that opens is dropped, and comes anew where that is possible.
	Lost string
	// DryRun changes nothing, and counts what would be changed.
	DryRun bool
	// After is Next of the page before.
	After string
}

// RewrapPage is what was done in one step of a rewrap.
type RewrapPage struct {
	Next    string         // for the next step; empty: this was the last
	Wait    time.Duration  // before it, until every process has heard of the new data key
	Looked  int            // records that were looked at
	Changed map[string]int // records that were, or would be, changed, by their kind
	// Failed are records that could not be opened, and Failures the first of them.
	Failed   int
	Failures []RewrapFailure
}

// RewrapFailure is a record that could not be opened.
type RewrapFailure struct {
	Record  string
	Message string
}

// MasterKeyUse is what a master key is needed for.
type MasterKeyUse struct {
	ID       string
	Current  bool   // new data keys are wrapped under it
	DataKeys int    // wrapped under it; when there are none it can be removed
	Problem  string // why it cannot be used here; empty: it can
}
