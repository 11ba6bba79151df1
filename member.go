package shingle

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Times of a [Member].
const (
	// MemberCalled is how often one reports itself that is called now and then.
	MemberCalled = time.Hour
	// MemberKept is how long one is shown that has fallen silent. A process that
	// ends as it should takes its report away.
	MemberKept = 24 * time.Hour
	// memberClock is how far the clocks of two machines may be apart without a word.
	memberClock = 30 * time.Second
)

// Member is a process of the fleet, as it last said of itself. Times are of its
// clock.
type Member struct {
	ID      string `json:"id"`   // of its data folder: the process after it there has the same
	Role    string `json:"role"` // edge, control, or serve for both in one
	Name    string `json:"name"` // the machine's
	Version string `json:"version"`
	Region  string `json:"region,omitempty"`  // where it reads the table; empty without one
	Address string `json:"address,omitempty"` // where it serves visitors over HTTPS; empty: it does not
	API     string `json:"api,omitempty"`     // where it serves the API; empty: it does not, or as a function
	// Every is how often it reports itself, at least. One that got lost, or is late, is no
	// alarm: it is silent after two and a half times as long.
	Every    time.Duration `json:"every"`
	Started  time.Time     `json:"started"`
	Reported time.Time     `json:"reported"`
	Leads    bool          `json:"leads,omitempty"`    // it does the housekeeping
	Degraded []string      `json:"degraded,omitempty"` // why it may serve what is old; empty: it does not
	Draining bool          `json:"draining,omitempty"` // it is about to end, and serves until then

	Table *MemberTable `json:"table,omitempty"` // nil: it has none
	Load  *MemberLoad  `json:"load,omitempty"`  // nil: it serves no visitors

	// Unreadable is a sentence about records of the store that it met and cannot read.
	Unreadable string `json:"unreadable,omitempty"`

	// Self says that it is the process that reads the list.
	Self bool `json:"-"`

	// MasterKeys are the IDs of those that it can use: all key files, and of KMS the
	// key that it wraps under.
	MasterKeys []string `json:"master_keys,omitempty"`
}

// Readable returns an error for what is no member.
func (m *Member) Readable() error {
	if !IsTokenID(m.ID) || m.Reported.IsZero() || m.Every <= 0 { // an ID has the same letters
		return RecordFault("its ID, or when it was written, is missing")
	}
	return nil
}

// MemberTable is the table of domains of an edge.
type MemberTable struct {
	Domains int       `json:"domains"`
	Synced  time.Time `json:"synced,omitzero"` // last in step with the store; zero: not since the start
}

// MemberLoad is what an edge has to do.
type MemberLoad struct {
	Connections    int     `json:"connections"`     // of clients, now
	MaxConnections int     `json:"max_connections"` // that it takes
	Requests       float64 `json:"requests"`        // a second, since the report before
	Errors         float64 `json:"errors"`          // answers of 5xx among them, a second
}

// MemberState is how a member is.
type MemberState string

// The states of a member.
const (
	MemberAlive    MemberState = "alive"
	MemberDegraded MemberState = "degraded" // it serves, by what may be old
	MemberDraining MemberState = "draining" // it is about to end, and serves until then
	MemberSilent   MemberState = "silent"   // killed, or cut off from the store, or its machine is gone
)

// Silent reports whether the member should have been heard of.
func (m *Member) Silent(now time.Time) bool { return now.Sub(m.Reported) > m.Every*5/2 }

// State returns how the member is at now.
func (m *Member) State(now time.Time) MemberState {
	switch {
	case m.Silent(now):
		return MemberSilent
	case m.Draining:
		return MemberDraining
	case len(m.Degraded) > 0:
		return MemberDegraded
	}
	return MemberAlive
}

// Attention returns what an operator should look at, a sentence each: version is that
// of the process that looks, masterKey the one under which new data keys are wrapped;
// empty ones are not compared.
func (m *Member) Attention(now time.Time, version, masterKey string) (list []string) {
	ago := now.Sub(m.Reported)
	if m.Silent(now) {
		list = append(list, fmt.Sprintf("it has not reported for %s: it was killed, its machine is gone, or it cannot reach the store", ago.Round(time.Second)))
	}
	if ago < -memberClock {
		list = append(list, fmt.Sprintf("its clock is %s ahead of the clock here", (-ago).Round(time.Second)))
	}
	list = append(list, m.Degraded...)
	if m.Unreadable != "" {
		list = append(list, m.Unreadable)
	}
	if version != "" && m.Version != version {
		list = append(list, fmt.Sprintf("it runs version %s, and the process that answers %s", m.Version, version))
	}
	if !m.Self && !m.Opens(masterKey) { // what it said of itself a minute ago is not compared with what it says now
		list = append(list, "it cannot use the master key "+masterKey+", under which new data keys are wrapped")
	}
	return list
}

// Lacks reports whether the member is alive, another than the process that reads the
// list, and cannot use a master key.
func (m *Member) Lacks(masterKey string, now time.Time) bool {
	return !m.Self && !m.Silent(now) && !m.Opens(masterKey)
}

// Opens reports whether the member can use a master key; of an empty ID, that it can. A multi-region
// key of KMS is one key, whichever region's it is called.
func (m *Member) Opens(masterKey string) bool {
	return masterKey == "" || slices.ContainsFunc(m.MasterKeys, func(id string) bool {
		return id == masterKey || multiRegion(id) != "" && multiRegion(id) == multiRegion(masterKey)
	})
}

// multiRegion returns account and ID of a multi-region key of KMS; empty for others.
func multiRegion(id string) string {
	part := strings.SplitN(id, ":", 6) // arn:aws:kms:REGION:ACCOUNT:key/mrk-…
	if len(part) < 6 || part[2] != "kms" || !strings.HasPrefix(part[5], "key/mrk-") {
		return ""
	}
	return part[4] + part[5]
}
