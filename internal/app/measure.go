package app

import (
	"context"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/cloudwatch"
)

// expiries is when the first of the certificates ends whose domains were checked since
// it was last taken.
type expiries struct {
	mu    sync.Mutex
	first time.Time // zero: none was
}

func (e *expiries) note(r *shingle.CheckResult) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if at := r.CertifiedUntil; !at.IsZero() && (e.first.IsZero() || at.Before(e.first)) {
		e.first = at
	}
}

func (e *expiries) take() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := e.first
	e.first = time.Time{}
	return at
}

// measure tells of the control plane, after a turn of the function. due is when the
// certificate worker has something to do next; zero: nothing.
func (a *App) measure(ctx context.Context, now, due time.Time) error {
	values := map[string]float64{cloudwatch.QueueSeconds: 0}
	if !due.IsZero() {
		values[cloudwatch.QueueSeconds] = max(0, now.Sub(due).Seconds())
	}
	if at := a.expiries.take(); !at.IsZero() {
		values[cloudwatch.CertificateDaysLeft] = at.Sub(now).Hours() / 24
	}
	budgets, err := a.certs.Budgets(ctx)
	if err != nil {
		return err
	}
	if b := budgets[0].Orders; b.Count > 0 {
		values[cloudwatch.BudgetLeft] = min(1, b.Left/float64(b.Count))
	}
	_, err = a.cfg.Measures.Write(cloudwatch.Line(a.cfg.Stage, now, values))
	return err
}

// fewAnswers are too few to tell a rate from.
const fewAnswers = 20

// edgeMeasures returns what tells of an edge since it was last called.
func edgeMeasures(stage string, healthy func() error, answers func() (all, failed uint64)) func(now time.Time) []byte {
	var before, failedBefore uint64
	return func(now time.Time) []byte {
		values := map[string]float64{cloudwatch.Serving: 0}
		if healthy() == nil {
			values[cloudwatch.Serving] = 1
		}
		all, failed := answers()
		if n := all - before; n >= fewAnswers {
			values[cloudwatch.ErrorPercent] = 100 * float64(failed-failedBefore) / float64(n)
		}
		before, failedBefore = all, failed
		return cloudwatch.Line(stage, now, values)
	}
}
