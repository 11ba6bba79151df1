package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// DomainQuery says which domains are wanted; what is empty does not count.
type DomainQuery struct {
	FilterInput
	Sort  string // as the API takes it; empty: by host
	After string // the Next of the page before
	Limit int    // 1 to 1000
}

// DomainPage returns one page of the domains that q wants. With filters it may have few
// domains, or none, and still a Next.
func (c *Client) DomainPage(ctx context.Context, q DomainQuery) (out DomainList, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/domains?"+q.values().Encode(), nil, &out)
}

func (q *DomainQuery) values() url.Values {
	v := url.Values{"limit": {strconv.Itoa(q.Limit)}}
	for name, value := range map[string]string{
		"after": q.After, "sort": q.Sort, "tenant": q.Tenant, "tag": q.Tag, "text": q.Text, "paused": q.Paused, "state": q.State, "who": q.Who,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Status {
		v.Set("status", "true")
	}
	return v
}

// StatusCounts returns how many domains have which status, but for those that are live and
// need nobody. It returns [shingle.ErrNotFound] where domains are not checked.
func (c *Client) StatusCounts(ctx context.Context) (out StatusCounts, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/statuses", nil, &out)
}

// CertificatePage returns one page of the certificates.
func (c *Client) CertificatePage(ctx context.Context, after string, limit int) (out CertificateList, err error) {
	return out, c.call(ctx, http.MethodGet, pagePath("/v1/certificates", after, limit), nil, &out)
}

// EventPage returns one page of what happened to host, or to all when that is empty.
func (c *Client) EventPage(ctx context.Context, host, after string, limit int) (out EventList, err error) {
	return out, c.call(ctx, http.MethodGet, pagePath("/v1/events", after, limit)+"&host="+url.QueryEscape(host), nil, &out)
}

// DeadLetterPage returns one page of what could not be delivered to a webhook.
func (c *Client) DeadLetterPage(ctx context.Context, id, after string, limit int) (out DeadLetterList, err error) {
	return out, c.call(ctx, http.MethodGet, pagePath(webhookPath(id)+"/dead-letters", after, limit), nil, &out)
}

// TokenPage returns one page of the API tokens.
func (c *Client) TokenPage(ctx context.Context, after string, limit int) (out TokenList, err error) {
	return out, c.call(ctx, http.MethodGet, pagePath("/v1/tokens", after, limit), nil, &out)
}

// JobPage returns one page of the jobs, the newest first.
func (c *Client) JobPage(ctx context.Context, after string, limit int) (out JobList, err error) {
	return out, c.call(ctx, http.MethodGet, pagePath("/v1/jobs", after, limit), nil, &out)
}

// JobReportPage returns one page of a report, with failed of the lines alone that failed.
func (c *Client) JobReportPage(ctx context.Context, id, after string, failed bool) (out JobReport, err error) {
	path, err := jobPath(id)
	if err != nil {
		return out, err
	}
	q := url.Values{"after": {after}}
	if failed {
		q.Set("only", "failed")
	}
	return out, c.call(ctx, http.MethodGet, path+"/report?"+q.Encode(), nil, &out)
}

// OwnToken returns the token that the client has, or [shingle.ErrUnauthorized].
func (c *Client) OwnToken(ctx context.Context) (out Token, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/token", nil, &out)
}

func pagePath(path, after string, limit int) string {
	return fmt.Sprintf("%s?limit=%d&after=%s", path, limit, url.QueryEscape(after))
}
