package panel

import (
	"net/http"
	"net/url"

	"github.com/shingle-proxy/shingle/internal/api"
)

const eventsAPage = 50

type eventList struct {
	Host        string
	Events      []api.Event
	Next, First string
}

func listEvents(v *visit) error {
	q := v.r.URL.Query()
	found, err := v.api.EventPage(v.ctx(), hostOf(q.Get("host")), q.Get("after"), eventsAPage)
	if err != nil {
		return err
	}
	list := eventList{Host: hostOf(q.Get("host")), Events: found.Events}
	if found.Next != "" {
		list.Next = pageAddress(q, found.Next)
	}
	if q.Get("after") != "" {
		list.First = pageAddress(q, "")
	}
	return v.show("events", list)
}

// streamEvents passes on the API's stream of events, which ends with the visitor's token.
func (p *panel) streamEvents(v *visit) error {
	r := v.r.Clone(v.ctx())
	r.URL = &url.URL{Path: "/v1/events/stream"}
	if host := v.r.URL.Query().Get("host"); host != "" {
		r.URL.RawQuery = url.Values{"host": {host}}.Encode()
	}
	r.RequestURI, r.Body = r.URL.RequestURI(), http.NoBody
	r.Header = http.Header{"Authorization": {"Bearer " + v.token}}
	if last := v.r.Header.Get("Last-Event-ID"); last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	p.API.ServeHTTP(v.w, r)
	return nil
}
