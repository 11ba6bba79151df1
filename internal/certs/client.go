package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

const (
	maxACMEBody   = 1 << 20
	maxRetryAfter = 7 * 24 * time.Hour
)

// client is one CA. The acme.Client in it repeats requests that were refused
// with badNonce, and polls as Retry-After says.
type client struct {
	acme.Client
	transport  *http.Transport
	connecting chan struct{} // held while the directory is fetched
	now        func() time.Time
	ari        atomic.Pointer[string] // URL of the renewal information; empty: the CA has none
}

func newClient(cfg *Config, ca CA) *client {
	c := &client{
		transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSClientConfig:       &tls.Config{RootCAs: ca.Roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: 30 * time.Second,
			MaxIdleConnsPerHost:   cfg.MaxIssuing,
			IdleConnTimeout:       time.Minute,
			ForceAttemptHTTP2:     true,
		},
		connecting: make(chan struct{}, 1),
		now:        cfg.Now,
	}
	var next http.RoundTripper = c.transport
	if ca.Transport != nil {
		next = ca.Transport
	}
	c.Client = acme.Client{
		Directory:   ca.Directory,
		UserAgent:   "shingle",
		PollTimeout: cfg.IssueTimeout,
		HTTPClient:  &http.Client{Transport: &caTransport{next: next, directory: ca.Directory, now: cfg.Now}, Timeout: time.Minute},
	}
	return c
}

// connect fetches the directory, once. Every call of the acme.Client would, but
// under a lock that does not heed ctx: with a CA that hangs, all would.
func (c *client) connect(ctx context.Context) error {
	if err := acquire(ctx, c.connecting); err != nil {
		return err
	}
	defer func() { <-c.connecting }()
	_, err := c.GetDirectory(ctx)
	return err
}

// answer is the CA's last answer, of which the acme.Client does not hand on with
// an error what we need. One goroutine uses it.
type answer struct {
	status  int       // 0 when the CA was not reached
	retryAt time.Time // as Retry-After asks; zero when it does not
}

type answerKey struct{}

// noteAnswer returns a context whose requests to the CA leave their answer in last.
func noteAnswer(ctx context.Context, last *answer) context.Context {
	return context.WithValue(ctx, answerKey{}, last)
}

// caTransport bounds the CA's answers, and notes them. It makes plain when to come
// again, as the acme.Client gives up for a field that it cannot read. It keeps the renewal
// information out of the directory that the acme.Client reads, which would ask
// for it after each order, and hold up the certificate if there was no answer.
type caTransport struct {
	next      http.RoundTripper
	directory string // its URL
	now       func() time.Time
}

// RoundTrip implements [http.RoundTripper].
func (t *caTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	last, ok := r.Context().Value(answerKey{}).(*answer)
	if !ok {
		last = &answer{}
	}
	*last = answer{}
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	*last = answer{status: resp.StatusCode, retryAt: retryAfter(resp.Header.Get("Retry-After"), t.now())}
	plainRetryAfter(resp.Header, last.retryAt.Sub(t.now()))
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxACMEBody}
	if r.URL.String() != t.directory || r.Context().Value(wholeDirectory{}) != nil || resp.StatusCode != http.StatusOK {
		return resp, nil
	}
	return withoutRenewalInfo(resp)
}

// wholeDirectory marks the context of a request for the directory as it is.
type wholeDirectory struct{}

func withoutRenewalInfo(resp *http.Response) (*http.Response, error) {
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	var directory map[string]json.RawMessage
	if json.Unmarshal(body, &directory) == nil {
		delete(directory, "renewalInfo")
		if body, err = json.Marshal(directory); err != nil {
			return nil, err
		}
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Del("Content-Length")
	return resp, nil
}

// retryAfter reads a Retry-After field (RFC 9110 section 10.2.3), and returns
// the zero time for none. What a CA cannot mean is cut to a week.
func retryAfter(field string, now time.Time) time.Time {
	latest := now.Add(maxRetryAfter)
	at, err := http.ParseTime(field)
	if seconds, atoiErr := strconv.Atoi(field); atoiErr == nil && seconds >= 0 {
		at, err = now.Add(time.Duration(min(seconds, int(maxRetryAfter/time.Second)))*time.Second), nil
	}
	if err != nil {
		return time.Time{}
	}
	if at.After(latest) {
		return latest
	}
	return at
}

// plainRetryAfter replaces a Retry-After field by wait in whole seconds, or drops one that
// says nothing.
func plainRetryAfter(h http.Header, wait time.Duration) {
	switch {
	case h.Get("Retry-After") == "":
	case wait <= 0: // it would be asked without a pause
		h.Del("Retry-After")
	default:
		h.Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	}
}

var errBodyTooLong = errors.New("the answer is longer than 1 MiB")

// boundedBody fails when more than left bytes are read.
type boundedBody struct {
	io.ReadCloser
	left int
}

// Read implements [io.Reader].
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errBodyTooLong
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	if b.left -= n; b.left < 0 {
		return n, errBodyTooLong
	}
	return n, err
}
