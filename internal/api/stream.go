package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shingle-proxy/shingle"
)

const (
	streamOfEvents = "GET /v1/events/stream"
	maxStreams     = 200              // at a time, of a process; of one tenant's tokens a tenth
	maxStream      = time.Hour        // then the client comes again, from where it was
	heartbeat      = 15 * time.Second // at most, until something is sent
	streamWrite    = 10 * time.Second // in which a client must take what is sent
)

// streamRoute adds the stream of events, server-sent (the HTML standard, section 9.2).
func (s *server) streamRoute(a huma.API) {
	word := &huma.Schema{Type: huma.TypeString}
	op := operation("stream-events", http.MethodGet, "/v1/events/stream", "Follow what happens, live", http.StatusNotFound)
	op.Parameters = []*huma.Param{
		{Name: "host", In: "query", Description: "Only what happens to this domain", Schema: word},
		{Name: "tenant", In: "query", Description: "Only what happens to this tenant's domains", Schema: word},
		{Name: "Last-Event-ID", In: "header", Description: "The id of the last event that arrived: what happened since comes first", Schema: word},
	}
	op.Description = "Server-sent events: `event` is the type, `data` the event as in the list. A comment comes at least every 15 seconds. " +
		"After an hour, or when the process ends, the stream ends: connect again with Last-Event-ID. " +
		"404: more has happened since that event than a stream looks at; read the list."
	s.rule(&op)
	op.Responses = map[string]*huma.Response{
		"200": {Description: "Until it ends", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: word}}},
	}
	problem := a.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	for _, status := range append(op.Errors, http.StatusInternalServerError) {
		op.Responses[fmt.Sprint(status)] = &huma.Response{
			Description: http.StatusText(status), Content: map[string]*huma.MediaType{problemType: {Schema: problem}},
		}
	}
	a.OpenAPI().AddOperation(&op)
	s.mux.HandleFunc(streamOfEvents, s.streamEvents)
}

func (s *server) streamEvents(w http.ResponseWriter, r *http.Request) {
	about, err := filterOf(r)
	if err != nil {
		s.fail(w, err)
		return
	}
	release, err := s.takeStream(r.Context())
	if err != nil {
		w.Header().Set("Retry-After", "10")
		s.fail(w, err)
		return
	}
	defer release()
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // the server's own would end it
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if s.Ending != nil {
		go func() {
			select {
			case <-s.Ending:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	out := &eventStream{tenant: tenantOf(ctx), w: w, control: http.NewResponseController(w), now: s.Now, alive: func() error { return s.stillGood(ctx, r) }}
	err = s.Events.Stream(ctx, about, r.Header.Get("Last-Event-ID"), out.send, out.idle)
	switch {
	case ctx.Err() != nil || out.failed:
	case !out.begun:
		s.fail(w, err)
	case err != nil:
		data, _ := json.Marshal(s.report(err)) // strings and numbers always can
		_ = out.write(fmt.Sprintf("event: problem\ndata: %s\n\n", data))
	}
}

// takeStream takes a place for one more stream, or returns [shingle.ErrLimited].
func (s *server) takeStream(ctx context.Context) (release func(), err error) {
	own, err := s.tenantStreams.take(ctx)
	if err != nil {
		return nil, err
	}
	select {
	case s.streams <- struct{}{}:
		return func() { <-s.streams; own() }, nil
	default:
		own()
		return nil, shingle.Errorf(shingle.CodeLimited, "%d streams are open here, which is the limit: try again later", maxStreams)
	}
}

// stillGood refuses to go on for a token that was revoked or has expired.
func (s *server) stillGood(ctx context.Context, r *http.Request) error {
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	_, err := s.Tokens.CheckToken(ctx, bearer(r), from.Addr())
	if errors.Is(err, shingle.ErrUnauthorized) {
		return err
	}
	return nil
}

// filterOf returns what a stream is to be about. Another tenant has no events.
func filterOf(r *http.Request) (f shingle.EventFilter, err error) {
	q := r.URL.Query()
	for name := range q {
		if name != "host" && name != "tenant" {
			return f, at("query."+name, shingle.Errorf(shingle.CodeInvalid, "there is no such parameter"))
		}
	}
	if host := q.Get("host"); host != "" {
		if f.Host, err = shingle.NormalizeDomain(host); err != nil {
			return f, at("query.host", err)
		}
	}
	f.Tenant = q.Get("tenant")
	if len(f.Tenant) > shingle.MaxTenant || f.Tenant != "" && !shingle.IsTenant(f.Tenant) {
		return f, at("query.tenant", shingle.Errorf(shingle.CodeInvalid, "this is not the name of a tenant"))
	}
	if own := tenantOf(r.Context()); own != "" {
		if f.Tenant != "" && f.Tenant != own {
			return f, shingle.Errorf(shingle.CodeNotFound, "there is no tenant %q", f.Tenant)
		}
		f.Tenant = own
	}
	return f, nil
}

// eventStream writes server-sent events.
type eventStream struct {
	tenant  string // of the caller
	w       http.ResponseWriter
	control *http.ResponseController
	now     func() time.Time
	alive   func() error

	begun  bool
	failed bool // the client has gone, or does not read
	last   time.Time
}

func (o *eventStream) send(id string, e shingle.Event) error {
	e = e.ForTenant(o.tenant)
	data, err := json.Marshal(showEvent(&e))
	if err != nil {
		return err
	}
	return o.write(fmt.Sprintf("id: %s\nevent: %s\ndata: %s\n\n", id, e.Type, data))
}

// idle keeps the connection from looking dead.
func (o *eventStream) idle() error {
	if o.begun && o.now().Sub(o.last) < heartbeat-streamSlack {
		return nil
	}
	if err := o.alive(); err != nil {
		return err
	}
	return o.write(":\n\n")
}

const streamSlack = 3 * time.Second // idle may come so late

func (o *eventStream) write(text string) error {
	if !o.begun {
		o.begun = true
		o.w.Header().Set("Content-Type", "text/event-stream")
		o.w.Header().Set("X-Accel-Buffering", "no") // proxies of nginx's kind
		text = "retry: 2000\n\n" + text
	}
	o.last = o.now()
	_ = o.control.SetWriteDeadline(time.Now().Add(streamWrite)) // one that cannot has none
	_, err := o.w.Write([]byte(text))
	if err == nil {
		err = o.control.Flush()
	}
	o.failed = err != nil
	return err
}
