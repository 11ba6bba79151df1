package edge

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shingle-proxy/shingle"
)

// engine speaks HTTP/1.1 and HTTP/2 by net/http's server and hands requests to
// a handler in the edge's own terms.
type engine struct {
	server  *http.Server
	handler func(context.Context, ResponseWriter, *Request)
	stall   time.Duration
	traffic *traffic
	classes [2][len(requestClasses)]atomic.Uint64 // of HTTP/1 and HTTP/2
}

func newEngine(cfg *Config, t *traffic, h func(context.Context, ResponseWriter, *Request)) *engine {
	e := &engine{handler: h, traffic: t, stall: cfg.StallTimeout}
	e.server = &http.Server{
		Handler:           e,
		ReadHeaderTimeout: cfg.HeaderTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		// From the request's head to the first byte of the answer; the writer
		// moves it on from there.
		WriteTimeout:   cfg.ConnectTimeout + cfg.OriginTimeout + cfg.StallTimeout,
		MaxHeaderBytes: maxHeadSize,
		ErrorLog:       slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return shingle.WithClient(ctx, clientAddr(c))
		},
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 128, MaxReadFrameSize: 16 << 10},
	}
	return e
}

func clientAddr(c net.Conn) netip.AddrPort {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// httpRequest is one request with its storage, which is used again.
type httpRequest struct {
	Request
	writer httpWriter
	body   httpBody
}

var httpRequests = sync.Pool{New: func() any { return new(httpRequest) }}

// ServeHTTP implements http.Handler.
func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := httpRequests.Get().(*httpRequest)
	x.writer = httpWriter{w: w, control: http.NewResponseController(w), r: r, stall: e.stall}
	if !x.fill(r, e.stall) {
		writePage(&x.writer, &x.Request, pageBadRequest)
	} else {
		e.handler(r.Context(), &x.writer, &x.Request)
	}
	aborted := x.writer.aborted
	e.classes[min(max(r.ProtoMajor, 1), 2)-1][min(x.writer.status/100, len(requestClasses)-1)].Add(1)
	if x.domain != "" {
		e.traffic.add(&x.Request, x.writer.status, x.body.read, x.writer.written)
	}
	clear(x.Header)
	*x = httpRequest{Request: Request{Header: x.Header[:0]}}
	httpRequests.Put(x)
	if aborted {
		panic(http.ErrAbortHandler)
	}
}

// fill takes the request over. It reports whether it can be passed on.
func (x *httpRequest) fill(r *http.Request, stall time.Duration) bool {
	ok := x.take(r)
	x.Client = shingle.ClientOf(r.Context())
	if r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0 {
		x.body = httpBody{body: r.Body, w: &x.writer, stall: stall}
		x.Body, x.ContentLength = &x.body, r.ContentLength
		x.Trailer = func() Fields { return trailerFields(r.Trailer) }
		x.ExpectContinue = equalFold(r.Header.Get("Expect"), "100-continue")
	}
	if r.ProtoMajor == 1 && hasToken(strings.Join(r.Header["Connection"], ","), "upgrade") {
		x.Upgrade = strings.Join(r.Header["Upgrade"], ", ")
		if hasToken(x.Upgrade, "h2c") { // would open a way around the edge's policy
			x.Upgrade = ""
		}
	}
	return ok
}

// take takes the head over. It reports whether the request can be passed on.
func (x *Request) take(r *http.Request) bool {
	x.Method, x.Authority, x.Major = r.Method, r.Host, r.ProtoMajor
	if r.TLS != nil {
		x.TLS, x.SNI, x.Version, x.Chains = true, r.TLS.ServerName, r.TLS.Version, r.TLS.VerifiedChains
	}
	x.Target = r.RequestURI
	if x.Target == "" || x.Target[0] != '/' && x.Target != "*" {
		x.Target = r.URL.RequestURI() // absolute-form (RFC 9112 section 3.2.2)
	}
	for name, values := range r.Header {
		for _, v := range values {
			x.Header = append(x.Header, Field{name, v})
		}
	}
	return x.Method != "CONNECT" && !strings.ContainsAny(x.Target, " \r\n")
}

func trailerFields(h http.Header) Fields {
	var f Fields
	for name, values := range h {
		for _, v := range values {
			f = append(f, Field{name, v})
		}
	}
	return f
}

