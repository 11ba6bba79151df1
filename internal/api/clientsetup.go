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
