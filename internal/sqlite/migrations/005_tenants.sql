-- One tenant's domains in the order of their hosts.
CREATE INDEX domains_by_tenant ON domains (tenant, host);
