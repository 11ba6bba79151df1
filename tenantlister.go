package shingle

import "context"

// TenantLister is a [DomainStore] that finds one tenant's domains without reading
// those of others.
type TenantLister interface {
	// TenantDomains returns the tenant's rows whose host sorts after `after`, in byte
	// order, at most limit (1 to 1000) of them.
	TenantDomains(ctx context.Context, tenant, after string, limit int) ([]Domain, error)
}
