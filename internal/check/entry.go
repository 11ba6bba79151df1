package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/shingle-proxy/shingle"
)

// FeedPosition is the key of the record that says how far the keeper has followed the
// change feed.
const FeedPosition = "checks/position"

const (
	statusPrefix = "statuses/"
	duePrefix    = "checks/due/"
	dueTime      = "20060102T150405"
	changeTries  = 8
)

func statusKey(host string) string { return statusPrefix + host }

// entry is a status as it is stored.
type entry struct {
	shingle.Status
	Due    string `json:"due,omitempty"`    // its key in the due index, which no other write has; empty: none
	Listed string `json:"listed,omitempty"` // its key in the index of statuses, likewise
	// Unlisted is the key that Listed took the place of by this write, and that may be
	// left when the writer died.
	Unlisted string `json:"unlisted,omitempty"`
	Seq      int64  `json:"seq"` // counts the writes
}

// Readable returns an error for what is no status.
func (e *entry) Readable() error {
	switch {
	case e.Host == "":
		return shingle.RecordFault("its host is missing")
	case e.State != shingle.StateRemoved && !slices.Contains(shingle.States, e.State):
		return shingle.RecordFault("its state is none that this version knows")
	case !slices.Contains(shingle.Whos, e.Who):
		return shingle.RecordFault("who must act is nobody that this version knows")
	}
	return nil
}

// dueValue is what an entry in the due index holds.
type dueValue struct {
	// Listed is the key that the same write makes in the index of statuses. If it is
	// not the status' when this entry is found to be nobody's, it is nobody's either.
	Listed string `json:"listed,omitempty"`
}

// dueKey is the key of a new entry in the due index.
func dueKey(host string, at time.Time, seq int64) string {
	return duePrefix + at.UTC().Format(dueTime) + "/" + host + "/" + strconv.FormatInt(seq, 10)
}

// change reads a status, the zero one when there is none, has edit change it, and
// writes it between making its new entries in the indexes and removing the old
// ones: a crash leaves an entry too many and never one too few.
func (k *Keeper) change(ctx context.Context, host string, edit func(s shingle.Status, now time.Time) shingle.Status) (shingle.Status, error) {
	for range changeTries {
		before, version, err := k.entry(ctx, host)
		if err != nil {
			return before.Status, err
		}
		s := edit(before.Status, k.cfg.Now().UTC())
		if s.Host == "" {
			return s, nil
		}
		if s.Next = s.Next.Truncate(time.Second); reflect.DeepEqual(before.Status, s) && (before.Listed != "" || s.State == shingle.StateRemoved) {
			return s, nil
		}
		err = k.write(ctx, &before, s, version)
		if !errors.Is(err, shingle.ErrConflict) {
			return s, err
		}
	}
	return shingle.Status{}, fmt.Errorf("write status of %s: %w", host, shingle.ErrConflict)
}

// entry reads what is stored for a host, the zero entry when there is nothing.
func (k *Keeper) entry(ctx context.Context, host string) (e entry, version string, err error) {
	version, err = k.records.Get(ctx, statusKey(host), &e)
	if err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return e, "", fmt.Errorf("read status: %w", err)
	}
	return e, version, nil
}

func (k *Keeper) write(ctx context.Context, before *entry, s shingle.Status, version string) error {
	after := entry{Status: s, Due: before.Due, Listed: before.Listed, Seq: before.Seq + 1}
	if !s.Next.Equal(before.Next) {
		after.Due = ""
		if !s.Next.IsZero() {
			after.Due = dueKey(s.Host, s.Next, after.Seq)
		}
	}
	if before.Listed == "" || !alike(&before.Status, &s) {
		after.Listed, after.Unlisted = listedKey(&s), before.Listed
	}
	mark, err := k.enter(ctx, before, &after)
	if err != nil {
		return err
	}
	if err := k.tell(ctx, &before.Status, &after.Status); err != nil {
		return err
	}
	if _, err := k.records.Put(ctx, statusKey(s.Host), after, version); err != nil {
		if errors.Is(err, shingle.ErrConflict) && after.Listed != before.Listed { // it is certainly nobody's
			err = errors.Join(err, k.remove(ctx, after.Listed))
		}
		return err
	}
	old := []string{before.Unlisted, after.Unlisted, mark}
	if after.Due != before.Due {
		old = append(old, before.Due) // at last: who finds it tidies the others
	}
	for _, key := range old {
		if err := k.remove(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// enter makes the entries in the indexes that after has and before has not. That in the
// due index comes first, for whoever finds it later tidies the other; when there is none
// a mark takes its place, which is to be removed when the status is written.
func (k *Keeper) enter(ctx context.Context, before, after *entry) (mark string, err error) {
	listed, due := after.Listed, after.Due
	if listed == before.Listed {
		listed = ""
	}
	if due == before.Due {
		due = ""
	}
	if listed != "" && due == "" {
		mark = dueKey(after.Host, k.cfg.Now(), rand.Int64()) // no other attempt's, lest that one's entry be forgotten
		due = mark
	}
	if due != "" {
		if err := k.records.Create(ctx, due, dueValue{Listed: listed}); err != nil {
			return "", fmt.Errorf("mark check due: %w", err)
		}
	}
	if listed != "" {
		if err := k.records.Create(ctx, listed, struct{}{}); err != nil {
			return "", fmt.Errorf("list status: %w", err)
		}
	}
	return mark, nil
}

// remove removes an entry of an index; an empty key is none.
func (k *Keeper) remove(ctx context.Context, key string) error {
	if key == "" {
		return nil
	}
	return k.records.Remove(ctx, key)
}

// alike reports whether two statuses have the same place in the index of statuses.
func alike(a, b *shingle.Status) bool {
	return a.State == b.State && a.Who == b.Who && a.Tenant == b.Tenant && a.Changed.Equal(b.Changed)
}

// statusData is the data of the event of a changed status.
type statusData struct {
	Before  shingle.State  `json:"before,omitempty"`
	State   shingle.State  `json:"state"`
	Reason  shingle.Reason `json:"reason"`
	Message string         `json:"message"`
	Who     string         `json:"who"`
}

// tell records that a status changes. It comes before the status is written, so
// that no change goes untold; one that is then lost to another is told all the
// same, and corrected by the next.
func (k *Keeper) tell(ctx context.Context, before, after *shingle.Status) error {
	if k.cfg.Events == nil || before.State == after.State && before.Reason == after.Reason && before.Who == after.Who {
		return nil
	}
	data, err := json.Marshal(statusData{before.State, after.State, after.Reason, after.Message, after.Who})
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	at := after.Changed.UTC()
	return k.cfg.Events.Record(ctx, shingle.Event{
		ID:   shingle.EventID(string(shingle.EventDomainStatus), after.Host, string(after.State), string(after.Reason), at.Format(time.RFC3339Nano)),
		Type: shingle.EventDomainStatus, At: at, Host: after.Host, Tenant: after.Tenant, Data: data,
	})
}
