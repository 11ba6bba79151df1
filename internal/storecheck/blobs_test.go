package storecheck

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// plain explains an error by its own words.
func plain(err error) (message, do string) { return err.Error(), "" }

// finding returns what was found about one thing.
func (r *Report) finding(check string) shingle.StoreFinding {
	for _, f := range r.Findings {
		if f.Check == check {
			return f
		}
	}
	return shingle.StoreFinding{}
}

func TestReport_SeesWhatIsWrongAndLeavesNothing(t *testing.T) {
	t.Parallel()
	lies := func(op string) storetest.Fault { // takes what it must refuse
		return storetest.On(op, func(_ context.Context, _, _ string, call func() error) error { _ = call(); return nil })
	}
	for name, tt := range map[string]struct {
		fault       storetest.Fault
		check, says string
		answers     bool
	}{
		"sound":              {nil, "", "", true},
		"is not set up":      {storetest.Refuse(shingle.ErrSetup), "reads", "as it is set up", true},
		"may not read":       {storetest.On("Get", storetest.Refuse(shingle.ErrForbidden)), "reads", "not allowed", true},
		"may not list":       {storetest.On("List", storetest.Refuse(shingle.ErrForbidden)), "lists", "not allowed", true},
		"may not write":      {storetest.On("Put", storetest.Refuse(shingle.ErrForbidden)), "writes", "not allowed", true},
		"may not delete":     {storetest.On("Delete", storetest.Refuse(shingle.ErrForbidden)), "conditional writes", "not allowed", true},
		"ignores conditions": {lies("Put"), "conditional writes", "was taken", false},
		"deletes anything":   {lies("Delete"), "conditional writes", "a deletion of an old version was taken", false},
		"does not answer":    {storetest.Refuse(errors.New("connection refused")), "reads", "connection refused", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, r := &memory.Store{}, &Report{Explain: plain}
			b := &storetest.FaultyBlobs{Blobs: store}
			b.Inject(tt.fault)
			if answers := r.Blobs(t.Context(), b); answers != tt.answers {
				t.Errorf("answers: %v", answers)
			}
			if r.Failed() != (tt.check != "") || !strings.Contains(r.finding(tt.check).Message, tt.says) {
				t.Errorf("%+v", r.Findings)
			}
			keys, err := store.List(t.Context(), "", "", 10)
			if may := name != "may not delete" && name != "deletes anything" && name != "ignores conditions"; err != nil || may && len(keys) > 0 {
				t.Errorf("left behind: %q, %v", keys, err)
			}
		})
	}
}

func TestReport_InterruptedOrKilledLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	store := &memory.Store{}
	for key, stays := range map[string]bool{Prefix + "20260101T000000Z-KILLED": false, Prefix + "29990101T000000Z-AT-WORK": true} {
		_, err := store.Put(ctx, key, nil, shingle.NoVersion)
		if err != nil {
			t.Fatal(err, stays)
		}
	}
	b := &storetest.FaultyBlobs{Blobs: store}
	b.Inject(storetest.On("Delete", storetest.Times(1, func(_ context.Context, _, _ string, call func() error) error {
		interrupt()
		return call()
	})))
	(&Report{Explain: plain}).Blobs(ctx, b)
	keys, err := store.List(t.Context(), "", "", 10)
	if err != nil || len(keys) != 1 || !strings.HasSuffix(keys[0], "AT-WORK") {
		t.Errorf("%q, %v", keys, err)
	}
}
