package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shingle-proxy/shingle"
)

// The roles that may use an operation.
var (
	admins    = []shingle.TokenRole{shingle.RoleAdmin}
	operators = []shingle.TokenRole{shingle.RoleAdmin, shingle.RoleOperator}
	readers   = []shingle.TokenRole{shingle.RoleAdmin, shingle.RoleOperator, shingle.RoleRead}
	// With tenants among them the operation itself keeps to the tenant of its
	// caller: see [tenantOf] and [owns].
	writers  = []shingle.TokenRole{shingle.RoleAdmin, shingle.RoleOperator, shingle.RoleTenant}
	everyone = shingle.TokenRoles
)

// roles says who may use each operation. One that is not in it cannot be
// registered.
var roles = map[string][]shingle.TokenRole{
	"list-domains":  everyone,
	"get-domain":    everyone,
	"create-domain": writers,
	"update-domain": writers,
	"delete-domain": writers,
	"check-domain":  everyone,
	"claim-domain":  writers,
	"get-traffic":   everyone,

	"count-statuses": everyone,

	"create-setup-link":  writers,
	"create-setup-email": writers,
	"revoke-setup-links": writers,
	"get-domain-connect": readers,

	"list-certificates":  everyone,
	"get-certificate":    everyone,
	"renew-certificate":  writers,
	"put-certificate":    writers,
	"delete-certificate": operators,
	"get-queue":          readers,
	"get-calendar":       readers,
	"list-planned":       readers,

	"create-job":     writers,
	"list-jobs":      everyone,
	"get-job":        everyone,
	"get-job-report": everyone,
	"cancel-job":     writers,

	"list-edges": readers,
	"get-edge":   readers,

	"list-keys": readers,
	"rewrap":    admins,

	"list-events":   everyone,
	"stream-events": everyone,

	"list-webhooks":         readers,
	"get-webhook":           readers,
	"create-webhook":        operators,
	"update-webhook":        operators,
	"delete-webhook":        operators,
	"rotate-webhook-secret": operators,
	"test-webhook":          operators,
	"list-dead-letters":     readers,
	"replay-dead-letters":   operators,

	"list-tokens":   admins,
	"get-token":     admins,
	"create-token":  admins,
	"delete-token":  admins,
	"get-own-token": everyone,
}

// rule gives an operation its roles, and says so in its description.
func (s *server) rule(op *huma.Operation) {
	who, ok := roles[op.OperationID]
	if !ok {
		panic("api: say in roles.go who may use " + op.OperationID)
	}
	s.allowed[op.Method+" "+op.Path] = who
	s.once.describe(op)
	op.Errors = append(op.Errors, http.StatusTooManyRequests)
	names := make([]string, len(who))
	for i, role := range who {
		names[i] = string(role)
	}
	op.Description = strings.TrimSpace(op.Description + "\n\nFor tokens with the role " + strings.Join(names, ", ") + ".")
	if len(who) < len(everyone) {
		op.Errors = append(op.Errors, http.StatusForbidden)
	}
	if !slices.Contains(who, shingle.RoleTenant) && !slices.Contains(op.Errors, http.StatusNotFound) {
		op.Errors = append(op.Errors, http.StatusNotFound) // for those
	}
}

// permit refuses what the token's role may not do on a route. A tenant is not
// told what there is besides its own.
func (s *server) permit(t *shingle.Token, route string) error {
	if route == "" {
		return nil // there is nothing to be done
	}
	who := s.allowed[strings.Replace(route, "HEAD ", "GET ", 1)]
	switch {
	case slices.Contains(who, t.Role):
		return nil
	case t.Role == shingle.RoleTenant:
		return errNothingHere
	}
	return shingle.Errorf(shingle.CodeForbidden, "the token %s has the role %s, which may not do this", t.Name, t.Role)
}

// tenantOf returns the tenant that the caller is limited to; empty: none.
func tenantOf(ctx context.Context) string { return callerOf(ctx).Tenant }

// owns returns [shingle.ErrNotFound] for a domain of others than the caller.
func owns(ctx context.Context, d *shingle.Domain) error {
	if own := tenantOf(ctx); own != "" && own != d.Tenant {
		return named(d.Host, shingle.ErrNotFound)
	}
	return nil
}

// ownHost is [owns] for what is kept by host. It costs nothing for a caller
// without a limit.
func (s *server) ownHost(ctx context.Context, host string) error {
	if tenantOf(ctx) == "" {
		return nil
	}
	d, err := s.Store.Domain(ctx, host)
	if err != nil {
		return named(host, err)
	}
	return owns(ctx, &d)
}

// ownTenant refuses what a caller asks for another tenant; empty is no other.
func (s *server) ownTenant(ctx context.Context, tenant string) error {
	if own := tenantOf(ctx); own != "" && tenant != "" && own != tenant {
		return shingle.Errorf(shingle.CodeNotFound, "there is no tenant %.128q", tenant)
	}
	return nil
}

// mayDelete refuses to a tenant a domain that the operator has paused: added anew, it
// would be served.
func mayDelete(ctx context.Context, d *shingle.Domain) error {
	if tenantOf(ctx) != "" && d.Paused {
		return shingle.Errorf(shingle.CodeForbidden, "the operator has paused %s: a tenant's token may not delete it", d.Host)
	}
	return nil
}

// mayWrite refuses what a tenant may not decide of its own domain: where the
// edge connects to, whether it is served, and whose it is, are the operator's.
func mayWrite(ctx context.Context, was, d shingle.Domain) error {
	if tenantOf(ctx) == "" {
		return nil
	}
	was.Host, was.Redirect, was.SetupGeneration = d.Host, d.Redirect, d.SetupGeneration
	if was.UpdatedBy = d.UpdatedBy; was != d {
		return shingle.Errorf(shingle.CodeForbidden, "a tenant's token may change the redirect of a domain, nothing else")
	}
	return nil
}
