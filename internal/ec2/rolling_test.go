package ec2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"
)

// fleet is a region's group, its front and CloudFormation, which replaces instances as
// the template tells it to: one by one, and each only when its successor has signalled.
type fleet struct {
	now       time.Time
	addresses map[string]string // to instance, or ""; nil: an accelerator
	endpoints map[string]bool
	instances map[string]*instance
	dark      int // the longest time in a row with an address or endpoint too few, in ticks
	darkNow   int
	fewest    int // that visitors were led to, after the start
}

// instance is one of them, with its agent.
type instance struct {
	*Agent
	fleet          *fleet
	id             string
	sick           error
	leaving, gone  bool
	drains         bool
	signalled      bool
	drainedAt, end time.Time
}

func newFleet(t *testing.T, n int, accelerator bool) *fleet {
	f := &fleet{now: time.Unix(1e9, 0), endpoints: map[string]bool{}, instances: map[string]*instance{}, fewest: n}
	if !accelerator {
		f.addresses = map[string]string{}
		for i := range n {
			f.addresses[fmt.Sprint("eip-", i)] = ""
		}
	}
	for i := range n {
		f.launch(fmt.Sprint("old-", i), nil)
	}
	f.live(t, time.Minute, nil)
	f.fewest, f.dark = n, 0
	return f
}

func (f *fleet) launch(id string, sick error) *instance {
	i := &instance{fleet: f, id: id, sick: sick}
	i.Agent = &Agent{Cloud: i, Healthy: func() error { return i.sick }, Drain: func() { i.drains = true }, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return f.now }}
	f.instances[id] = i
	return i
}

// live lets time pass until something is so, or for d; it reports whether it is so.
func (f *fleet) live(t *testing.T, d time.Duration, until func() bool) bool {
	t.Helper()
	for end := f.now.Add(d); f.now.Before(end); f.now = f.now.Add(tickTime) {
		for _, id := range slices.Sorted(maps.Keys(f.instances)) {
			if i := f.instances[id]; !i.gone {
				if err := i.step(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		led := len(f.endpoints)
		for _, id := range f.addresses {
			if id != "" {
				led++
			}
		}
		f.fewest = min(f.fewest, led)
		if f.darkNow++; f.addresses == nil || !slices.Contains(slices.Collect(maps.Values(f.addresses)), "") {
			f.darkNow = 0
		}
		f.dark = max(f.dark, f.darkNow)
		if until != nil && until() {
			return true
		}
	}
	return false
}

// roll is CloudFormation's rolling update: MaxBatchSize 1, PauseTime PT15M, WaitOnResourceSignals.
// It reports whether it went well; otherwise it has been rolled back.
func (f *fleet) roll(t *testing.T, sick func(n int) error) bool {
	t.Helper()
	old := slices.Sorted(maps.Keys(f.instances))
	for n, id := range old {
		fresh := f.launch(fmt.Sprint("new-", n), sick(n))
		if !f.live(t, 15*time.Minute, func() bool { return fresh.signalled }) {
			f.terminate(t, fresh) // and those that were replaced are replaced back
			return false
		}
		f.terminate(t, f.instances[id])
	}
	return true
}

// terminate ends an instance by way of the lifecycle hook, whose heartbeat is 120 s.
func (f *fleet) terminate(t *testing.T, i *instance) {
	t.Helper()
	i.leaving, i.end = true, f.now.Add(120*time.Second)
	if !f.live(t, 120*time.Second, func() bool { return i.gone }) {
		t.Errorf("%s did not let its group go on within the hook's time", i.id)
	}
	if i.drainedAt.IsZero() || f.now.Sub(i.drainedAt) < drainTime-tickTime {
		t.Errorf("%s ended %s after it had left, with requests under way", i.id, f.now.Sub(i.drainedAt))
	}
}

func (i *instance) Leaving(context.Context) (bool, error)           { return i.leaving, nil }
func (i *instance) Signal(context.Context) error                    { i.signalled = true; return nil }
func (i *instance) Unfit(context.Context) error                     { return nil } // ReplaceUnhealthy is suspended meanwhile
func (i *instance) LetGo(context.Context) error                     { i.gone = true; return nil }
func (i *instance) Record(context.Context, time.Time, []byte) error { return nil }

func (i *instance) Enter(context.Context) error {
	if i.sick != nil {
		return errors.New("it entered although it is sick")
	}
	if i.fleet.addresses == nil {
		i.fleet.endpoints[i.id] = true
		return nil
	}
	free := ""
	for a, of := range i.fleet.addresses {
		switch of {
		case i.id:
			return nil
		case "":
			free = a
		}
	}
	if free == "" {
		return ErrFull
	}
	i.fleet.addresses[free] = i.id
	return nil
}

func (i *instance) Leave(context.Context) error {
	if !i.drains {
		return errors.New("visitors are led elsewhere before the instance says that it leaves")
	}
	i.drainedAt = i.fleet.now
	delete(i.fleet.endpoints, i.id)
	for a, of := range i.fleet.addresses {
		if of == i.id {
			i.fleet.addresses[a] = ""
		}
	}
	return nil
}

// TestRollingUpdate_OneByOne replaces three edges. By an accelerator visitors are never led
// to fewer; an address is nobody's for one tick at most.
func TestRollingUpdate_OneByOne(t *testing.T) {
	for _, accelerator := range []bool{false, true} {
		f := newFleet(t, 3, accelerator)
		if !f.roll(t, func(int) error { return nil }) {
			t.Fatal("a good update was rolled back")
		}
		f.live(t, time.Minute, nil)
		if least := map[bool]int{false: 2, true: 3}[accelerator]; f.fewest < least || f.dark > 1 {
			t.Errorf("accelerator %v: visitors were led to %d of 3 edges, an address was nobody's for %d ticks", accelerator, f.fewest, f.dark)
		}
		for id, i := range f.instances {
			if old := id[:3] == "old"; old != i.gone {
				t.Errorf("%s is gone: %v", id, i.gone)
			}
		}
	}
}

// TestRollingUpdate_BadOneIsRolledBack has the second new edge never serve: the first
// old one was replaced, no other is touched, and visitors are never led to the bad one.
func TestRollingUpdate_BadOneIsRolledBack(t *testing.T) {
	for _, accelerator := range []bool{false, true} {
		f := newFleet(t, 3, accelerator)
		bad := errors.New("the table is not loaded")
		if f.roll(t, func(n int) error {
			if n == 1 {
				return bad
			}
			return nil
		}) {
			t.Fatal("a bad update went well")
		}
		f.live(t, time.Minute, nil)
		led := slices.Sorted(maps.Keys(f.endpoints))
		if !accelerator {
			led = slices.Sorted(maps.Values(f.addresses))
		}
		if !slices.Equal(led, []string{"new-0", "old-1", "old-2"}) {
			t.Errorf("accelerator %v: visitors are led to %v", accelerator, led)
		}
		if least := map[bool]int{false: 2, true: 3}[accelerator]; f.fewest < least || f.dark > 1 {
			t.Errorf("accelerator %v: visitors were led to %d of 3 edges, an address was nobody's for %d ticks", accelerator, f.fewest, f.dark)
		}
	}
}
