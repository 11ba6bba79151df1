package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

const (
	clientTimeout = 30 * time.Second
	longestWait   = 10 * time.Second // for the server to take requests again
	patience      = 60               // times that is waited for
	maxAnswer     = 8 << 20          // bytes; the largest page has about 3 MB
)

// Client calls the API. Its errors are [shingle.Error]s with the server's code
// and message, [shingle.CodeUnavailable] when no usable answer came, or that of
// an ended ctx. It is safe for concurrent use.
type Client struct {
	base  string // without a slash at the end
	token string
	http  *http.Client
	tries int // of a request that is refused because there were too many
}

// NewClient returns a client for the API at baseURL, such as
// "http://127.0.0.1:8090".
func NewClient(baseURL, token string) (*Client, error) {
	u, err := url.Parse(baseURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, shingle.Errorf(shingle.CodeInvalid, "the URL of the API must look like http://127.0.0.1:8090")
	}
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, shingle.Errorf(shingle.CodeInvalid, "an API token is one word, such as shingle_…: this is not one")
	}
	return &Client{base: strings.TrimSuffix(u.String(), "/"), token: token, tries: patience, http: &http.Client{
		Timeout:       clientTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// CreateDomain allows a domain, or returns [shingle.ErrExists].
func (c *Client) CreateDomain(ctx context.Context, d NewDomain) (out Domain, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/domains", d, &out)
}

// Domain returns one domain, or [shingle.ErrNotFound].
func (c *Client) Domain(ctx context.Context, host string) (out Domain, err error) {
	path, err := domainPath(host)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, http.MethodGet, path, nil, &out)
}

// Domains returns all domains in the order of their hosts, page by page. It
// ends with the first error.
func (c *Client) Domains(ctx context.Context) iter.Seq2[Domain, error] {
	return pages(ctx, c, "/v1/domains?limit=1000", func(l DomainList) ([]Domain, string) { return l.Domains, l.Next })
}

// FindDomains is Domains with those alone that f wants, in the order of sort; empty: by
// host.
func (c *Client) FindDomains(ctx context.Context, f FilterInput, sort string) iter.Seq2[Domain, error] {
	q := DomainQuery{FilterInput: f, Sort: sort, Limit: 1000}
	return pages(ctx, c, "/v1/domains?"+q.values().Encode(), func(l DomainList) ([]Domain, string) { return l.Domains, l.Next })
}

// Certificate returns what is known of one certificate, or [shingle.ErrNotFound].
func (c *Client) Certificate(ctx context.Context, host string) (out Certificate, err error) {
	path, err := certificatePath(host)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, http.MethodGet, path, nil, &out)
}

// Certificates returns all certificates in the order of their hosts, page by
// page. It ends with the first error.
func (c *Client) Certificates(ctx context.Context) iter.Seq2[Certificate, error] {
	return pages(ctx, c, "/v1/certificates?limit=1000", func(l CertificateList) ([]Certificate, string) { return l.Certificates, l.Next })
}

// UploadCertificate stores a certificate of the operator's own. It returns
// [shingle.ErrNotFound] for a host that is no domain, [shingle.ErrInvalid] for what
// visitors could not be served with and, with ifNewer, [shingle.ErrExists] when the
// one that is there is to stay. A dry run stores nothing.
func (c *Client) UploadCertificate(ctx context.Context, host string, n NewCertificate, ifNewer, dryRun bool) (out Certificate, err error) {
	path, err := certificatePath(host)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, http.MethodPut, fmt.Sprintf("%s?if_newer=%t&dry_run=%t", path, ifNewer, dryRun), n, &out)
}

// RenewCertificate has a certificate replaced now, or returns
// [shingle.ErrNotFound].
func (c *Client) RenewCertificate(ctx context.Context, host string) (out Certificate, err error) {
	path, err := certificatePath(host)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, http.MethodPost, path+"/renew", nil, &out)
}

// Queue returns what waits for the CAs, with at most limit hosts; with drill, as
// it would be if every certificate were revoked now.
func (c *Client) Queue(ctx context.Context, limit int, drill bool) (out Queue, err error) {
	return out, c.call(ctx, http.MethodGet, fmt.Sprintf("/v1/queue?limit=%d&drill=%t", limit, drill), nil, &out)
}

// pages reads a list page by page; path has a query. It ends with the first error.
func pages[L, T any](ctx context.Context, c *Client, path string, open func(L) (list []T, next string)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for after := ""; ; {
			var page L
			var none T
			if err := c.call(ctx, http.MethodGet, path+"&after="+url.QueryEscape(after), nil, &page); err != nil {
				yield(none, err)
				return
			}
			list, next := open(page)
			for _, x := range list {
				if !yield(x, nil) {
					return
				}
			}
			switch next {
			case "":
				return
			case after:
				yield(none, c.unavailable("the list of "+c.base+" has no end", nil))
				return
			}
			after = next
		}
	}
}

