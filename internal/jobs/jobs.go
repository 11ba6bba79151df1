// Package jobs does work on many domains: a list or a filter, a part at a time, under the
// housekeeping's lease.
//
// A part is done, its report is written, and the job moves on; each step can be repeated.
// Whoever goes on where another died does the part again that may have been begun, knowing
// that: what it finds done is then the job's own doing.
//
// Records in the store:
//
//	jobqueue/ID           a job that has not ended, or not been set up to its end
//	jobs/ID               a job and how far it is; IDs sort the newest first
//	joblines/ID/PART      what is to be done
//	jobreports/ID/PART    what became of it
package jobs

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

const (
	queuePrefix  = "jobqueue/"
	jobPrefix    = "jobs/"
	linesPrefix  = "joblines/"
	reportPrefix = "jobreports/"
)

// Bounds.
const (
	maxUnended   = 20  // jobs at once
	maxOfTenant  = 2   // of them of one tenant's token
	maxJobs      = 200 // kept
	partLines    = 50
	partBytes    = 128 << 10
	maxHost      = 253              // bytes of a host in a report
	maxMessage   = 500              // bytes
	sideBySide   = 8                // lines of a part
	attempts     = 8                // of a write that meets others
	setUp        = 10 * time.Minute // in which a job is written, or it never was
	forgetTime   = 3 * time.Second  // for giving up what was not
	sweepEvery   = time.Hour
	pauseOnError = 5 * time.Second
)

// Worker does what jobs are about, by the rules of the API.
type Worker interface {
	// Do does a line of j. doubt says that it may have been done before, by this job.
	// An error is not the line's: it is repeated.
	Do(ctx context.Context, j *shingle.Job, line json.RawMessage, doubt bool) (shingle.JobLine, error)
	// Find returns hosts that j's filter is about and that sort after `after`, at most
	// limit, and the host behind which there may be more; empty at the end.
	Find(ctx context.Context, j *shingle.Job, after string, limit int) (hosts []string, next string, err error)
}

// Config is what a [Hub] is made of. Blobs and Worker are required.
type Config struct {
	Blobs  shingle.Blobs // the whole fleet shares it
	Worker Worker
	// Revoked, when set, reports whether the token with that ID was revoked: its jobs end.
	// One that has expired was not, nor was one whose owner has signed out.
	Revoked func(ctx context.Context, id string) (bool, error)
	// Events, when set, hears of the ends of jobs.
	Events shingle.Events
	// Poll is how often the leader looks for jobs that other processes took. Default: 10 s.
	Poll time.Duration
	// PerSecond is how many lines of all jobs together are done. Default: 100, which leaves
	// a table, and those who wait for a domain, what they need.
	PerSecond  int
	Unreadable *shingle.Unreadable // told of records that cannot be read; nil: nobody is
	Logger     *slog.Logger        // nil: none
	Now        func() time.Time
}

// Hub is the jobs of a fleet.
type Hub struct {
	cfg     Config
	records *records.Store
	log     *slog.Logger
	pace    *rate.Limiter
	wake    chan struct{}
	// fresh has the part of each job that certainly nobody has begun.
	fresh map[string]int
}

// New returns the jobs in cfg.Blobs.
func New(cfg Config) *Hub {
	cfg.Poll, cfg.PerSecond = cmp.Or(cfg.Poll, 10*time.Second), cmp.Or(cfg.PerSecond, 100)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Hub{
		cfg: cfg, records: records.New(cfg.Blobs, cfg.Unreadable), log: cfg.Logger, wake: make(chan struct{}, 1),
		pace: rate.NewLimiter(rate.Limit(cfg.PerSecond), max(cfg.PerSecond, partLines)),
	}
}

// record is a job as it is stored.
type record struct {
	shingle.Job
	Part  int    `json:"part"`            // the next one
	Parts int    `json:"parts"`           // of a list
	After string `json:"after,omitempty"` // of a filter: the host behind which it goes on
	Last  bool   `json:"last,omitempty"`  // of a filter: there is no further part
}

// Readable returns an error for what is no job.
func (r *record) Readable() error {
	if r.ID == "" || !slices.Contains([]shingle.JobState{shingle.JobWaiting, shingle.JobRunning, shingle.JobDone, shingle.JobCanceled, shingle.JobFailed}, r.State) {
		return shingle.RecordFault("its ID is missing, or its state is none that this version knows")
	}
	return nil
}

