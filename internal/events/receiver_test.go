package events

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

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
