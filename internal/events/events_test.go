package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plainSealer binds a value to its record, and hides nothing.
type plainSealer struct{}

func (plainSealer) Seal(_ context.Context, plain []byte, record string) ([]byte, error) {
	return append([]byte(record+"\n"), plain...), nil
}

func (plainSealer) Open(_ context.Context, sealed []byte, record string) ([]byte, error) {
	plain, ok := strings.CutPrefix(string(sealed), record+"\n")
	if !ok {
		return nil, errors.New("sealed for another record")
	}
	return []byte(plain), nil
}

// fixture is a hub over a store that can fail, with a clock of its own.
type fixture struct {
	t     *testing.T
	blobs *storetest.FaultyBlobs
	ahead atomic.Int64
	cfg   Config
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t, blobs: &storetest.FaultyBlobs{Blobs: &memory.Store{}}}
	f.cfg = Config{Blobs: f.blobs, Sealer: plainSealer{}, AllowPrivate: true, Poll: 5 * time.Millisecond, Now: f.now}
	return f
}

func (f *fixture) now() time.Time          { return time.Now().Add(time.Duration(f.ahead.Load())) }
func (f *fixture) advance(d time.Duration) { f.ahead.Add(int64(d)) }

func (f *fixture) hub() *Hub {
	f.t.Helper()
	h, err := New(f.cfg)
	check(f.t, err)
	return h
}

// run has h lead until the test ends or the returned function is called.
func (f *fixture) run(h *Hub) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = h.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	f.t.Cleanup(stop)
	return stop
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// receiver notes what it gets and answers as it is told.
type receiver struct {
	*httptest.Server
	got    chan arrived
	answer atomic.Pointer[http.HandlerFunc]
}

type arrived struct {
	header http.Header
	body   []byte
	event  payload
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{got: make(chan arrived, 1000)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		a := arrived{header: q.Header, body: body}
		_ = json.Unmarshal(body, &a.event)
		r.got <- a
		if h := r.answer.Load(); h != nil {
			(*h)(w, q)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) answers(h http.HandlerFunc) { r.answer.Store(&h) }

func (r *receiver) status(n int) {
	r.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(n) })
}

func (r *receiver) next(t *testing.T) arrived {
	t.Helper()
	select {
	case a := <-r.got:
		return a
	case <-time.After(time.Minute):
		t.Fatal("nothing arrived")
		return arrived{}
	}
}

func (f *fixture) webhook(h *Hub, url string, types ...shingle.EventType) (shingle.Webhook, string) {
	f.t.Helper()
	w, secret, err := h.CreateWebhook(f.t.Context(), shingle.Webhook{URL: url, Types: types})
	check(f.t, err)
	return w, secret
}

func (f *fixture) event(n int) shingle.Event {
	return shingle.Event{
		ID: shingle.EventID("test", fmt.Sprint(n)), Type: shingle.EventDomainCreated, At: f.now(),
		Host: fmt.Sprintf("n%d.customer.com", n), Tenant: "acme", Data: object("n", fmt.Sprint(n)),
	}
}

// until waits for a state of the store.
func until(t *testing.T, what string, good func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !good(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not %s", what)
		}
	}
}

func (f *fixture) count(prefix string) int {
	keys, err := f.blobs.Blobs.List(f.t.Context(), prefix, "", 1000)
	check(f.t, err)
	return len(keys)
}

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

