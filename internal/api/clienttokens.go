package api

import (
	"context"
	"iter"
	"net/http"
	"net/url"
)

// CreateToken makes an API token. Its text is in the answer this once.
func (c *Client) CreateToken(ctx context.Context, t NewToken) (out Token, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/tokens", t, &out)
}

// Tokens returns all API tokens, page by page. It ends with the first error.
func (c *Client) Tokens(ctx context.Context) iter.Seq2[Token, error] {
	return pages(ctx, c, "/v1/tokens?limit=200", func(l TokenList) ([]Token, string) { return l.Tokens, l.Next })
}

// Token returns a token, without its text, or [shingle.ErrNotFound].
func (c *Client) Token(ctx context.Context, id string) (out Token, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/tokens/"+url.PathEscape(id), nil, &out)
}

// DeleteToken revokes a token, or returns [shingle.ErrNotFound].
func (c *Client) DeleteToken(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/v1/tokens/"+url.PathEscape(id), nil, nil)
}
