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

// RevokeSetupLinks ends all links to a domain's set-up page that were made so far.
func (c *Client) RevokeSetupLinks(ctx context.Context, host string) error {
	path, err := domainPath(host)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodDelete, path+"/setup-link", nil, nil)
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