// UpdateDomain changes what p holds, or returns [shingle.ErrNotFound].
func (c *Client) UpdateDomain(ctx context.Context, host string, p DomainPatch) (out Domain, err error) {
	return c.UpdateDomainIf(ctx, host, "", p)
}

// UpdateDomainIf is UpdateDomain unless the domain is no longer as [Domain.ETag] said,
// which is [shingle.ErrConflict].
func (c *Client) UpdateDomainIf(ctx context.Context, host, etag string, p DomainPatch) (out Domain, err error) {
	path, err := domainPath(host)
	if err != nil {
		return out, err
	}
	return out, c.callIf(ctx, etag, http.MethodPatch, path, p, &out)
}

// CheckDomain looks at a domain's DNS and HTTPS now, for a tenant, or when that is
// empty for who has it.
func (c *Client) CheckDomain(ctx context.Context, host, tenant string) (out Check, err error) {
	path, err := domainPath(host)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, http.MethodPost, path+"/check?tenant="+url.QueryEscape(tenant), nil, &out)
}

// ClaimDomain gives a domain to a tenant who controls it, or returns
// [shingle.ErrForbidden], which says what to set.
func (c *Client) ClaimDomain(ctx context.Context, host, tenant string) (out Domain, err error) {
	path, err := domainPath(host)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, http.MethodPost, path+"/claim", Claim{Tenant: tenant}, &out)
}

// DeleteDomain deletes a domain, or returns [shingle.ErrNotFound].
func (c *Client) DeleteDomain(ctx context.Context, host string) error {
	return c.delete(ctx, host, "")
}

// DeleteAndRevoke is DeleteDomain, and has the CA revoke its certificate.
func (c *Client) DeleteAndRevoke(ctx context.Context, host string) error {
	return c.delete(ctx, host, "?revoke=true")
}

func (c *Client) delete(ctx context.Context, host, query string) error {
	path, err := domainPath(host)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodDelete, path+query, nil, nil)
}

// domainPath refuses hosts that the server would, before they can turn into
// another path.
func domainPath(host string) (string, error) {
	host, err := shingle.NormalizeDomain(host)
	return "/v1/domains/" + host, err
}

func certificatePath(host string) (string, error) {
	host, err := shingle.NormalizeDomain(host)
	return "/v1/certificates/" + host, err
}

// call sends in as JSON, unless it is nil, and reads the answer into out. When it
// made too many requests it waits as long as the server says, if that is not long.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	return c.callIf(ctx, "", method, path, in, out)
}

// callIf is call on the condition of an ETag; empty: on none.
func (c *Client) callIf(ctx context.Context, etag, method, path string, in, out any) error {
	for try := 1; ; try++ {
		wait, err := c.once(ctx, etag, method, path, in, out)
		if wait == 0 || wait > longestWait || try >= c.tries {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// once is one request. wait is not 0 when it was refused without being looked at, and
// may be sent again then.
func (c *Client) once(ctx context.Context, etag, method, path string, in, out any) (wait time.Duration, err error) {
	req, err := c.request(ctx, method, path, in)
	if err != nil {
		return 0, err
	}
	if etag != "" {
		req.Header.Set("If-Match", etag)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, c.unreachable(ctx, err)
	}
	defer resp.Body.Close()
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && resp.StatusCode == http.StatusTooManyRequests {
		wait = time.Duration(max(n, 1)) * time.Second
	}
	return wait, c.read(resp, out)
}

// read reads an answer into out, unless that is nil.
func (c *Client) read(resp *http.Response, out any) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return c.unavailable("the answer of "+c.base+" was cut short", err)
	}
	if len(data) > maxAnswer {
		return c.unavailable("the answer of "+c.base+" is too large", nil)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return c.problem(resp, data)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return c.unavailable("the answer of "+c.base+" is not the one of a shingle API", err)
	}
	return nil
}

func (c *Client) request(ctx context.Context, method, path string, in any) (*http.Request, error) {
	var body io.Reader
	kind := "application/json"
	if lines, ok := in.(linesBody); ok {
		kind, body = jsonLines, bytes.NewReader(lines)
	} else if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if in != nil {
		req.Header.Set("Content-Type", kind)
	}
	return req, nil
}

func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // the URL is in the message
	}
	return c.unavailable("no answer; is shingle running at "+c.base+"?", err)
}

func (c *Client) unavailable(message string, cause error) error {
	return &shingle.Error{Code: shingle.CodeUnavailable, Message: message, Err: cause}
}

// problem reads a [Problem].
func (c *Client) problem(resp *http.Response, data []byte) error {
	var p Problem
	if err := json.Unmarshal(data, &p); err != nil || p.Code == "" {
		return c.unavailable(c.base+" answered "+resp.Status+", which no shingle API says", nil)
	}
	e := &shingle.Error{Code: p.Code, Message: p.Detail}
	if len(p.Errors) == 1 {
		e.Field, e.Message = fieldOf(p.Errors[0].Location), p.Errors[0].Message
	}
	return e
}