// httpBody reads a request's body and gives the client the stall time-out for
// each part.
type httpBody struct {
	body  io.Reader
	w     *httpWriter
	stall time.Duration
	until time.Time // the deadline that is set
	read  int64     // bytes
	ended bool
}

// Read implements io.Reader.
func (b *httpBody) Read(p []byte) (int, error) {
	if !b.w.wholeDuplex {
		b.w.wholeDuplex = true
		_ = b.w.control.EnableFullDuplex() // HTTP/2 is so anyhow
	}
	if now := time.Now(); b.until.Sub(now) < b.stall/2 {
		b.until = now.Add(b.stall)
		b.w.awaitBody(b.until)
	}
	n, err := b.body.Read(p)
	b.read += int64(n)
	if err == io.EOF && !b.ended {
		b.ended = true
		_ = b.w.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// httpWriter is the ResponseWriter over net/http's.
type httpWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	r       *http.Request
	stall   time.Duration
	written int64
	until   time.Time // the write deadline that is set; zero: the server's

	status      int      // of the final answer; 0: none yet
	altSvc      []string // the field's values, not changed; nil: none
	aborted     bool
	closeAfter  bool
	wholeDuplex bool // only the body's reader touches it
	mu          sync.Mutex
	cut         bool // InterruptBody was called
}

// Inform implements ResponseWriter.
func (w *httpWriter) Inform(status int, header Fields) error {
	if !w.r.ProtoAtLeast(1, 1) {
		return nil
	}
	h := w.w.Header()
	setFields(h, header)
	w.w.WriteHeader(status)
	clear(h)
	return nil
}

// closeField is the value of Connection by which an answer ends its connection. On HTTP/2
// it makes net/http send GOAWAY.
var closeField = []string{"close"}

// WriteHead implements ResponseWriter.
func (w *httpWriter) WriteHead(status int, header Fields) error {
	w.status = status
	h := w.w.Header()
	setFields(h, header)
	if w.altSvc != nil {
		h["Alt-Svc"] = w.altSvc
	}
	if w.closeAfter {
		h["Connection"] = closeField
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // no guessing
	}
	w.w.WriteHeader(status)
	return nil
}

func setFields(h http.Header, fields Fields) {
	values := make([]string, len(fields))
	for i := range fields {
		name := http.CanonicalHeaderKey(fields[i].Name)
		if old, ok := h[name]; ok {
			h[name] = append(old, fields[i].Value)
			continue
		}
		values[i] = fields[i].Value
		h[name] = values[i : i+1 : i+1]
	}
}

// Write implements ResponseWriter. The server's own write deadline holds for
// the first part; from then on each gets the stall time-out.
func (w *httpWriter) Write(p []byte) (int, error) {
	if w.written > 0 {
		w.extend()
	}
	n, err := w.w.Write(p)
	w.written += int64(n)
	return n, err
}

func (w *httpWriter) extend() {
	if now := time.Now(); w.until.Sub(now) < w.stall/2 {
		w.until = now.Add(w.stall)
		_ = w.control.SetWriteDeadline(w.until)
	}
}

// Flush implements ResponseWriter. What follows may be long in coming, so the
// server's deadline for the whole answer ends here.
func (w *httpWriter) Flush() error {
	w.extend()
	return w.control.Flush()
}

// WriteTrailer implements ResponseWriter.
func (w *httpWriter) WriteTrailer(fields Fields) {
	h := w.w.Header()
	for _, f := range fields {
		h.Add(http.TrailerPrefix+f.Name, f.Value)
	}
}

// Advertise implements ResponseWriter.
func (w *httpWriter) Advertise(altSvc []string) { w.altSvc = altSvc }

// Abort implements ResponseWriter.
func (w *httpWriter) Abort() { w.aborted = true }

// CloseAfter implements ResponseWriter.
func (w *httpWriter) CloseAfter() { w.closeAfter = true }

// InterruptBody implements ResponseWriter.
func (w *httpWriter) InterruptBody() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	_ = w.control.SetReadDeadline(aLongTimeAgo)
}

// awaitBody gives the client until then for more of the body, unless that was interrupted.
func (w *httpWriter) awaitBody(until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.cut {
		_ = w.control.SetReadDeadline(until)
	}
}

// Hijack implements ResponseWriter.
func (w *httpWriter) Hijack() (net.Conn, io.Reader, error) {
	c, rw, err := w.control.Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.status = http.StatusSwitchingProtocols
	return c, rw.Reader, nil
}