// part is what is to be done at once.
type part struct {
	First int               `json:"first"` // number of the first line
	Lines []json.RawMessage `json:"lines"`
	Next  string            `json:"next,omitempty"` // of a filter
}

// CreateJob takes a job over whose Kind, By, Token, Tenant, Filter and Revoke are set. It returns
// [shingle.ErrLimited] when too many wait.
func (h *Hub) CreateJob(ctx context.Context, j shingle.Job, lines []json.RawMessage) (shingle.Job, error) {
	if err := h.room(ctx, j.Tenant, ""); err != nil {
		return j, err
	}
	j.CreatedAt, j.State, j.Total = h.cfg.Now().UTC().Truncate(time.Microsecond), shingle.JobWaiting, len(lines)
	j.ID = newID(j.CreatedAt)
	r := record{Job: j}
	if err := h.records.Create(ctx, queuePrefix+j.ID, queued{j.Tenant}); err != nil {
		return j, err
	}
	err := h.room(ctx, j.Tenant, j.ID) // of those who come at once, no more than there is room for
	if err == nil {
		r.Parts, err = h.writeParts(ctx, j.ID, lines)
	}
	if err != nil {
		h.forget(ctx, j.ID)
		return j, err
	}
	if err := h.records.Create(ctx, jobPrefix+j.ID, r); err != nil {
		return j, err // it may be there all the same
	}
	h.nudge()
	return j, nil
}

// writeParts writes what is to be done, and returns in how many parts.
func (h *Hub) writeParts(ctx context.Context, id string, lines []json.RawMessage) (parts int, err error) {
	for first := 0; first < len(lines); parts++ {
		n := partLength(lines[first:])
		if err := h.records.Create(ctx, partKey(linesPrefix, id, parts), part{First: first + 1, Lines: lines[first : first+n]}); err != nil {
			return parts, err
		}
		first += n
	}
	return parts, nil
}

// forget gives the place of a job up that was not set up to its end, also when whoever
// asked for it has gone. What that leaves is removed later.
func (h *Hub) forget(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forgetTime)
	defer cancel()
	if err := h.remove(ctx, id); err != nil {
		h.log.Warn("place of a job not given up yet", "job", id, "error", err)
	}
}

// queued is a job's place in the queue, which it has before its own record.
type queued struct {
	Tenant string `json:"tenant,omitempty"`
}

// room returns [shingle.ErrLimited] when no job can be taken besides those that there
// are, but for the one with the ID own.
func (h *Hub) room(ctx context.Context, tenant, own string) error {
	ids, err := h.unended(ctx)
	if err != nil {
		return err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return id == own })
	if len(ids) >= maxUnended {
		return shingle.Errorf(shingle.CodeLimited, "%d jobs wait or run already: try again when one has ended", len(ids))
	}
	theirs := 0
	for _, id := range ids {
		if tenant == "" {
			break
		}
		var q queued
		_, err := h.records.Get(ctx, queuePrefix+id, &q)
		if err != nil && !errors.Is(err, shingle.ErrNotFound) && !errors.Is(err, shingle.ErrUnreadable) {
			return err
		}
		if q.Tenant == tenant {
			theirs++
		}
	}
	if theirs >= maxOfTenant {
		return shingle.Errorf(shingle.CodeLimited, "%d jobs of %s wait or run already: try again when one has ended", theirs, tenant)
	}
	return nil
}

// Jobs returns jobs, the newest first, those of a tenant's tokens when it is not empty; next is the after of the next
// page, which may have more when this one is short.
func (h *Hub) Jobs(ctx context.Context, tenant, after string, limit int) (list []shingle.Job, next string, err error) {
	if after != "" {
		after = jobPrefix + after
	}
	keys, err := h.records.List(ctx, jobPrefix, after, limit)
	if err != nil {
		return nil, "", err
	}
	list = make([]shingle.Job, 0, len(keys))
	for _, key := range keys {
		var r record
		_, err := h.records.Get(ctx, key, &r)
		switch {
		case errors.Is(err, shingle.ErrNotFound), errors.Is(err, shingle.ErrUnreadable):
		case err != nil:
			return nil, "", err
		case tenant == "" || tenant == r.Tenant:
			list = append(list, r.Job)
		}
	}
	if len(keys) == limit {
		next = strings.TrimPrefix(keys[limit-1], jobPrefix)
	}
	return list, next, nil
}

