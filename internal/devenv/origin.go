package devenv

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"sort"
	"strconv"
	"time"

	"github.com/coder/websocket"
)

// OriginConfig is what the sample origin needs.
type OriginConfig struct {
	// Logger takes what net/http complains about, at debug level. Required.
	Logger *slog.Logger
}

// Origin is a small product that shows the requests it gets, at any path but:
//
//	/echo           sends the body back as it arrives
//	/events?n=3     sends n server-sent events
//	/ws             sends each WebSocket message back
//	/status/{code}  answers with the status
type Origin struct {
	server *http.Server
	addr   string
	served chan struct{} // closed when the accept loop has ended
	busy   inflight

	closing context.Context // ends when Close begins: time to say goodbye
	close   func()
	cut     func() // ends the context of every request
}

//go:embed origin.html
var originHTML string

var originPage = template.Must(template.New("origin").Parse(originHTML))

// NewOrigin starts the origin, on plain HTTP on a free port of 127.0.0.1. The
// caller closes it.
func NewOrigin(cfg OriginConfig) (*Origin, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the origin: %w", err)
	}
	o := &Origin{addr: l.Addr().String(), served: make(chan struct{})}
	o.closing, o.close = context.WithCancel(context.Background())
	ctx, cut := context.WithCancel(context.Background())
	o.cut = cut
	o.server = &http.Server{
		Handler: o.handler(), ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(o.served)
		_ = o.server.Serve(l) // until Close
	}()
	return o, nil
}

// Addr returns the origin's host:port.
func (o *Origin) Addr() string { return o.addr }

// Close ends the origin. WebSockets are told that it goes away (1001). What has
// not ended after a second is cut.
func (o *Origin) Close() error {
	o.close()
	timer := time.AfterFunc(originGrace, o.cut)
	defer timer.Stop()
	err := closeServer(o.server, originGrace)
	<-o.served
	o.busy.refuse()
	o.busy.wait()
	o.cut()
	return err
}

// originGrace is how long Close waits for requests under way.
const originGrace = time.Second

func (o *Origin) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", show)
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/events", events)
	mux.HandleFunc("/ws", o.webSocket)
	mux.HandleFunc("/status/{code}", status)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !o.busy.enter() {
			panic(http.ErrAbortHandler)
		}
		defer o.busy.leave()
		mux.ServeHTTP(w, r)
	})
}

// request is what the origin shows of a request.
type request struct {
	Method string      `json:"method"`
	Path   string      `json:"path"`
	Host   string      `json:"host"`
	Header http.Header `json:"header"`
	Custom string      `json:"-"`
	Fields []field     `json:"-"`
}

type field struct{ Name, Value string }

// show answers with the request, as a page or, for a client that would rather
// have it or says `?format=json`, as JSON.
func show(w http.ResponseWriter, r *http.Request) {
	seen := request{Method: r.Method, Path: r.RequestURI, Host: r.Host, Header: r.Header, Custom: r.Header.Get("User-Custom-Domain")}
	w.Header().Set("Vary", "Accept")
	if r.URL.Query().Get("format") == "json" || prefersJSON(r.Header.Values("Accept")) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(seen)
		return
	}
	for name, values := range r.Header {
		for _, v := range values {
			seen.Fields = append(seen.Fields, field{name, v})
		}
	}
	sort.Slice(seen.Fields, func(i, j int) bool { return seen.Fields[i].Name < seen.Fields[j].Name })
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	_ = originPage.Execute(w, seen)
}

// echo sends the body back as it arrives.
func echo(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex()
	w.Header().Set("Content-Type", "application/octet-stream")
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil || control.Flush() != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// events sends `?n=` server-sent events.
func events(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil {
		n = 3
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range min(n, 1000) {
		if _, err := fmt.Fprintf(w, "data: %d\n\n", i); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
	}
}

// webSocket sends each message back.
func (o *Origin) webSocket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer c.CloseNow()
	ctx, ended := context.WithCancel(r.Context())
	defer ended()
	o.busy.spawn(func() {
		select {
		case <-o.closing.Done():
			_ = c.Close(websocket.StatusGoingAway, "the origin is closing")
		case <-ctx.Done():
		}
	})
	for {
		kind, message, err := c.Read(ctx)
		if err != nil {
			return
		}
		if err := c.Write(ctx, kind, message); err != nil {
			return
		}
	}
}

// status answers with the status in the path.
func status(w http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(r.PathValue("code"))
	if err != nil || code < 200 || code > 599 {
		code = http.StatusBadRequest
	}
	w.WriteHeader(code)
}
