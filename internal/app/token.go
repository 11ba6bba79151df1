package app

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/tokens"
)

// firstToken is the name of the token that the first start makes.
const firstToken = "bootstrap"

// openTokens opens the API tokens and makes the first one, in the file that
// TokenPath names. A file whose token the store does not know is replaced: it
// cannot be used. One that a store cannot judge now is kept.
func (a *App) openTokens(ctx context.Context) (*tokens.Keeper, error) {
	keeper, err := tokens.New(tokens.Config{Blobs: a.stores.blobs, Near: a.stores.reader(), Unreadable: a.cfg.unreadable, Logger: a.log})
	if err != nil || a.cfg.OnLambda { // where each start would be the first
		return keeper, err
	}
	if old, err := os.ReadFile(a.TokenPath()); err == nil {
		_, err := keeper.CheckToken(ctx, strings.TrimSpace(string(old)), netip.Addr{})
		if err != nil && !errors.Is(err, shingle.ErrUnauthorized) {
			a.log.Warn("first API token not checked", "file", a.TokenPath(), "error", err)
		}
		if !errors.Is(err, shingle.ErrUnauthorized) {
			return keeper, nil
		}
	}
	text, err := makeFirst(ctx, keeper)
	if err != nil && a.stores.away && a.edge != nil {
		a.log.Warn("first API token not made, because the store does not answer: it is at the next start", "file", a.TokenPath(), "error", err)
		return keeper, nil
	}
	if errors.Is(err, shingle.ErrExists) {
		a.log.Warn("first API token not made: a hundred were, by machines whose folder is gone; use one of yours, and remove those of no use with shingle tokens", "file", a.TokenPath())
		return keeper, nil
	}
	if err != nil {
		return nil, fmt.Errorf("store token: %w", err)
	}
	return keeper, writeFile(a.TokenPath(), []byte(text+"\n"), 0o600)
}

// makeFirst makes a token for everything. Each machine of a fleet has one of its
// own: the first gets the plain name, others a number.
func makeFirst(ctx context.Context, keeper *tokens.Keeper) (string, error) {
	for n := 1; ; n++ {
		name := firstToken
		if n > 1 {
			name = fmt.Sprintf("%s-%d", firstToken, n)
		}
		text, _, err := keeper.CreateToken(ctx, shingle.Token{Name: name, Role: shingle.RoleAdmin})
		if !errors.Is(err, shingle.ErrExists) || n == 100 {
			return text, err
		}
	}
}

// TokenPath returns the file of the first API token.
func (a *App) TokenPath() string { return a.cfg.file("token") }