// Job returns one, or [shingle.ErrNotFound].
func (h *Hub) Job(ctx context.Context, id string) (shingle.Job, error) {
	r, _, err := h.read(ctx, id)
	return r.Job, err
}

// Report returns what became of the lines of a job, from a part on (the first is 0), at most
// parts of them, and the part to go on with; -1 at the end of what there is.
func (h *Hub) Report(ctx context.Context, id string, from, parts int) (list []shingle.JobLine, next int, err error) {
	r, _, err := h.read(ctx, id)
	if err != nil {
		return nil, -1, err
	}
	to := min(r.Part, from+parts)
	for n := from; n < to; n++ {
		var lines []shingle.JobLine
		if _, err := h.records.Get(ctx, partKey(reportPrefix, id, n), &lines); err != nil && !errors.Is(err, shingle.ErrNotFound) {
			return nil, -1, err
		}
		list = append(list, lines...)
	}
	if next = max(from, to); next >= r.Part {
		next = -1
	}
	return list, next, nil
}

// CancelJob has a job end after the part at which it is. Of one that has ended it returns
// [shingle.ErrConflict].
func (h *Hub) CancelJob(ctx context.Context, id string) (shingle.Job, error) {
	for range attempts {
		r, version, err := h.read(ctx, id)
		switch {
		case err != nil:
			return r.Job, err
		case r.Ended():
			return r.Job, shingle.Errorf(shingle.CodeConflict, "the job has ended already: it is %s", r.State)
		case r.Cancel:
			return r.Job, nil
		}
		r.Cancel = true
		if _, err = h.records.Put(ctx, jobPrefix+id, r, version); err == nil {
			h.nudge()
			return r.Job, nil
		}
		if !errors.Is(err, shingle.ErrConflict) {
			return r.Job, err
		}
	}
	return shingle.Job{}, shingle.Errorf(shingle.CodeUnavailable, "the job changes all the time: try again")
}

// Waiting reports whether there is a job to go on with.
func (h *Hub) Waiting(ctx context.Context) (bool, error) {
	ids, err := h.unended(ctx)
	return len(ids) > 0, err
}

// unended returns the IDs of jobs that have not ended, the newest first.
func (h *Hub) unended(ctx context.Context) ([]string, error) {
	keys, err := h.records.List(ctx, queuePrefix, "", 10*maxUnended)
	for i := range keys {
		keys[i] = strings.TrimPrefix(keys[i], queuePrefix)
	}
	return keys, err
}

func (h *Hub) read(ctx context.Context, id string) (r record, version string, err error) {
	err = shingle.ErrNotFound
	if shingle.IsTokenID(id) { // which has the same letters
		version, err = h.records.Get(ctx, jobPrefix+id, &r)
	}
	if errors.Is(err, shingle.ErrNotFound) {
		err = shingle.Errorf(shingle.CodeNotFound, "there is no job %.64q: a week after its end it is forgotten", id)
	}
	return r, version, err
}

func (h *Hub) nudge() {
	select {
	case h.wake <- struct{}{}:
	default: // it is to look already
	}
}

func partKey(prefix, id string, n int) string { return fmt.Sprintf("%s%s/%06d", prefix, id, n) }

// partLength is how many of lines are a part.
func partLength(lines []json.RawMessage) (n int) {
	size := 0
	for n < min(len(lines), partLines) {
		if size += len(lines[n]); size > partBytes && n > 0 {
			break
		}
		n++
	}
	return n
}

// newID makes an ID that sorts before those of earlier seconds.
func newID(at time.Time) string {
	return fmt.Sprintf("%07s%s", strconv.FormatInt(idEnd-at.Unix(), 36), strings.ToLower(rand.Text()[:6]))
}

var idEnd = int64(math.Pow(36, 7)) - 1 // the largest number of seven digits

// madeAt returns when an ID was made, to the second.
func madeAt(id string) time.Time {
	n, _ := strconv.ParseInt(id[:min(len(id), 7)], 36, 64)
	return time.Unix(idEnd-n, 0)
}
