package api

import (
	"context"
	"net/http"
)

// SetupLink makes a link to the page by which a customer sets up a domain, or returns
// [shingle.ErrNotFound].
func (c *Client) SetupLink(ctx context.Context, host string, n NewSetupLink) (out SetupLink, err error) {
	path, err := domainPath(host)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, http.MethodPost, path+"/setup-link", n, &out)
}

// SetupEmail writes an e-mail that asks for a domain's records, with such a link.
func (c *Client) SetupEmail(ctx context.Context, host string, n NewSetupEmail) (out SetupEmail, err error) {
	path, err := domainPath(host)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, http.MethodPost, path+"/setup-email", n, &out)
}

// DomainConnect returns what to publish for Domain Connect, or [shingle.ErrNotFound]
// where it is off.
func (c *Client) DomainConnect(ctx context.Context) (out DomainConnect, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/domain-connect", nil, &out)
}
