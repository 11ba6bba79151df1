package edge

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// http3Request is one request over HTTP/3.
type http3Request struct {
	Request
	writer http3Writer
	body   httpBody
}

// ServeHTTP implements http.Handler.
func (q *quicServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := visitOf(r.Context())
	defer v.end()
	switch code := v.begin(); code {
	case 0:
	case http3.ErrCodeExcessiveLoad:
		_ = v.conn.CloseWithError(quic.ApplicationErrorCode(code), "")
		return
	default:
		reject(w, code)
		return
	}
	x := &http3Request{}
	x.writer = http3Writer{httpWriter: httpWriter{w: w, control: http.NewResponseController(w), r: r, stall: q.cfg.StallTimeout, wholeDuplex: true}, visit: v}
	switch p, err := x.fill(r, q.cfg); {
	case err != nil:
		x.writer.Abort()
	case p != nil:
		writePage(&x.writer, &x.Request, *p)
	default:
		q.handler(r.Context(), &x.writer, &x.Request)
	}
	q.classes[min(x.writer.status/100, len(requestClasses)-1)].Add(1)
	if x.domain != "" {
		q.traffic.add(&x.Request, x.writer.status, x.body.read, x.writer.written)
	}
	if x.writer.aborted {
		panic(http.ErrAbortHandler)
	}
}

// reject tells the client that nothing was done of its request.
func reject(w http.ResponseWriter, code http3.ErrCode) {
	s, err := w.(http3.HTTPStreamer).HTTPStream()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	s.CancelRead(quic.StreamErrorCode(code))
	s.CancelWrite(quic.StreamErrorCode(code))
}

// fill takes the request over. It returns a page for one that cannot be passed on.
func (x *http3Request) fill(r *http.Request, cfg *Config) (*page, error) {
	ok := x.take(r)
	x.Client = clientOf(r.RemoteAddr)
	switch {
	case r.Method == http.MethodConnect && r.Proto != "HTTP/3.0":
		return &pageNotImplemented, nil // RFC 9220 section 3
	case !ok:
		return &pageBadRequest, nil
	}
	body, err := x.readFirst(r, cfg.HeaderTimeout)
	if body == nil || err != nil {
		return nil, err
	}
	if x.ExpectContinue = equalFold(r.Header.Get("Expect"), "100-continue"); x.ExpectContinue {
		body = &continuingBody{body, &x.writer}
	}
	x.body = httpBody{body: body, w: &x.writer.httpWriter, stall: cfg.StallTimeout}
	x.Body, x.ContentLength = &x.body, r.ContentLength
	x.Trailer = func() Fields { return trailerFields(r.Trailer) }
	return nil, nil
}

// clientOf returns the client's address as it is now: a connection outlives its path
// (RFC 9000 section 9).
func clientOf(addr string) netip.AddrPort {
	a, _ := netip.ParseAddrPort(addr)
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// readFirst returns the request's body, nil when it has none. Only the end of the
// stream tells that, and comes with the head or right behind it: where bodies are not
// common it is waited for, so that origins are not told of one that is not there.
func (x *http3Request) readFirst(r *http.Request, most time.Duration) (io.Reader, error) {
	if r.ContentLength == 0 {
		return nil, nil
	}
	if r.ContentLength > 0 || methodExpectsBody(r.Method) || r.Header.Get("Expect") != "" {
		return r.Body, nil
	}
	_ = x.writer.control.SetReadDeadline(time.Now().Add(most))
	var first [1]byte
	n, err := r.Body.Read(first[:])
	_ = x.writer.control.SetReadDeadline(time.Time{})
	switch {
	case n > 0:
		return io.MultiReader(bytes.NewReader(first[:n]), r.Body), nil
	case errors.Is(err, io.EOF):
		return nil, nil
	}
	return nil, err
}

// continuingBody sends 100 (Continue) before it reads (RFC 9110 section 10.1.1).
type continuingBody struct {
	io.Reader
	w *http3Writer
}

// Read implements io.Reader.
func (b *continuingBody) Read(p []byte) (int, error) {
	b.w.proceed()
	return b.Reader.Read(p)
}

// http3Writer is the ResponseWriter over quic-go's. Unlike net/http's that has no
// deadline of its own, and takes calls from one goroutine only.
type http3Writer struct {
	httpWriter
	visit *visit

	heads    sync.Mutex // held while a head is written
	answered bool       // the final one was
	told     bool       // 100 (Continue) was sent
}

// proceed sends 100 (Continue), once and not behind the answer.
func (w *http3Writer) proceed() {
	w.heads.Lock()
	defer w.heads.Unlock()
	if w.answered || w.told {
		return
	}
	w.told = true
	w.w.WriteHeader(http.StatusContinue)
}

// Inform implements ResponseWriter.
func (w *http3Writer) Inform(status int, header Fields) error {
	w.heads.Lock()
	defer w.heads.Unlock()
	w.extend()
	return w.httpWriter.Inform(status, header)
}

// WriteHead implements ResponseWriter. An answer to HEAD is sent at once, for else it
// would be given the length of the body that it does not have.
func (w *http3Writer) WriteHead(status int, header Fields) error {
	w.heads.Lock()
	defer w.heads.Unlock()
	w.answered = true
	w.extend()
	if err := w.httpWriter.WriteHead(status, header); err != nil || w.r.Method != http.MethodHead {
		return err
	}
	return w.control.Flush()
}

// Write implements ResponseWriter.
func (w *http3Writer) Write(p []byte) (int, error) {
	w.extend()
	n, err := w.w.Write(p)
	w.written += int64(n)
	return n, err
}

// CloseAfter implements ResponseWriter.
func (w *http3Writer) CloseAfter() { w.visit.closeSoon() }

// Hijack implements ResponseWriter. No request over HTTP/3 asks to switch.
func (w *http3Writer) Hijack() (_ net.Conn, _ io.Reader, err error) {
	return nil, nil, errors.ErrUnsupported
}
