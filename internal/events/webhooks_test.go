package events

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/shingle-proxy/shingle"
)

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
