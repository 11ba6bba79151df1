package events

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/shingle-proxy/shingle"
)

func TestDelivery_VerifiesWithTheReferenceLibrary(t *testing.T) {
	f, r := newFixture(t), newReceiver(t)
	h := f.hub()
	w, secret := f.webhook(h, r.URL)
	f.run(h)
	e := f.event(1)
	check(t, h.Record(t.Context(), e))
	a := r.next(t)
	verifier, err := standardwebhooks.NewWebhook(secret)
	check(t, err)
	check(t, verifier.Verify(a.body, a.header))
	if a.event.Type != e.Type || a.event.Data.Host != e.Host || a.header.Get("webhook-id") != e.ID {
		t.Errorf("got %s as %s", a.body, a.header)
	}

	rotated, err := h.RotateSecret(t.Context(), w.ID)
	check(t, err)
	check(t, h.Record(t.Context(), f.event(2)))
	a = r.next(t)
	for _, s := range []string{secret, rotated} {
		verifier, err := standardwebhooks.NewWebhook(s)
		check(t, err)
		check(t, verifier.Verify(a.body, a.header))
	}
	f.advance(rotationTime)
	check(t, h.Record(t.Context(), f.event(3)))
	if n := len(strings.Fields(r.next(t).header.Get("webhook-signature"))); n != 1 {
		t.Errorf("%d signatures a day after the rotation", n)
	}
}

func TestDelivery_RetriesByTheScheduleWithTheSameID(t *testing.T) {
	f, r := newFixture(t), newReceiver(t)
	r.status(http.StatusInternalServerError)
	h := f.hub()
	w, _ := f.webhook(h, r.URL)
	f.run(h)
	e := f.event(1)
	check(t, h.Record(t.Context(), e))
	for i := range len(defaultSchedule) + 1 {
		a := r.next(t)
		if a.header.Get("webhook-id") != e.ID {
			t.Errorf("attempt %d has the ID %s", i, a.header.Get("webhook-id"))
		}
		if i < len(defaultSchedule) {
			until(t, "put off", func() bool {
				keys, err := f.blobs.Blobs.List(t.Context(), duePrefix+w.ID+"/", "", 10)
				return err == nil && len(keys) == 1 && strings.TrimPrefix(keys[0], duePrefix+w.ID+"/") > stamp(f.now())
			})
			f.advance(defaultSchedule[i] * 11 / 10)
		}
	}
	until(t, "given up", func() bool { return f.count(deadPrefix+w.ID) == 1 })
	dead, _, err := h.DeadLetters(t.Context(), w.ID, "", 10)
	check(t, err)
	if len(dead) != 1 || dead[0].Attempts != len(defaultSchedule)+1 || !strings.Contains(dead[0].Error, "500") || dead[0].Event.ID != e.ID {
		t.Errorf("dead letters %+v", dead)
	}

	r.status(http.StatusNoContent)
	n, err := h.Replay(t.Context(), w.ID, e.ID)
	if err != nil || n != 1 {
		t.Fatalf("replayed %d, %v", n, err)
	}
	f.advance(maxEaseOff)
	if id := r.next(t).header.Get("webhook-id"); id != e.ID {
		t.Errorf("replayed as %s", id)
	}
	until(t, "delivered", func() bool { return f.count(duePrefix) == 0 && f.count(deadPrefix) == 0 })
	if _, err := h.Replay(t.Context(), w.ID, e.ID); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("a second replay: %v", err)
	}
}

func TestDelivery_OneBadReceiverIsNobodyElsesProblem(t *testing.T) {
	f := newFixture(t)
	f.cfg.Timeout = 100 * time.Millisecond
	for name, answer := range map[string]http.HandlerFunc{
		"hangs":     func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() },
		"redirects": func(w http.ResponseWriter, q *http.Request) { http.Redirect(w, q, "/elsewhere", http.StatusFound) },
		"endless": func(w http.ResponseWriter, q *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			for q.Context().Err() == nil {
				_, _ = w.Write(make([]byte, 1<<16))
			}
		},
		"cuts": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		bad, good := newReceiver(t), newReceiver(t)
		bad.answers(answer)
		h := f.hub()
		w, _ := f.webhook(h, bad.URL)
		f.webhook(h, good.URL)
		stop := f.run(h)
		for i := range 50 {
			check(t, h.Record(t.Context(), f.event(i)))
		}
		for range 50 {
			good.next(t)
		}
		until(t, "noted", func() bool { now, err := h.Webhook(t.Context(), w.ID); return err == nil && now.LastError != "" })
		stop()
		if n := len(bad.got); n > 12 {
			t.Errorf("%s: tried %d times at once", name, n)
		}
		all, err := h.Webhooks(t.Context())
		check(t, err)
		for _, w := range all {
			check(t, h.DeleteWebhook(t.Context(), w.ID))
		}
	}
}

