package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Bounds on a question to the ask service.
const (
	askTimeout     = 3 * time.Second
	askDrain       = 1 << 10  // of an answer's body, so that the connection can be used again
	askHeaderBytes = 64 << 10 // of an answer's head
)

// Bounds on what the names below one registered domain may cost: a customer whose
// DNS has a wildcard, and a service that allows whatever is below a customer's
// domain, make every invented name a question, a row and an order. More rows than
// a CA gives certificates for would be of no use.
const (
	askBurst, askEvery = 20, 5 * time.Second
	rowBurst, rowEvery = 50, 7 * 24 * time.Hour / 50
	askWarnEvery       = time.Minute
)

// askingStore is a store that asks another service about domains it does not
// have, as Caddy's on-demand TLS does: GET URL?domain=HOST. What the service
// allows becomes a row, and is never asked about again while the row is there.
//
// A domain that the operator deletes is asked about anew, and so comes back with
// its next visitor if the service still allows it. To end a domain for good, end
// it there, or pause it here.
type askingStore struct {
	shingle.DomainStore
	url     url.URL
	client  *http.Client
	timeout time.Duration
	log     *slog.Logger

	questions, rows                  *shingle.Limiter[string] // by registered domain
	warnAfter                        atomic.Int64             // in Unix nanoseconds
	allowed, denied, failed, limited atomic.Uint64            // how often
}

// newAskingStore returns a store that asks at rawURL, which parseAskURL accepts.
// The caller closes it.
func newAskingStore(store shingle.DomainStore, rawURL string, log *slog.Logger) (*askingStore, error) {
	u, err := parseAskURL(rawURL)
	if err != nil {
		return nil, err
	}
	return &askingStore{
		DomainStore: store, url: *u, timeout: askTimeout, log: log,
		questions: shingle.NewLimiter[string](askBurst, askEvery), rows: shingle.NewLimiter[string](rowBurst, rowEvery),
		client: &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second,
				MaxResponseHeaderBytes: askHeaderBytes, ForceAttemptHTTP2: true,
			},
		}}, nil
}

// Domain returns the row, which the service's yes may have made just now, or
// [shingle.ErrNotFound] when the service answers 4xx, or
// [shingle.ErrUnavailable] when it gives any other answer, or none in 3 s, or
// [shingle.ErrLimited] when there were too many names below one registered domain.
func (s *askingStore) Domain(ctx context.Context, host string) (shingle.Domain, error) {
	d, err := s.DomainStore.Domain(ctx, host)
	if !errors.Is(err, shingle.ErrNotFound) || shingle.IsWildcard(host) { // which only the operator adds
		return d, err
	}
	if err := s.allows(ctx, host); err != nil {
		return shingle.Domain{}, err
	}
	d, err = s.CreateDomain(ctx, shingle.Domain{Host: host}, time.Now())
	switch {
	case errors.Is(err, shingle.ErrExists): // another visitor's question was quicker
		return s.DomainStore.Domain(ctx, host)
	case err != nil:
		return shingle.Domain{}, fmt.Errorf("create domain %s: %w", host, err)
	}
	s.log.Info("domain allowed by the ask service", "host", host)
	return d, nil
}

// allows returns nil when the service allows host and a row may be made for it.
func (s *askingStore) allows(ctx context.Context, host string) error {
	domain, now := shingle.RegisteredDomain(host), time.Now()
	if !s.questions.Allow(domain, now) {
		return s.limit(domain, "questions", now)
	}
	err := s.ask(ctx, host)
	switch {
	case errors.Is(err, shingle.ErrNotFound):
		s.denied.Add(1)
	case err != nil:
		s.failed.Add(1)
	case !s.rows.Allow(domain, now):
		return s.limit(domain, "domains", now)
	default:
		s.allowed.Add(1)
	}
	return err
}

// limit says so in the log now and then.
func (s *askingStore) limit(domain, what string, now time.Time) error {
	s.limited.Add(1)
	if after := s.warnAfter.Load(); now.UnixNano() >= after && s.warnAfter.CompareAndSwap(after, now.Add(askWarnEvery).UnixNano()) {
		s.log.Warn("too many names of one registered domain: some are not asked about, or not added", "domain", domain, "too_many", what)
	}
	return shingle.Errorf(shingle.CodeLimited, "too many new names below %s", domain)
}

// ask returns nil when the service allows host.
func (s *askingStore) ask(ctx context.Context, host string) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.question(host), nil)
	if err != nil {
		return fmt.Errorf("ask about %s: %w", host, err)
	}
	r.Header.Set("User-Agent", "shingle")
	resp, err := s.client.Do(r)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the URL, which may hold a secret
		}
		return &shingle.Error{Code: shingle.CodeUnavailable, Message: "the ask service does not answer", Err: err}
	}
	defer resp.Body.Close()
	if resp.ContentLength >= 0 && resp.ContentLength <= askDrain {
		_, _ = io.Copy(io.Discard, resp.Body) // the status has said it all
	}
	switch resp.StatusCode / 100 {
	case 2:
		return nil
	case 4:
		return shingle.Errorf(shingle.CodeNotFound, "the ask service does not allow %s", host)
	}
	return shingle.Errorf(shingle.CodeUnavailable, "the ask service answered with status %d", resp.StatusCode)
}

// question returns the URL that asks about host; what its query held is kept.
func (s *askingStore) question(host string) string {
	u := s.url
	q := u.Query()
	q.Set("domain", host)
	u.RawQuery = q.Encode()
	return u.String()
}

// close frees the connections to the service.
func (s *askingStore) close() { s.client.CloseIdleConnections() }

// parseAskURL refuses what cannot be asked, naming the flag. Its errors do not
// hold the URL, which may hold a secret.
func parseAskURL(rawURL string) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	if err == nil {
		_, err = url.ParseQuery(u.RawQuery)
	}
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.Fragment != "" {
		return nil, errors.New("--ask-url: it must look like https://app.example.com/allowed")
	}
	return u, nil
}
