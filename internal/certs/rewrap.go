package certs

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// A rewrap goes through the records in steps, one for each call, so that a call is
// bounded, however many there are. What a step did stays done: each record is
// changed by compare-and-set, beside whoever else reads and writes it, and one that
// was changed is passed over the next time. So who lost his place begins again at
// the beginning, at the cost of reading.
const (
	rewrapLease   = "rewrap"
	rewrapRecord  = "rewrap"
	rewrapTime    = 3 * time.Second // of a step, and then what is under way
	rewrapPage    = 200             // keys listed at once
	rewrapWorkers = 8
	rewrapSettle  = keyCheck + 10*time.Second // until all processes seal under the new data key
	maxShownFails = 10
)

// deepRewrap is the one that is under way, as it is stored. What was sealed since it
// began is done.
type deepRewrap struct {
	Began time.Time `json:"began"`
}

// place of a rewrap between two steps.
type rewrapCursor struct {
	Again   bool   `json:"again,omitempty"` // every process has heard of it
	Changed bool   `json:"changed,omitempty"`
	Stage   int    `json:"stage,omitempty"`
	After   string `json:"after,omitempty"` // key
}

// rewrapStage is a part of a rewrap: do is called for each record of a place, and
// returns whether it was, or would be, changed. An error that is [unopenable] is the
// record's; any other ends the step.
type rewrapStage struct {
	kind string
	key  string // as in SealedPlace
	do   func(ctx context.Context, key string) (changed bool, err error)
}

// Rewrap does the next step of r: it lets a master key be replaced, a data key too,
// or one be given up that was lost. One process of the fleet does so at a time; the
// others return [shingle.ErrUnavailable], as does a store or master key that does
// not answer, and the step can be repeated.
func (m *Manager) Rewrap(ctx context.Context, r shingle.Rewrap) (page shingle.RewrapPage, err error) {
	if r.Deep && r.Lost != "" {
		return page, invalid("lost", "a lost key and a deep rewrap are two things: one after the other")
	}
	at, err := parseRewrapCursor(r.After)
	if err != nil {
		return page, err
	}
	if r.DryRun {
		return m.rewrapStep(ctx, r, at)
	}
	if err := acquire(ctx, m.rewraps); err != nil {
		return page, err
	}
	defer func() { <-m.rewraps }()
	held, err := m.leases.try(ctx, rewrapLease)
	if errors.Is(err, errHeld) {
		return page, shingle.Errorf(shingle.CodeUnavailable, "another process of the fleet is rewrapping, or was when it died; try again in a moment")
	}
	if err != nil {
		return page, fmt.Errorf("acquire lease %s: %w", rewrapLease, err)
	}
	err = m.leases.run(ctx, held, func(ctx context.Context, _ uint64) error {
		page, err = m.rewrapStep(ctx, r, at)
		return err
	})
	return page, err
}

func parseRewrapCursor(text string) (at rewrapCursor, err error) {
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil && len(data) > 0 {
		err = json.Unmarshal(data, &at)
	}
	if err != nil || at.Stage < 0 {
		return at, invalid("after", "after is not the next of an earlier answer")
	}
	return at, nil
}

func (c rewrapCursor) String() string {
	text, _ := json.Marshal(c) // of strings and numbers
	return base64.RawURLEncoding.EncodeToString(text)
}

func (m *Manager) rewrapStep(ctx context.Context, r shingle.Rewrap, at rewrapCursor) (shingle.RewrapPage, error) {
	s := &rewrapStep{Manager: m, req: r, page: shingle.RewrapPage{Changed: map[string]int{}}, missing: map[string]bool{}}
	var stages []rewrapStage
	var began time.Time
	var err error
	switch {
	case r.Deep:
		if began, err = m.deepRewrap(ctx, r.DryRun); err == nil {
			stages = s.deep(began)
		}
	case r.Lost != "":
		stages, err = s.lost(ctx, r.Lost)
	default:
		stages = []rewrapStage{s.dataKeys()}
	}
	if err != nil {
		return s.page, err
	}
	if r.Lost != "" && r.After == "" && !r.DryRun {
		s.page.Next, s.page.Wait = rewrapCursor{Again: true}.String(), rewrapSettle
		return s.page, s.callForHelp(ctx, r.Lost)
	}
	next, err := s.run(ctx, stages, at)
	if err == nil && r == (shingle.Rewrap{After: r.After}) {
		err = s.callForHelp(ctx, slices.Collect(maps.Keys(s.missing))...)
	}
	if err != nil || next.Stage < len(stages) {
		s.page.Next = next.String()
		return s.page, err
	}
	if !r.Deep || r.DryRun {
		return s.page, nil
	}
	if next.Changed && !next.Again {
		s.page.Next, s.page.Wait = rewrapCursor{Again: true}.String(), max(0, began.Add(rewrapSettle).Sub(m.cfg.Now()))
		return s.page, nil
	}
	return s.page, m.store.erase(ctx, rewrapRecord)
}

// deepRewrap returns when the deep rewrap began that is under way. One that nobody
// went on with for as long as a data key seals begins anew.
func (m *Manager) deepRewrap(ctx context.Context, dry bool) (time.Time, error) {
	for range planAttempts {
		now := m.cfg.Now().UTC().Truncate(time.Microsecond)
		var d deepRewrap
		version, err := m.store.get(ctx, rewrapRecord, &d)
		if err == nil && now.Sub(d.Began) < dataKeyLife {
			return d.Began, nil
		}
		if err != nil && !errors.Is(err, shingle.ErrNotFound) {
			return now, err
		}
		if !dry {
			_, err = m.store.put(ctx, rewrapRecord, deepRewrap{Began: now}, version)
		}
		if !errors.Is(err, shingle.ErrConflict) {
			if dry || err == nil {
				return now, nil
			}
			return now, err
		}
	}
	return time.Time{}, storeError(errors.New("the record of the rewrap changes all the time"))
}

