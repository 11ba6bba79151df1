package ec2

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"
)

// fakeCloud notes what an agent does.
type fakeCloud struct {
	did     []string
	leaving bool
	fails   map[string]error
}

func (f *fakeCloud) do(what string) error {
	if err := f.fails[what]; err != nil {
		return err
	}
	f.did = append(f.did, what)
	return nil
}

func (f *fakeCloud) Leaving(context.Context) (bool, error) { return f.leaving, f.fails["leaving"] }
func (f *fakeCloud) Signal(context.Context) error          { return f.do("signal") }
func (f *fakeCloud) Unfit(context.Context) error           { return f.do("unfit") }
func (f *fakeCloud) LetGo(context.Context) error           { return f.do("let go") }
func (f *fakeCloud) Enter(context.Context) error           { return f.do("enter") }
func (f *fakeCloud) Leave(context.Context) error           { return f.do("leave") }

func (f *fakeCloud) Record(_ context.Context, _ time.Time, line []byte) error {
	return f.do(string(line))
}

// life is an agent on a fake, and its clock.
type life struct {
	*Agent
	cloud  *fakeCloud
	now    time.Time
	sick   error
	drains bool // its health check fails, and clients are sent away
}

func newLife() *life {
	l := &life{cloud: &fakeCloud{fails: map[string]error{}}, now: time.Unix(1e9, 0)}
	l.Agent = &Agent{Cloud: l.cloud, Healthy: func() error { return l.sick }, Drain: func() { l.drains = true }, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return l.now }}
	return l
}

// live lets time pass, and returns what was done in it and the last error.
func (l *life) live(t *testing.T, d time.Duration) ([]string, error) {
	t.Helper()
	l.cloud.did = nil
	var last error
	for end := l.now.Add(d); l.now.Before(end); l.now = l.now.Add(tickTime) {
		last = l.step(t.Context())
	}
	return l.cloud.did, last
}

func TestAgent_EntersSignalsAndStays(t *testing.T) {
	l := newLife()
	l.sick = errors.New("the table is not loaded")
	if did, _ := l.live(t, time.Minute); did != nil {
		t.Errorf("before it is healthy it did %v", did)
	}
	l.sick = nil
	if did, err := l.live(t, 11*time.Minute); err != nil || !slices.Equal(did, []string{"enter", "signal", "enter", "enter"}) {
		t.Errorf("in 11 healthy minutes: %v, %v", did, err)
	}
}

func TestAgent_SignalsWhileAnotherHasItsAddress(t *testing.T) {
	l := newLife()
	l.cloud.fails["enter"] = ErrFull
	if did, err := l.live(t, time.Minute); err != nil || !slices.Equal(did, []string{"signal"}) {
		t.Errorf("no address is free: %v, %v", did, err)
	}
	delete(l.cloud.fails, "enter")
	if did, _ := l.live(t, tickTime); !slices.Equal(did, []string{"enter"}) {
		t.Errorf("an address became free: %v", did)
	}
}

func TestAgent_DoesNotSignalWhenVisitorsCannotBeLedHere(t *testing.T) {
	l := newLife()
	l.cloud.fails["enter"] = errors.New("AccessDenied")
	if did, err := l.live(t, time.Minute); err == nil || did != nil {
		t.Errorf("without the right to enter: %v, %v", did, err)
	}
}

func TestAgent_IsReplacedWhenSickForLong(t *testing.T) {
	l := newLife()
	if _, err := l.live(t, time.Minute); err != nil {
		t.Fatal(err)
	}
	l.sick = errors.New("no")
	if did, _ := l.live(t, sickTime-tickTime); slices.Contains(did, "unfit") {
		t.Error("it gave up early")
	}
	if did, _ := l.live(t, time.Minute); !slices.Equal(did, []string{"unfit"}) {
		t.Errorf("sick for long: %v", did)
	}
	never := newLife()
	never.sick = l.sick
	if did, _ := never.live(t, startTime+time.Minute); !slices.Equal(did, []string{"unfit"}) {
		t.Errorf("never healthy: %v", did)
	}
}

func TestAgent_LeavesBeforeItEnds(t *testing.T) {
	l := newLife()
	if _, err := l.live(t, time.Minute); err != nil {
		t.Fatal(err)
	}
	l.cloud.leaving = true
	l.cloud.fails["leave"] = errors.New("throttled")
	if l.drains {
		t.Error("it drains while it stays")
	}
	if did, err := l.live(t, tickTime); err == nil || did != nil || !l.drains {
		t.Errorf("a leave that fails: %v, %v, drains: %v", did, err, l.drains)
	}
	delete(l.cloud.fails, "leave")
	if did, _ := l.live(t, drainTime); !slices.Equal(did, []string{"leave"}) {
		t.Errorf("while connections end: %v", did)
	}
	if did, _ := l.live(t, tickTime); !slices.Equal(did, []string{"let go"}) {
		t.Errorf("afterwards: %v", did)
	}
	l.sick = errors.New("stopped")
	if did, _ := l.live(t, time.Hour/10); slices.Contains(did, "unfit") || slices.Contains(did, "enter") {
		t.Errorf("having left, it did %v", did)
	}
}

func TestAgent_TellsHowItIsOnceAMinute(t *testing.T) {
	l := newLife()
	l.Measure = func(time.Time) []byte { return []byte("is") }
	if did, err := l.live(t, 2*time.Minute); err != nil || !slices.Equal(did, []string{"enter", "signal", "is", "is"}) {
		t.Errorf("in two minutes: %v, %v", did, err)
	}
	l.sick, l.cloud.fails["is"] = errors.New("no"), errors.New("throttled")
	if did, _ := l.live(t, time.Minute); did != nil {
		t.Errorf("while it cannot tell: %v", did)
	}
	delete(l.cloud.fails, "is")
	if did, err := l.live(t, time.Minute); err != nil || !slices.Equal(did, []string{"is"}) {
		t.Errorf("a sick one in a minute: %v, %v", did, err)
	}
}
