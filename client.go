package shingle

import (
	"context"
	"net/netip"
)

type clientKey struct{}

// WithClient returns a context of work that a visitor causes. The edge makes it
// once a connection; who keeps budgets for visitors asks [ClientOf].
func WithClient(ctx context.Context, client netip.AddrPort) context.Context {
	return context.WithValue(ctx, clientKey{}, client)
}

// ClientOf returns the visitor's address, and the zero value for work that no
// visitor causes.
func ClientOf(ctx context.Context) netip.AddrPort {
	client, _ := ctx.Value(clientKey{}).(netip.AddrPort)
	return client
}
