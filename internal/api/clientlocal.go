package api

import (
	"bytes"
	"io"
	"net/http"
)

// NewLocalClient returns a client of an API in the same process: h, which answers as it
// answers everybody. It acts for whoever sent the request r: its own seem to come from
// there, to the host that was asked. One that is one too many fails at once, since
// somebody waits.
func NewLocalClient(h http.Handler, token string, r *http.Request) (*Client, error) {
	c, err := NewClient("http://shingle.invalid", token)
	if err != nil {
		return nil, err
	}
	c.tries, c.http.Transport = 1, local{h, r}
	return c, nil
}

// local is a transport that ends in a handler.
type local struct {
	handler http.Handler
	by      *http.Request
}

// RoundTrip implements [http.RoundTripper].
func (l local) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RemoteAddr, in.Host, in.TLS, in.RequestURI = l.by.RemoteAddr, l.by.Host, l.by.TLS, r.URL.RequestURI()
	if proto := l.by.Header.Get("X-Forwarded-Proto"); proto != "" {
		in.Header.Set("X-Forwarded-Proto", proto)
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w := &localAnswer{discard: discard{header: http.Header{}}}
	l.handler.ServeHTTP(w, in)
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

// localAnswer is a ResponseWriter that keeps the body too.
type localAnswer struct {
	discard
	body bytes.Buffer
}

// Write implements [http.ResponseWriter].
func (a *localAnswer) Write(b []byte) (int, error) { return a.body.Write(b) }
