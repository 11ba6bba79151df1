package shingle

import "context"

// Permission decides whether a certificate may be obtained for a host. It gates
// issuance only: a certificate that exists is served without asking.
type Permission interface {
	// MayIssue returns nil when the operator allows host, [ErrForbidden] when
	// not, and [ErrUnavailable] when that cannot be learned now. It touches the
	// network at most once, within a bounded time.
	MayIssue(ctx context.Context, host string) error
}

// PermissionFunc is a function that is a [Permission].
type PermissionFunc func(ctx context.Context, host string) error

// MayIssue calls f.
func (f PermissionFunc) MayIssue(ctx context.Context, host string) error { return f(ctx, host) }
