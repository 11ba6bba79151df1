package panel_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// receiver is a server for webhooks that answers with a status.
type receiver struct {
	url    string
	status atomic.Int32
	got    atomic.Int32
}

func receive(t *testing.T) *receiver {
	r := &receiver{}
	r.status.Store(http.StatusNoContent)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		r.got.Add(1)
		w.WriteHeader(int(r.status.Load()))
	}))
	t.Cleanup(srv.Close)
	r.url = srv.URL + "/hook"
	return r
}

// addHook sets a webhook up, and returns the path of its page.
func (v *visitor) addHook(url string, fields ...string) string {
	v.t.Helper()
	v.says(v.want(200, v.post("webhooks", append([]string{"url", url}, fields...)...)), "The webhook was set up", "whsec_", "is not shown again")
	list, err := v.events.Webhooks(v.t.Context())
	check(v.t, err)
	for _, w := range list {
		if w.URL == url {
			return "webhooks/" + w.ID
		}
	}
	v.t.Fatal("the webhook is not there")
	return ""
}

func TestWebhooks_SetUpTestedDisabledRemoved(t *testing.T) {
	s := open(t)
	r := receive(t)
	v := s.as(shingle.RoleOperator, "")
	v.see("webhooks", "No webhook yet", "Add a webhook")
	hook := v.addHook(r.url, "description", "tickets", "types", "domain.status , certificate.issued", "tenant", "acme")
	v.see("webhooks", r.url, "tickets", "domain.status, certificate.issued of acme", "Enabled")
	v.saysNot(v.see(hook, "Everything has arrived"), "whsec_")

	v.says(v.sends(hook, "do", "test"), "The test event has arrived.")
	if r.got.Load() != 1 {
		t.Errorf("%d deliveries", r.got.Load())
	}
	r.status.Store(500)
	v.says(v.want(422, v.post(hook, "do", "test")), `role="alert"`, "500")
	v.says(v.sends(hook, "do", "disable"), "The webhook was changed.", "Disabled", "Enable")
	v.says(v.sends(hook, "do", "enable"), "Enabled")
	v.want(422, v.post(hook, "do", "explode"))

	// Removing asks first, and says what it means.
	v.see(hook+"/delete", "Remove this webhook?", r.url, "Nothing is sent there any more", "Its secret is destroyed", "disable it instead")
	v.foreign(hook + "/delete")
	v.foreign(hook, "do", "disable")
	v.foreign("webhooks", "url", r.url)
	v.see(hook, "Enabled")
	v.says(v.sends(hook+"/delete"), "The webhook was removed.", "No webhook yet")
	v.want(404, v.get(hook))
	v.want(404, v.get(hook+"/delete"))
	v.want(404, v.post(hook+"/delete"))
}

func TestWebhooks_FaultsAreBesideTheirFields(t *testing.T) {
	s := open(t)
	v := s.as(shingle.RoleOperator, "")
	good := "https://app.example.com/hooks"
	v.refuses("webhooks", "url", "The URL must begin with https://", "url", "ftp://app.example.com/hooks", "description", "tickets")
	v.refuses("webhooks", "url", "must look like", "url", "https://user@app.example.com/hooks")
	v.refuses("webhooks", "types", `"domain.eaten" is not an event`, "url", good, "types", "domain.eaten")
	v.refuses("webhooks", "description", "256", "url", good, "description", strings.Repeat("d", 300))
	v.refuses("webhooks", "tenant", "128", "url", good, "tenant", strings.Repeat("t", 200))
	v.see("webhooks", "No webhook yet")
}

// TestWebhooks_WhatDidNotArriveIsReplayed has deliveries fail until they are given up.
func TestWebhooks_WhatDidNotArriveIsReplayed(t *testing.T) {
	s := open(t)
	r := receive(t)
	r.status.Store(503)
	v := s.as(shingle.RoleOperator, "")
	hook := v.addHook(r.url)
	s.run(s.events.Run)
	for _, id := range []string{"one", "two"} {
		check(t, s.events.Record(t.Context(), shingle.Event{ID: shingle.EventID(id), Type: shingle.EventDomainCreated, Host: id + ".example.com", At: time.Now()}))
	}
	a := v.awaits(hook, "Send all again", "one.example.com", "two.example.com")
	v.says(a, "Domain added", "2 times", "503")
	v.see(hook+"/delete", "2 events that could not be delivered are forgotten")
	v.see("", "A webhook does not work", r.url)
	r.status.Store(200)
	_, event, _ := strings.Cut(a.text, `name="event" value="`)
	event, _, _ = strings.Cut(event, `"`)
	v.says(v.sends(hook, "do", "replay", "event", event), "The dead letters are being sent again.")
	v.sends(hook, "do", "replay")
	v.awaits(hook, "Everything has arrived")
}

func TestWebhooks_WhoMayWhat(t *testing.T) {
	s := open(t)
	operator, read, acme := s.as(shingle.RoleOperator, ""), s.as(shingle.RoleRead, ""), s.as(shingle.RoleTenant, "acme")
	r := receive(t)
	hook := operator.addHook(r.url)
	read.saysNot(read.see("webhooks", r.url), "Add a webhook")
	read.saysNot(read.see(hook), "Send a test event", "Remove")
	read.saysNot(read.see(hook+"/delete"), `<button class="button danger"`)
	read.want(422, read.post("webhooks", "url", "https://app.example.com/hooks")) // 403 of the API's, shown in the form
	read.want(422, read.post(hook, "do", "disable"))
	read.want(403, read.post(hook+"/delete"))
	for _, path := range []string{"webhooks", hook, hook + "/delete"} {
		acme.want(404, acme.get(path))
		acme.want(404, acme.post(path, "do", "disable", "url", "https://app.example.com/hooks"))
	}
	operator.see(hook, "Enabled")
}
