package certs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// suggested is a CA's answer when to renew (RFC 9773 section 4).
type suggested struct {
	window *window       // nil: it has no opinion
	again  time.Duration // ask again after
}

var errNoARI = errors.New("the certificate authority has no renewal information")

// renewalInfo asks when to renew the certificate with that ID. The answer needs
// no account and no certificate, so a poll reads neither. status is 0 when the CA
// did not answer.
func (c *client) renewalInfo(ctx context.Context, certID string) (s suggested, status int, err error) {
	s.again = pollEvery
	base, err := c.ariURL(ctx)
	if err != nil {
		return s, 0, err
	}
	var last answer
	status, body, err := c.get(noteAnswer(ctx, &last), base+"/"+certID)
	if err != nil {
		return s, 0, fmt.Errorf("ask for renewal information: %w", err)
	}
	if !last.retryAt.IsZero() {
		s.again = last.retryAt.Sub(c.now())
	}
	if status != http.StatusOK {
		return s, status, fmt.Errorf("ask for renewal information: status %d", status)
	}
	return s, status, s.decode(body)
}

// hasARI reports whether the CA has renewal information, for all that we know.
func (c *client) hasARI(ctx context.Context) bool {
	_, err := c.ariURL(ctx)
	return !errors.Is(err, errNoARI)
}

// ariURL returns where the CA has its renewal information, or errNoARI.
func (c *client) ariURL(ctx context.Context) (string, error) {
	url := c.ari.Load()
	if url == nil {
		status, body, err := c.get(context.WithValue(ctx, wholeDirectory{}, true), c.Directory)
		if err != nil {
			return "", fmt.Errorf("read directory: %w", err)
		}
		if status != http.StatusOK {
			return "", fmt.Errorf("read directory: status %d", status)
		}
		var directory struct {
			RenewalInfo string `json:"renewalInfo"`
		}
		if err := json.Unmarshal(body, &directory); err != nil {
			return "", fmt.Errorf("read directory: %w", err)
		}
		url = &directory.RenewalInfo
		c.ari.Store(url)
	}
	if *url == "" {
		return "", errNoARI
	}
	return *url, nil
}

func (c *client) get(ctx context.Context, url string) (status int, body []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("User-Agent", c.UserAgent)
	resp, err := c.HTTPClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// decode reads the document. A window that makes no sense counts as none, and
// the lifetime decides (RFC 9773 section 4.2).
func (s *suggested) decode(body []byte) error {
	var doc struct {
		SuggestedWindow window `json:"suggestedWindow"`
		ExplanationURL  string `json:"explanationURL"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return fmt.Errorf("read renewal information: %w", err)
	}
	if w := doc.SuggestedWindow; !w.Start.IsZero() && w.End.After(w.Start) {
		w.Explanation = plain(doc.ExplanationURL)
		s.window = &w
	}
	return nil
}
