-- Domains in the order of their creation, all and one tenant's. Those of one moment are in
-- the order of their hosts.
CREATE INDEX domains_by_created ON domains (created_at, host);
CREATE INDEX domains_by_tenant_created ON domains (tenant, created_at, host);
