package storetest

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// Proxy stands between a client and a server that speaks HTTP, and breaks what
// passes as [Proxy.Inject] says.
type Proxy struct {
	URL string // for the client

	upstream  *url.URL
	transport *http.Transport
	mu        sync.Mutex
	wound     Wound
}

// Wound is how one exchange is broken. forward asks the server, and may be called
// once or not at all; the client gets what the wound writes to w.
type Wound func(w http.ResponseWriter, r *http.Request, forward func() (*http.Response, []byte, error))

// NewProxy starts a proxy in front of the server, and ends it with the test. It
// lets everything pass at first.
func NewProxy(t testing.TB, server string) *Proxy {
	t.Helper()
	upstream, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{upstream: upstream, transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}
	front := httptest.NewServer(p)
	p.URL = front.URL
	t.Cleanup(func() {
		front.CloseClientConnections()
		front.Close()
		p.transport.CloseIdleConnections()
	})
	return p
}

// Inject breaks every exchange that begins from now on; nil ends that.
func (p *Proxy) Inject(w Wound) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wound = w
}

// ServeHTTP implements [http.Handler].
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	wound := p.wound
	p.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		reset(w)
		return
	}
	if wound == nil {
		wound = pass
	}
	r.Body = io.NopCloser(bytes.NewReader(body)) // a wound may look at it
	wound(w, r, func() (*http.Response, []byte, error) { return p.forward(r, body) })
}

// forward sends the request as it came: the Host header may be signed.
func (p *Proxy) forward(r *http.Request, body []byte) (*http.Response, []byte, error) {
	out := r.Clone(r.Context())
	out.RequestURI, out.URL.Scheme, out.URL.Host = "", p.upstream.Scheme, p.upstream.Host
	out.Host, out.Body, out.ContentLength = r.Host, io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp, err := p.transport.RoundTrip(out)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp, answer, err
}

func pass(w http.ResponseWriter, _ *http.Request, forward func() (*http.Response, []byte, error)) {
	resp, body, err := forward() //nolint:bodyclose // forward has read and closed it
	if err != nil {
		reset(w)
		return
	}
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(body)
}

// Reset ends the connection with a reset, and the server never hears of it.
func Reset() Wound {
	return func(w http.ResponseWriter, _ *http.Request, _ func() (*http.Response, []byte, error)) { reset(w) }
}

// LoseAnswer has the server do its work, and resets the connection then.
func LoseAnswer() Wound { return LoseAnswerAfter(func() {}) }

// LoseAnswerAfter is [LoseAnswer] with something that happens before the client
// learns of the reset.
func LoseAnswerAfter(meanwhile func()) Wound {
	return func(w http.ResponseWriter, _ *http.Request, forward func() (*http.Response, []byte, error)) {
		_, _, _ = forward() //nolint:bodyclose // losing this answer is the point; forward has closed it
		meanwhile()
		reset(w)
	}
}

// CutAnswer cuts the connection in the middle of the server's answer.
func CutAnswer() Wound {
	return func(w http.ResponseWriter, _ *http.Request, forward func() (*http.Response, []byte, error)) {
		resp, body, err := forward() //nolint:bodyclose // forward has read and closed it
		conn := hijack(w)
		if conn == nil {
			return
		}
		defer conn.Close()
		if err != nil {
			return
		}
		var head strings.Builder
		_ = resp.Header.Write(&head)
		_, _ = io.WriteString(conn, "HTTP/1.1 "+resp.Status+"\r\n"+head.String()+"\r\n"+string(body[:len(body)/2]))
	}
}

// Answer answers in the server's place, which never hears of the request.
func Answer(status int, contentType, body string) Wound {
	return func(w http.ResponseWriter, _ *http.Request, _ func() (*http.Response, []byte, error)) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// Delay lets the exchange pass after a while, unless the client goes first.
func Delay(d time.Duration) Wound {
	return func(w http.ResponseWriter, r *http.Request, forward func() (*http.Response, []byte, error)) {
		select {
		case <-time.After(d):
			pass(w, r, forward)
		case <-r.Context().Done():
			reset(w)
		}
	}
}

// Hang never answers, until the client goes.
func Hang() Wound { return Delay(time.Hour) }

// AnyOf breaks a share of the exchanges, each by one of the wounds.
func AnyOf(share float64, wounds ...Wound) Wound {
	return func(w http.ResponseWriter, r *http.Request, forward func() (*http.Response, []byte, error)) {
		if rand.Float64() >= share {
			pass(w, r, forward)
			return
		}
		wounds[rand.IntN(len(wounds))](w, r, forward)
	}
}

// Once breaks the first exchange that matches, and lets all others pass.
func Once(match func(*http.Request) bool, wound Wound) Wound {
	var mu sync.Mutex
	done := false
	return func(w http.ResponseWriter, r *http.Request, forward func() (*http.Response, []byte, error)) {
		mu.Lock()
		mine := !done && match(r)
		done = done || mine
		mu.Unlock()
		if mine {
			wound(w, r, forward)
		} else {
			pass(w, r, forward)
		}
	}
}

// reset ends the client's connection so that it reads a reset, not an end.
func reset(w http.ResponseWriter) {
	conn := hijack(w)
	if conn == nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func hijack(w http.ResponseWriter) net.Conn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	return conn
}
