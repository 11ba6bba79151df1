package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Bulk does the lines of jobs, under the rules that the API has for one domain.
type Bulk struct{ s *server }

// NewBulk returns a Bulk for the stores and rules of cfg. What it decides by is read from
// cfg.Store, which should not be late.
func NewBulk(cfg Config) *Bulk {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Bulk{&server{Config: cfg, quotas: newQuotas(&cfg)}}
}

// Do does a line of j. doubt says that it may have been done before, by this job.
// An error is not the line's: it is to be repeated.
func (b *Bulk) Do(ctx context.Context, j *shingle.Job, line json.RawMessage, doubt bool) (shingle.JobLine, error) {
	ctx = actingFor(ctx, j)
	do := b.create
	if j.Kind == shingle.JobDelete {
		do = b.remove
	}
	out, err := do(ctx, j, line, doubt)
	switch code := shingle.CodeOf(err); {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		return out, ctx.Err()
	case code == shingle.CodeUnavailable, code == shingle.CodeThrottled:
		return out, err
	case code == shingle.CodeInternal:
		b.s.Logger.Error("a line of a job failed", "job", j.ID, "host", out.Host, "error", err)
	}
	p := problemOf(err)
	out.Result, out.Code, out.Message = shingle.JobLineFailed, p.Code, p.Detail
	return out, nil
}

// actingFor has what is done be done with the rights of whoever made the job.
func actingFor(ctx context.Context, j *shingle.Job) context.Context {
	return context.WithValue(ctx, callerKey{}, shingle.Token{Name: j.By, Tenant: j.Tenant})
}

func (b *Bulk) create(ctx context.Context, j *shingle.Job, line json.RawMessage, doubt bool) (out shingle.JobLine, err error) {
	var n NewDomain
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&n); err != nil {
		return out, shingle.Errorf(shingle.CodeInvalid, "the line is no domain: %v", err)
	}
	out.Host = n.Host
	_, err = b.s.insert(ctx, n.domain())
	switch {
	case err == nil:
		out.Result = shingle.JobLineCreated
	case errors.Is(err, shingle.ErrExists):
		out.Result, err = b.exists(ctx, j, n.Host, doubt, err)
	}
	return out, err
}

// exists tells what it means that a domain exists: it is this job's, it was there before,
// or it is no such thing.
func (b *Bulk) exists(ctx context.Context, j *shingle.Job, host string, doubt bool, why error) (shingle.JobResult, error) {
	d, err := b.s.find(ctx, host)
	switch {
	case errors.Is(err, shingle.ErrNotFound): // of another tenant, or covered by its wildcard
		return "", why
	case err != nil:
		return "", err
	case doubt && !d.CreatedAt.Before(j.StartedAt) && (d.UpdatedBy == j.By || d.Version > 1):
		return shingle.JobLineCreated, nil
	}
	return shingle.JobLineExists, nil
}

func (b *Bulk) remove(ctx context.Context, j *shingle.Job, line json.RawMessage, doubt bool) (out shingle.JobLine, err error) {
	if err := json.Unmarshal(line, &out.Host); err != nil {
		return out, shingle.Errorf(shingle.CodeInvalid, "the line is no host")
	}
	for range attempts {
		d, err := b.s.find(ctx, out.Host)
		switch {
		case errors.Is(err, shingle.ErrNotFound) && doubt:
			out.Result = shingle.JobLineDeleted
			return out, nil
		case errors.Is(err, shingle.ErrNotFound):
			out.Result = shingle.JobLineNotFound
			return out, nil
		case err != nil:
			return out, err
		case d.CreatedAt.After(j.CreatedAt):
			out.Result = shingle.JobLineNewer
			return out, nil
		case j.Filter != nil && !takenBy(j.Filter, &d): // it was changed since it was found
			out.Result = shingle.JobLineNotFound
			return out, nil
		}
		if err := mayDelete(ctx, &d); err != nil {
			return out, err
		}
		if err = b.s.delete(ctx, d.Host, d.Version, j.Revoke); !errors.Is(err, shingle.ErrConflict) && !errors.Is(err, shingle.ErrNotFound) {
			out.Result = shingle.JobLineDeleted
			return out, err
		}
	}
	return out, shingle.Errorf(shingle.CodeConflict, "%s is being changed all the time", out.Host)
}

// Find returns hosts that j's filter is about and that sort after `after`, at most limit,
// and the host behind which there may be more; empty at the end.
func (b *Bulk) Find(ctx context.Context, j *shingle.Job, after string, limit int) (hosts []string, next string, err error) {
	f := *j.Filter
	if j.Tenant != "" {
		f.Tenant = j.Tenant
	}
	rows, err := b.s.rows(ctx, f.Tenant, after, rowsAtOnce)
	if err != nil {
		return nil, "", err
	}
	for i := range rows {
		if d := &rows[i]; takenBy(&f, d) && !d.CreatedAt.After(j.CreatedAt) {
			hosts = append(hosts, d.Host)
		}
		if next = rows[i].Host; len(hosts) == limit {
			return hosts, next, nil
		}
	}
	if len(rows) < rowsAtOnce {
		next = ""
	}
	return hosts, next, nil
}

// takenBy reports whether a row is one that a filter is about.
func takenBy(j *shingle.JobFilter, d *shingle.Domain) bool {
	f := FilterInput{Tenant: j.Tenant, Tag: j.Tag, Text: j.Text}
	return f.takes(d) && (j.Paused == nil || *j.Paused == d.Paused)
}