// rewrapStep is one step.
type rewrapStep struct {
	*Manager
	req shingle.Rewrap

	mu      sync.Mutex
	page    shingle.RewrapPage
	missing map[string]bool // master keys that cannot be used here
}

// run goes through the stages from a place until the time is up or they are done.
func (s *rewrapStep) run(ctx context.Context, stages []rewrapStage, at rewrapCursor) (rewrapCursor, error) {
	for end := time.Now().Add(rewrapTime); at.Stage < len(stages); {
		stage := stages[at.Stage]
		keys, err := s.store.list(ctx, stage.key, at.After, rewrapPage)
		if err != nil {
			return at, err
		}
		if len(keys) == 0 {
			at.Stage, at.After = at.Stage+1, ""
			continue
		}
		for len(keys) > 0 {
			some := keys[:min(len(keys), 2*rewrapWorkers)]
			keys = keys[len(some):]
			if err := s.some(ctx, stage, some); err != nil {
				return at, err
			}
			at.After = some[len(some)-1]
			at.Changed = at.Changed || s.changed() > 0
			if time.Now().After(end) || s.page.Wait > 0 {
				return at, nil
			}
		}
	}
	return at, nil
}

// some does the stage's work for some records, side by side.
func (s *rewrapStep) some(ctx context.Context, stage rewrapStage, keys []string) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	failed := make(chan error, len(keys))
	places := make(chan struct{}, rewrapWorkers)
	for _, key := range keys {
		if place := (&SealedPlace{Key: stage.key}); !place.has(key) && stage.key != dataKeyRecord(dataKeyPrefix) {
			continue
		}
		if err := acquire(ctx, places); err != nil {
			return err
		}
		workers.Go(func() {
			defer func() { <-places }()
			changed, err := stage.do(ctx, key)
			failed <- s.note(stage.kind, key, changed, err)
		})
	}
	workers.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

// note counts a record. It returns an error that is not the record's.
func (s *rewrapStep) note(kind, key string, changed bool, err error) error {
	if err != nil && !unopenable(err) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.page.Looked++
	if changed {
		s.page.Changed[kind]++
	}
	if err != nil {
		if s.page.Failed++; len(s.page.Failures) < maxShownFails {
			s.page.Failures = append(s.page.Failures, shingle.RewrapFailure{Record: key, Message: shingle.MessageOf(err)})
		}
	}
	return nil
}

func (s *rewrapStep) changed() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, kind := range s.page.Changed {
		n += kind
	}
	return n
}

// dataKeys has the data keys wrapped under the current master key.
func (s *rewrapStep) dataKeys() rewrapStage {
	return rewrapStage{"data keys", dataKeyRecord(dataKeyPrefix), func(ctx context.Context, key string) (bool, error) {
		changed, err := s.store.keys.wrapAnew(ctx, key, s.req.DryRun)
		if err != nil && unopenable(err) {
			var w wrappedDataKey
			if _, err := s.store.get(ctx, key, &w); err == nil {
				s.mu.Lock()
				s.missing[w.Key.KeyID] = true
				s.mu.Unlock()
			}
		}
		return changed, err
	}}
}

// deep has every value sealed anew that was sealed under a data key of before
// began, and then the old data keys wrapped anew: a process may still be sealing
// under the last of them.
func (s *rewrapStep) deep(began time.Time) []rewrapStage {
	var stages []rewrapStage
	for _, p := range s.store.keys.places {
		stages = append(stages, rewrapStage{p.Kind, p.Key, func(ctx context.Context, key string) (bool, error) {
			return s.store.reseal(ctx, &p, key, began, s.req.DryRun)
		}})
	}
	return append(stages, s.dataKeys())
}

// reseal seals the record's value under a data key that was not made before began,
// unless it is.
func (s *store) reseal(ctx context.Context, p *SealedPlace, key string, began time.Time, dry bool) (changed bool, err error) {
	for range planAttempts {
		b, err := s.read(ctx, key)
		if errors.Is(err, shingle.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		r, err := p.read(key, b.Value)
		if err != nil || r.value.KeyID == "" {
			return false, unreadable(err)
		}
		d, err := s.keys.dataKey(ctx, r.value.KeyID)
		if err != nil || !d.made.Before(began) {
			return false, err
		}
		plain, err := d.open(r.value, key)
		if err != nil || dry {
			return err == nil, unreadable(err)
		}
		fresh, err := s.keys.sealAfter(ctx, plain, key, began)
		if err != nil {
			return false, err
		}
		record, err := p.with(r, fresh)
		if err != nil {
			return false, err
		}
		if _, err = s.put(ctx, key, record, b.Version); !errors.Is(err, shingle.ErrConflict) {
			return err == nil, err
		}
	}
	return false, storeError(fmt.Errorf("the record %s changes all the time", key))
}

// unreadable makes err, if it is one, the record's.
func unreadable(err error) error {
	if err == nil {
		return nil
	}
	return &shingle.Error{Code: shingle.CodeInvalid, Message: "the record cannot be read: " + err.Error(), Err: err}
}
