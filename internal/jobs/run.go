package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Run does the jobs, a part of each in turn, until ctx ends. One process of the fleet at a
// time runs it.
func (h *Hub) Run(ctx context.Context) error {
	h.fresh = map[string]int{}
	var swept time.Time
	for {
		if now := h.cfg.Now(); now.Sub(swept) >= sweepEvery {
			if err := h.sweep(ctx); err != nil {
				return fmt.Errorf("remove old jobs: %w", err)
			}
			swept = now
		}
		ids, err := h.unended(ctx)
		if err != nil {
			return fmt.Errorf("list jobs: %w", err)
		}
		unready, stuck := 0, 0
		for i := len(ids) - 1; i >= 0; i-- { // the oldest first
			err := h.step(ctx, ids[i])
			switch {
			case errors.Is(err, errUnready):
				unready++
			case errors.Is(err, shingle.ErrUnreadable): // it waits until somebody mends it, and is in nobody's way
				stuck++
				h.complain(ctx, ids[i], err)
			case err != nil && ctx.Err() == nil:
				h.log.Warn("a job waits", "job", ids[i], "error", err)
				h.complain(ctx, ids[i], err)
				h.rest(ctx, pauseOnError)
			}
		}
		switch {
		case len(ids) == stuck:
			h.rest(ctx, h.cfg.Poll)
		case len(ids) == stuck+unready:
			h.rest(ctx, time.Second)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (h *Hub) rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-h.wake:
	case <-time.After(d):
	}
}

// step does the next part of a job, or ends it.
func (h *Hub) step(ctx context.Context, id string) error {
	r, version, err := h.read(ctx, id)
	switch {
	case errors.Is(err, shingle.ErrNotFound):
		return h.abandon(ctx, id)
	case err != nil:
		return err
	case r.Ended():
		return h.finish(ctx, &r)
	case r.State == shingle.JobWaiting && !r.Cancel:
		r.State, r.StartedAt = shingle.JobRunning, h.cfg.Now().UTC().Truncate(time.Microsecond)
		if version, err = h.records.Put(ctx, jobPrefix+id, r, version); err != nil {
			return ignoreConflict(err)
		}
		h.fresh[id] = 0
	}
	lines, found, err := h.report(ctx, &r)
	if err != nil {
		return err
	}
	if !found {
		var end shingle.JobState
		if lines, end, err = h.work(ctx, &r); err != nil {
			return err
		}
		if end != "" {
			return h.end(ctx, &r, version, end)
		}
	}
	return h.advance(ctx, &r, version, lines)
}

// report returns the report of the next part, if it was done by now.
func (h *Hub) report(ctx context.Context, r *record) (lines []shingle.JobLine, found bool, err error) {
	_, err = h.records.Get(ctx, partKey(reportPrefix, r.ID, r.Part), &lines)
	if errors.Is(err, shingle.ErrNotFound) {
		return nil, false, nil
	}
	return lines, err == nil, err
}

// work does the next part and writes its report; or it returns with which state the job
// is to end.
func (h *Hub) work(ctx context.Context, r *record) (lines []shingle.JobLine, end shingle.JobState, err error) {
	if r.Cancel {
		return nil, shingle.JobCanceled, nil
	}
	if revoked, err := h.revoked(ctx, r); revoked || err != nil {
		return nil, shingle.JobCanceled, err
	}
	if r.Filter == nil && r.Part >= r.Parts || r.Last {
		return nil, shingle.JobDone, nil
	}
	p, err := h.part(ctx, r)
	if errors.Is(err, shingle.ErrNotFound) {
		r.Problem = "what was to be done next is no longer in the store"
		return nil, shingle.JobFailed, nil
	}
	if err != nil {
		return nil, "", err
	}
	part, fresh := h.fresh[r.ID]
	delete(h.fresh, r.ID)
	if err := h.pace.WaitN(ctx, max(1, len(p.Lines))); err != nil {
		return nil, "", err
	}
	if lines, err = h.do(ctx, r, p, !fresh || part != r.Part); err != nil {
		return nil, "", err
	}
	key := partKey(reportPrefix, r.ID, r.Part)
	if _, err = h.records.Put(ctx, key, lines, shingle.NoVersion); errors.Is(err, shingle.ErrConflict) { // somebody was quicker
		_, err = h.records.Get(ctx, key, &lines)
	}
	return lines, "", err
}

// revoked reports whether the token of r was, and says so in r.
func (h *Hub) revoked(ctx context.Context, r *record) (bool, error) {
	if h.cfg.Revoked == nil || r.Token == "" {
		return false, nil
	}
	is, err := h.cfg.Revoked(ctx, r.Token)
	if is {
		r.Problem = fmt.Sprintf("the token %s was revoked: if the rest is wanted, make the job again with another token; what is done already is passed over", r.By)
	}
	return is, err
}

// part returns the next part. That of a filter is looked for once, so that it is the same
// for whoever has to repeat it.
func (h *Hub) part(ctx context.Context, r *record) (p part, err error) {
	key := partKey(linesPrefix, r.ID, r.Part)
	_, err = h.records.Get(ctx, key, &p)
	if r.Filter == nil || err == nil || !errors.Is(err, shingle.ErrNotFound) {
		return p, err
	}
	hosts, next, err := h.cfg.Worker.Find(ctx, &r.Job, r.After, partLines)
	if err != nil {
		return p, err
	}
	p = part{First: r.Total + 1, Lines: make([]json.RawMessage, len(hosts)), Next: next}
	for i, host := range hosts {
		p.Lines[i], _ = json.Marshal(host) // a string
	}
	if _, err = h.records.Put(ctx, key, p, shingle.NoVersion); errors.Is(err, shingle.ErrConflict) {
		_, err = h.records.Get(ctx, key, &p)
	}
	return p, err
}

// do does the lines of a part, side by side unless two may be about the same host.
func (h *Hub) do(ctx context.Context, r *record, p part, doubt bool) ([]shingle.JobLine, error) {
	done, errs := make([]shingle.JobLine, len(p.Lines)), make([]error, len(p.Lines))
	places := make(chan struct{}, sideBySide)
	if repeats(p.Lines) {
		places = make(chan struct{}, 1)
	}
	var workers sync.WaitGroup
	for i, line := range p.Lines {
		places <- struct{}{}
		workers.Go(func() {
			defer func() { <-places }()
			done[i], errs[i] = h.cfg.Worker.Do(ctx, &r.Job, line, doubt)
			done[i].Line = p.First + i
			done[i].Host, done[i].Message = cut(done[i].Host, maxHost), cut(done[i].Message, maxMessage)
		})
	}
	workers.Wait()
	return done, errors.Join(errs...)
}

// repeats reports whether two lines may be about one host.
func repeats(lines []json.RawMessage) bool {
	seen := map[string]bool{}
	for _, line := range lines {
		var d struct{ Host string }
		if json.Unmarshal(line, &d) != nil {
			_ = json.Unmarshal(line, &d.Host)
		}
		host, err := shingle.NormalizeDomain(d.Host)
		if err == nil && seen[host] {
			return true
		}
		seen[host] = true
	}
	return false
}

// advance takes the report of a part into the job.
func (h *Hub) advance(ctx context.Context, r *record, version string, lines []shingle.JobLine) error {
	if r.Filter != nil {
		var p part
		if _, err := h.records.Get(ctx, partKey(linesPrefix, r.ID, r.Part), &p); err != nil {
			return err
		}
		r.After, r.Last, r.Total = p.Next, p.Next == "", r.Total+len(lines)
	}
	for _, line := range lines {
		r.Done++
		switch line.Result {
		case shingle.JobLineCreated, shingle.JobLineDeleted:
			r.Changed++
		case shingle.JobLineFailed:
			r.Failed++
		default:
			r.Unchanged++
		}
	}
	done := partKey(linesPrefix, r.ID, r.Part)
	r.Part++
	r.Problem = ""
	if _, err := h.records.Put(ctx, jobPrefix+r.ID, r, version); err != nil {
		return ignoreConflict(err) // canceled, or another process was quicker
	}
	h.fresh[r.ID] = r.Part
	return h.records.Remove(ctx, done)
}

// end ends a job.
func (h *Hub) end(ctx context.Context, r *record, version string, state shingle.JobState) error {
	r.State, r.EndedAt = state, h.cfg.Now().UTC().Truncate(time.Microsecond)
	if _, err := h.records.Put(ctx, jobPrefix+r.ID, r, version); err != nil {
		return ignoreConflict(err)
	}
	h.log.Info("job ended", "job", r.ID, "kind", r.Kind, "state", r.State, "done", r.Done, "changed", r.Changed, "failed", r.Failed)
	return h.finish(ctx, r)
}

// finish does what is left to be done for a job that has ended.
func (h *Hub) finish(ctx context.Context, r *record) error {
	if h.cfg.Events != nil {
		data, err := json.Marshal(map[string]any{"id": r.ID, "kind": r.Kind, "state": r.State, "total": r.Total, "changed": r.Changed, "unchanged": r.Unchanged, "failed": r.Failed})
		if err != nil {
			return err
		}
		if err := h.cfg.Events.Record(ctx, shingle.Event{ID: shingle.EventID("job", r.ID), Type: shingle.EventJobEnded, At: r.EndedAt, Tenant: r.Tenant, By: r.By, Data: data}); err != nil {
			return err
		}
	}
	delete(h.fresh, r.ID)
	if err := h.removeAll(ctx, linesPrefix+r.ID+"/"); err != nil {
		return err
	}
	return h.records.Remove(ctx, queuePrefix+r.ID)
}

// errUnready says that a job is being set up.
var errUnready = errors.New("job is being set up")

// abandon removes what is there of a job that was never set up to its end.
func (h *Hub) abandon(ctx context.Context, id string) error {
	if h.cfg.Now().Sub(madeAt(id)) < setUp {
		return errUnready
	}
	return h.remove(ctx, id)
}

// remove removes all of a job but its record, which it does not have.
func (h *Hub) remove(ctx context.Context, id string) error {
	if err := h.removeAll(ctx, linesPrefix+id+"/"); err != nil {
		return err
	}
	return h.records.Remove(ctx, queuePrefix+id)
}

// complain notes why a job does not go on, for who waits for it.
func (h *Hub) complain(ctx context.Context, id string, why error) {
	r, version, err := h.read(ctx, id)
	if message := shingle.MessageOf(why); err == nil && !r.Ended() && r.Problem != message {
		r.Problem = cut(message, maxMessage)
		_, _ = h.records.Put(ctx, jobPrefix+id, r, version) // the log has it too
	}
}

// sweep removes jobs that ended long ago, and those beyond the number that is kept.
func (h *Hub) sweep(ctx context.Context) error {
	kept := 0
	for after := ""; ; {
		keys, err := h.records.List(ctx, jobPrefix, after, 1000)
		if err != nil || len(keys) == 0 {
			return err
		}
		for _, key := range keys {
			after = key
			id := strings.TrimPrefix(key, jobPrefix)
			r, _, err := h.read(ctx, id)
			if errors.Is(err, shingle.ErrNotFound) || errors.Is(err, shingle.ErrUnreadable) {
				continue
			}
			if err != nil {
				return err
			}
			if kept++; !r.Ended() || kept <= maxJobs && h.cfg.Now().Sub(r.EndedAt) < shingle.JobKept {
				continue
			}
			if err := errors.Join(h.removeAll(ctx, reportPrefix+id+"/"), h.records.Remove(ctx, key)); err != nil {
				return err
			}
		}
	}
}

func (h *Hub) removeAll(ctx context.Context, prefix string) error {
	for {
		keys, err := h.records.List(ctx, prefix, "", 1000)
		if err != nil || len(keys) == 0 {
			return err
		}
		for _, key := range keys {
			if err := h.records.Remove(ctx, key); err != nil {
				return err
			}
		}
	}
}

// ignoreConflict is for a job that somebody else has changed: it is looked at anew.
func ignoreConflict(err error) error {
	if errors.Is(err, shingle.ErrConflict) {
		return nil
	}
	return err
}

func cut(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "") }
