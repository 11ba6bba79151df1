package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Client calls the API. Its errors are [shingle.Error]s with the server's code
// and message.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// NewClient returns a client for the API at base, such as
// "http://127.0.0.1:8090".
func NewClient(base, token string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, shingle.Errorf(shingle.CodeInvalid, "%q is not the URL of an API, such as http://127.0.0.1:8090", base)
	}
	return &Client{base: strings.TrimSuffix(base, "/"), token: token, http: &http.Client{Timeout: 30 * time.Second}}, nil
}

// CreateDomain allows a domain.
func (c *Client) CreateDomain(ctx context.Context, d NewDomain) (out Domain, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/domains", d, &out)
}

// Domain returns one domain.
func (c *Client) Domain(ctx context.Context, host string) (out Domain, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/domains/"+url.PathEscape(host), nil, &out)
}

// UpdateDomain changes what p holds.
func (c *Client) UpdateDomain(ctx context.Context, host string, p DomainPatch) (out Domain, err error) {
	return out, c.call(ctx, http.MethodPatch, "/v1/domains/"+url.PathEscape(host), p, &out)
}

// DeleteDomain deletes a domain.
func (c *Client) DeleteDomain(ctx context.Context, host string) error {
	return c.call(ctx, http.MethodDelete, "/v1/domains/"+url.PathEscape(host), nil, nil)
}

// Domains returns all domains, page by page.
func (c *Client) Domains(ctx context.Context) iter.Seq2[Domain, error] {
	return func(yield func(Domain, error) bool) {
		for after := ""; ; {
			var page DomainList
			if err := c.call(ctx, http.MethodGet, "/v1/domains?limit=1000&after="+url.QueryEscape(after), nil, &page); err != nil {
				yield(Domain{}, err)
				return
			}
			for _, d := range page.Domains {
				if !yield(d, nil) {
					return
				}
			}
			if after = page.Next; after == "" {
				return
			}
		}
	}
}

const maxAnswer = 8 << 20

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return &shingle.Error{Code: shingle.CodeUnavailable, Message: "is shingle running at " + c.base + "?", Err: err}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return &shingle.Error{Code: shingle.CodeUnavailable, Message: "the answer of " + c.base + " was cut short", Err: err}
	}
	if resp.StatusCode >= 300 {
		return problemError(resp, answer)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.base, err)
	}
	return nil
}

// problemError reads a problem document.
func problemError(resp *http.Response, answer []byte) error {
	var p struct {
		Type, Detail string
		Errors       []struct{ Message, Location string }
	}
	if err := json.Unmarshal(answer, &p); err != nil || p.Detail == "" {
		return shingle.Errorf(shingle.CodeUnavailable, "%s answered %s, which is not what shingle says", resp.Request.URL.Host, resp.Status)
	}
	code, ok := strings.CutPrefix(p.Type, problemPrefix)
	if !ok {
		code = string(shingle.CodeInvalid)
		for _, e := range p.Errors {
			p.Detail += ": " + e.Location + ": " + e.Message
		}
	}
	return &shingle.Error{Code: shingle.Code(code), Message: p.Detail}
}
