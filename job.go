package shingle

import "time"

// Bounds of jobs.
const (
	MaxJobLines = 10_000             // of one job
	MaxJobLine  = 64 << 10           // bytes
	JobKept     = 7 * 24 * time.Hour // after its end
)

// JobKind is what a job does to each of its domains.
type JobKind string

// The kinds of jobs.
const (
	JobCreate JobKind = "create"
	JobDelete JobKind = "delete"
)

// JobState is how far a job is.
type JobState string

// The states of a job. The last three are ends.
const (
	JobWaiting  JobState = "waiting"
	JobRunning  JobState = "running"
	JobDone     JobState = "done"     // every line was looked at; some may have failed
	JobCanceled JobState = "canceled" // by somebody, or because its token was revoked
	JobFailed   JobState = "failed"   // what was to be done is no longer in the store
)

// JobFilter says which domains a job deletes. What is empty does not count.
type JobFilter struct {
	Tenant string `json:"tenant,omitempty"`
	Tag    string `json:"tag,omitempty"`
	Text   string `json:"text,omitempty"`   // in the host
	Paused *bool  `json:"paused,omitempty"` // those that the operator has paused, or others
}

// Job is work on many domains, done by whoever leads the fleet.
type Job struct {
	ID     string     `json:"id"` // sorts the newest first
	Kind   JobKind    `json:"kind"`
	State  JobState   `json:"state"`
	By     string     `json:"by"`               // name of the token that it is done with the rights of
	Token  string     `json:"token,omitempty"`  // ID of that token; empty: of a version before
	Tenant string     `json:"tenant,omitempty"` // that its token is limited to; empty: none
	Filter *JobFilter `json:"filter,omitempty"` // of a deletion; nil: it has a list
	Revoke bool       `json:"revoke,omitempty"` // of a deletion: have the CA revoke the certificates, too
	Cancel bool       `json:"cancel,omitempty"` // it is to end

	Total     int       `json:"total"` // lines; of a filter, what was found until now
	Done      int       `json:"done"`  // lines that were looked at
	Changed   int       `json:"changed"`
	Unchanged int       `json:"unchanged"` // were as they should be before, or are not the job's to change
	Failed    int       `json:"failed"`
	Problem   string    `json:"problem,omitempty"` // why it cannot go on now, or never will
	CreatedAt time.Time `json:"created_at"`
	StartedAt time.Time `json:"started_at,omitzero"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
}

// Ended reports whether nothing is done any more.
func (j *Job) Ended() bool {
	return j.State == JobDone || j.State == JobCanceled || j.State == JobFailed
}

// JobResult is what became of a line of a job.
type JobResult string

// The results of a line.
const (
	JobLineCreated  JobResult = "created"
	JobLineDeleted  JobResult = "deleted"
	JobLineExists   JobResult = "exists"    // nothing was to be created
	JobLineNotFound JobResult = "not_found" // nothing was to be deleted
	JobLineNewer    JobResult = "newer"     // it was added after the job: it stays
	JobLineFailed   JobResult = "failed"
)

// JobLine is what became of a line.
type JobLine struct {
	Line    int       `json:"line"` // from 1
	Host    string    `json:"host"` // as it was sent
	Result  JobResult `json:"result"`
	Code    Code      `json:"code,omitempty"` // of what failed
	Message string    `json:"message,omitempty"`
}
