package events

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/shingle-proxy/shingle"
)

const (
	maxAnswer     = 16 << 10 // of an answer's body, which is not used
	maxAnswerHead = 16 << 10
	maxRetryAfter = 24 * time.Hour
)

// payload is the body of a delivery.
type payload struct {
	Type      shingle.EventType `json:"type"`
	Timestamp time.Time         `json:"timestamp"`
	Data      payloadData       `json:"data"`
}

// payloadData is the event but for what the payload has outside.
type payloadData struct {
	Host   string          `json:"host,omitempty"`
	Tenant string          `json:"tenant,omitempty"`
	By     string          `json:"by,omitempty"`
	Detail json.RawMessage `json:"detail,omitempty"`
}

// outcome is how an attempt ended.
type outcome struct {
	err     error     // nil: the receiver has it
	gone    bool      // the receiver wants no more
	retryAt time.Time // the receiver wants no attempt before; may be zero
}

// send makes one attempt to deliver e.
func (h *Hub) send(ctx context.Context, to *endpoint, e *shingle.Event) outcome {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Timeout)
	defer cancel()
	s, err := h.open(ctx, to)
	if err != nil {
		return outcome{err: err}
	}
	body, err := json.Marshal(payload{e.Type, e.At, payloadData{e.Host, e.Tenant, e.By, e.Data}})
	if err != nil {
		return outcome{err: fmt.Errorf("encode event: %w", err)}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.Webhook.URL, bytes.NewReader(body))
	if err != nil {
		return outcome{err: err}
	}
	now := h.cfg.Now()
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "shingle")
	r.Header.Set("webhook-id", e.ID)
	r.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	r.Header.Set("webhook-signature", sign(e.ID, now, body, s.valid(now)))
	resp, err := h.client.Do(r)
	if err != nil {
		return outcome{err: plain(err)}
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // so that the connection can be used again; the status has said it all
	return judge(resp, now)
}

// judge reads an answer. Only 2xx means that the receiver has the event.
func judge(resp *http.Response, now time.Time) outcome {
	if resp.StatusCode/100 == 2 {
		return outcome{}
	}
	o := outcome{err: fmt.Errorf("it answered with status %d", resp.StatusCode), gone: resp.StatusCode == http.StatusGone}
	if resp.StatusCode/100 == 3 {
		o.err = fmt.Errorf("it answered with status %d: give the webhook the URL that it redirects to", resp.StatusCode)
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		o.retryAt = now.Add(min(time.Duration(min(seconds, 1<<20))*time.Second, maxRetryAfter))
	}
	return o
}

// sign returns the signatures of a delivery, one for each secret, in the form of
// the Standard Webhooks specification.
func sign(id string, at time.Time, body []byte, secrets [][]byte) string {
	list := make([]string, len(secrets))
	for i, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		mac.Write(fmt.Appendf(nil, "%s.%d.", id, at.Unix()))
		mac.Write(body)
		list[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(list, " ")
}

// plain makes of an error what may be shown: without the URL, which may hold a
// secret of the receiver's.
func plain(err error) error {
	var withURL interface{ Unwrap() error }
	if errors.As(err, &withURL) && withURL.Unwrap() != nil {
		inner := withURL.Unwrap()
		if errors.Is(inner, context.DeadlineExceeded) {
			return errors.New("it did not answer in time")
		}
		return inner
	}
	return err
}

// newClient returns a client that goes where it is told and nowhere else: no
// redirects, no proxy, and no private addresses, whatever the DNS says.
func newClient(allowPrivate bool, timeout time.Duration) *http.Client {
	dialer := &net.Dialer{Timeout: timeout}
	if !allowPrivate {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("read address %s: %w", address, err)
			}
			if !shingle.IsPublic(ap.Addr()) {
				return fmt.Errorf("%s is not a public address: webhooks go to the internet only", ap.Addr())
			}
			return nil
		}
	}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: timeout, ResponseHeaderTimeout: timeout,
			MaxIdleConnsPerHost: perWebhook, MaxIdleConns: maxSending, IdleConnTimeout: 30 * time.Second,
			MaxResponseHeaderBytes: maxAnswerHead, ForceAttemptHTTP2: true,
		},
	}
}