// TestWebhook_RotatedAgainTheReceiversSecretSignsOn has the answer to a rotation lost, and
// somebody who repeats it.
func TestWebhook_RotatedAgainTheReceiversSecretSignsOn(t *testing.T) {
	f, r := newFixture(t), newReceiver(t)
	h := f.hub()
	w, known := f.webhook(h, r.URL)
	var last string
	for i := range 2 + maxEarlier {
		var err error
		last, err = h.RotateSecret(t.Context(), w.ID)
		check(t, err)
		check(t, h.Test(t.Context(), w.ID))
		a := r.next(t)
		for _, s := range []string{known, last} {
			verifier, err := standardwebhooks.NewWebhook(s)
			check(t, err)
			if err := verifier.Verify(a.body, a.header); (err == nil) != (s == last || i <= maxEarlier) {
				t.Errorf("after %d rotations: %v", i+1, err)
			}
		}
	}
	f.advance(rotationTime)
	check(t, h.Test(t.Context(), w.ID))
	if n := len(strings.Fields(r.next(t).header.Get("webhook-signature"))); n != 1 {
		t.Errorf("%d signatures a day after the last rotation", n)
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

func TestLog_NewestFirstByPages(t *testing.T) {
	f := newFixture(t)
	h := f.hub()
	var want []string
	for i := range 25 {
		e := f.event(i)
		e.Host = []string{"a.customer.com", "b.customer.com"}[i%2]
		check(t, h.Record(t.Context(), e))
		check(t, h.Record(t.Context(), e)) // again, as after a lost reply
		want = append(want, e.ID)
		f.advance(time.Minute)
	}
	f.run(h)
	until(t, "logged", func() bool { return f.count(logPrefix) == 25 && f.count(outboxPrefix) == 0 })
	slices.Reverse(want)
	for host, ids := range map[string][]string{"": want, "b.customer.com": every(want[1:], 2)} {
		var got []string
		for after, more := "", true; more; more = after != "" {
			list, next, err := h.Log(t.Context(), shingle.EventFilter{Host: host}, after, 4)
			check(t, err)
			for _, e := range list {
				got = append(got, e.ID)
			}
			after = next
		}
		if !slices.Equal(got, ids) {
			t.Errorf("%q: got %q, want %q", host, got, ids)
		}
	}
	if _, _, err := h.Log(t.Context(), shingle.EventFilter{}, "no cursor", 4); !errors.Is(err, shingle.ErrInvalid) {
		t.Errorf("a bad cursor: %v", err)
	}
	f.advance(f.hub().cfg.Keep)
	_, err := h.clean(t.Context(), f.now())
	if n := f.count("events/"); err != nil || n != 0 {
		t.Errorf("%d records are left of what is too old, %v", n, err)
	}
}

// TestLog_WhatIsTooOldGoesHoweverMuchItIs has more of it than is removed at once.
func TestLog_WhatIsTooOldGoesHoweverMuchItIs(t *testing.T) {
	f := newFixture(t)
	h := f.hub()
	for i := range 9 * cleanPage { // each with an index, and a list has no more than 1000
		e := f.event(i)
		e.ID = shingle.EventID(fmt.Sprint(i))
		check(t, h.keep(t.Context(), &e))
	}
	f.advance(h.cfg.Keep)
	f.run(h)
	until(t, "removed", func() bool { return f.count("events/") == 0 })
}

func every(list []string, n int) (out []string) {
	for i := 0; i < len(list); i += n {
		out = append(out, list[i])
	}
	return out
}

func TestWebhook_DeletedLeavesNothing(t *testing.T) {
	f, r := newFixture(t), newReceiver(t)
	r.status(http.StatusTeapot)
	h := f.hub()
	w, _ := f.webhook(h, r.URL)
	f.run(h)
	for i := range 20 {
		check(t, h.Record(t.Context(), f.event(i)))
	}
	r.next(t)
	check(t, h.DeleteWebhook(t.Context(), w.ID))
	if _, err := h.Webhook(t.Context(), w.ID); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("still there: %v", err)
	}
	until(t, "cleared", func() bool { return f.count(webhooksPrefix)+f.count(duePrefix)+f.count(deadPrefix) == 0 })
}

func TestWebhook_BadInput(t *testing.T) {
	f := newFixture(t)
	f.cfg.AllowPrivate = false
	h := f.hub()
	for field, w := range map[string]shingle.Webhook{
		"url":         {URL: "http://hooks.example.com"},
		"types":       {URL: "https://hooks.example.com", Types: []shingle.EventType{"domain.exploded"}},
		"description": {URL: "https://hooks.example.com", Description: strings.Repeat("x", 257)},
		"tenant":      {URL: "https://hooks.example.com", Tenant: strings.Repeat("x", 129)},
	} {
		_, _, err := h.CreateWebhook(t.Context(), w)
		if e, ok := errors.AsType[*shingle.Error](err); !ok || e.Code != shingle.CodeInvalid || e.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, id := range []string{"", "nobody", "../certs/a", strings.Repeat("a", 100)} {
		if _, err := h.Webhook(t.Context(), id); !errors.Is(err, shingle.ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// TestWebhook_PrivateAddressesAreRefused has a name that leads to this machine,
// as anybody's DNS can have it.
func TestWebhook_PrivateAddressesAreRefused(t *testing.T) {
	f, r := newFixture(t), newReceiver(t)
	h := f.hub()
	for _, url := range []string{r.URL, strings.Replace(r.URL, "127.0.0.1", "localhost", 1)} {
		w, _ := f.webhook(h, url)
		f.cfg.AllowPrivate = false
		err := f.hub().Test(t.Context(), w.ID)
		if err == nil || !strings.Contains(err.Error(), "not a public address") || len(r.got) != 0 {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestWebhook_SecretsStayOut(t *testing.T) {
	f, r := newFixture(t), newReceiver(t)
	h := f.hub()
	w, secret := f.webhook(h, r.URL+"/?token=hidden")
	r.Close()
	err := h.Test(t.Context(), w.ID)
	if err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("the error is %v", err)
	}
	if all, err := h.Webhooks(t.Context()); err != nil || strings.Contains(fmt.Sprintf("%+v", all), secret) {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestFeed_SaysWhoChangedWhat(t *testing.T) {
	f := newFixture(t)
	store := &memory.Store{}
	f.cfg.Domains = store
	ctx := t.Context()
	d, err := store.CreateDomain(ctx, shingle.Domain{Host: "a.customer.com", Tenant: "acme", UpdatedBy: "ann"}, f.now())
	check(t, err)
	d.Paused, d.UpdatedBy = true, "bob"
	d, err = store.UpdateDomain(ctx, d, f.now().Add(time.Second))
	check(t, err)
	check(t, store.DeleteDomain(ctx, d.Host, d.Version, "cid", f.now().Add(2*time.Second)))
	h := f.hub()
	stop := f.run(h)
	until(t, "logged", func() bool { return f.count(logPrefix) == 3 })
	stop()
	list, _, err := h.Log(ctx, shingle.EventFilter{Host: d.Host}, "", 10)
	check(t, err)
	for i, want := range []struct {
		kind     shingle.EventType
		by, data string
	}{
		{shingle.EventDomainDeleted, "cid", `{"before":{"tenant":"acme","paused":true,"version":2}}`},
		{shingle.EventDomainUpdated, "bob", `{"before":{"tenant":"acme","paused":false,"version":1},"after":{"tenant":"acme","paused":true,"version":2}}`},
		{shingle.EventDomainCreated, "ann", `{"after":{"tenant":"acme","paused":false,"version":1}}`},
	} {
		if e := list[i]; e.Type != want.kind || e.By != want.by || string(e.Data) != want.data || e.Tenant != "acme" {
			t.Errorf("event %d is %+v, %s", i, e, e.Data)
		}
	}
	// A crash before the position was written makes them again: they are the same.
	check(t, h.records.Remove(ctx, h.feed().Key))
	f.run(f.hub())
	until(t, "read again", func() bool { return f.count(h.feed().Key) == 1 && f.count(outboxPrefix) == 0 })
	if n := f.count(logPrefix); n != 3 {
		t.Errorf("%d events", n)
	}
}
