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
	Logger *slog.Logger
}

// Origin is a small product that shows the requests it gets.
type Origin struct {
	server *http.Server
	addr   string
}

//go:embed origin.html
var originHTML string

var originPage = template.Must(template.New("origin").Parse(originHTML))

// NewOrigin starts the origin, on plain HTTP.
func NewOrigin(cfg OriginConfig) (*Origin, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the origin: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", show)
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/events", events)
	mux.HandleFunc("/ws", webSocket)
	mux.HandleFunc("/status/{code}", status)
	o := &Origin{addr: l.Addr().String(), server: &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}}
	go func() { _ = o.server.Serve(l) }() // ends at Close
	return o, nil
}

// Addr returns the origin's host:port.
func (o *Origin) Addr() string { return o.addr }

// Close ends the origin.
func (o *Origin) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if o.server.Shutdown(ctx) != nil {
		return o.server.Close()
	}
	return nil
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

// show answers with the request, as a page or, for `?format=json`, as JSON.
func show(w http.ResponseWriter, r *http.Request) {
	seen := request{Method: r.Method, Path: r.RequestURI, Host: r.Host, Header: r.Header, Custom: r.Header.Get("User-Custom-Domain")}
	if r.URL.Query().Get("format") == "json" || r.Header.Get("Accept") == "application/json" {
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
func webSocket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer c.CloseNow()
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if err := c.Write(r.Context(), kind, message); err != nil {
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