func TestDelivery_GoneDisables(t *testing.T) {
	f, r, other := newFixture(t), newReceiver(t), newReceiver(t)
	r.status(http.StatusGone)
	h := f.hub()
	w, _ := f.webhook(h, r.URL)
	f.webhook(h, other.URL, shingle.EventWebhookDisabled)
	f.run(h)
	check(t, h.Record(t.Context(), f.event(1)))
	r.next(t)
	if a := other.next(t); a.event.Type != shingle.EventWebhookDisabled || !strings.Contains(string(a.body), w.ID) {
		t.Errorf("others are told %s", a.body)
	}
	until(t, "a dead letter", func() bool { return f.count(deadPrefix+w.ID) > 0 }) // a second one, if the news were passed on before it was known as disabled
	w, err := h.Webhook(t.Context(), w.ID)
	check(t, err)
	if !w.Disabled || w.DisabledWhy == "" {
		t.Errorf("%+v", w)
	}
	w, err = h.UpdateWebhook(t.Context(), w.ID, func(w *shingle.Webhook) { w.Disabled = false })
	if err != nil || w.Disabled || w.DisabledWhy != "" {
		t.Errorf("enabled: %+v, %v", w, err)
	}
}

func TestDelivery_FailingForDaysDisables(t *testing.T) {
	f, r := newFixture(t), newReceiver(t)
	r.status(http.StatusServiceUnavailable)
	f.cfg.Schedule = slices.Repeat([]time.Duration{time.Hour}, 1000)
	h := f.hub()
	w, _ := f.webhook(h, r.URL)
	f.run(h)
	check(t, h.Record(t.Context(), f.event(1)))
	for range 2 {
		r.next(t)
		until(t, "noted", func() bool { now, err := h.Webhook(t.Context(), w.ID); return err == nil && !now.FailingFrom.IsZero() })
		f.advance(6 * 24 * time.Hour)
	}
	until(t, "disabled", func() bool { now, err := h.Webhook(t.Context(), w.ID); return err == nil && now.Disabled })
}

// TestDelivery_AWebhookGetsWhatHappensAfterItWasMade makes one, and then an event,
// just behind the leader's back.
func TestDelivery_AWebhookGetsWhatHappensAfterItWasMade(t *testing.T) {
	f, r := newFixture(t), newReceiver(t)
	h := f.hub()
	e := f.event(1)
	var once sync.Once
	f.blobs.Inject(func(_ context.Context, op, key string, call func() error) error {
		err := call()
		if op == "List" && key == webhooksPrefix {
			once.Do(func() {
				f.blobs.Inject(nil)
				f.webhook(h, r.URL)
				check(t, h.Record(t.Context(), e))
			})
		}
		return err
	})
	f.run(h)
	if id := r.next(t).header.Get("webhook-id"); id != e.ID {
		t.Errorf("got %s", id)
	}
}

// TestDelivery_NothingIsLostInACrash stops a hub at each of its calls of the
// store in turn, before and after it, and has another one go on.
func TestDelivery_NothingIsLostInACrash(t *testing.T) {
	crashed := errors.New("the process is dead")
	for _, after := range []bool{false, true} {
		for at := 1; ; at++ {
			f, r := newFixture(t), newReceiver(t)
			h := f.hub()
			f.webhook(h, r.URL)
			e := f.event(1)
			check(t, h.Record(t.Context(), e))
			var calls atomic.Int64
			dead := make(chan struct{})
			var once sync.Once
			f.blobs.Inject(func(_ context.Context, _, _ string, call func() error) error {
				n := calls.Add(1)
				if n < int64(at) {
					return call()
				}
				if n == int64(at) && after {
					_ = call()
				}
				once.Do(func() { close(dead) })
				return crashed
			})
			stop := f.run(h)
			select {
			case <-dead:
			case <-time.After(30 * time.Millisecond): // it ended all there is to do
			}
			stop()
			f.blobs.Inject(nil)
			f.run(f.hub())
			if id := r.next(t).header.Get("webhook-id"); id != e.ID {
				t.Fatalf("call %d: got %s", at, id)
			}
			until(t, "settled", func() bool { return f.count(outboxPrefix)+f.count(duePrefix) == 0 })
			list, _, err := f.hub().Log(t.Context(), shingle.EventFilter{Host: e.Host}, "", 10)
			if err != nil || len(list) != 1 || list[0].ID != e.ID {
				t.Fatalf("call %d: the log has %+v, %v", at, list, err)
			}
			if at > 30 {
				break
			}
		}
	}
}
