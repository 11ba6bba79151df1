package api

import (
	"context"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// Bounds of what a page of a filtered list costs: rows that are read for it, at once
// and in all, and statuses, each of which is a read of its own. A page for which that
// was not enough is short, and the next goes on there.
const (
	rowsAtOnce   = 1000
	rowsAPage    = 5000
	statusesPage = 1000
)

// FilterInput says which domains are wanted. It is exported for huma.
type FilterInput struct {
	Tenant string `query:"tenant" maxLength:"128" doc:"Only this tenant's"`
	Tag    string `query:"tag" doc:"Only domains with this tag"`
	Text   string `query:"text" maxLength:"253" doc:"Only domains whose host, in its normal form, has this in it"`
	Paused string `query:"paused" enum:"true,false" doc:"Only domains that the operator has paused, or only others"`
	State  string `query:"state" enum:"pending,verifying,issuing,active,drifting,paused,blocked" doc:"Only domains whose status has this state, which is then shown"`
	Who    string `query:"who" enum:"customer,operator,ca,nobody" doc:"Only domains whose status says that these must act, which is then shown"`
	Status bool   `query:"status" doc:"Show the status of each domain, which is a read of its own"`
}

// takes reports whether a row is wanted, as far as the row tells.
func (f *FilterInput) takes(d *shingle.Domain) bool {
	return (f.Tenant == "" || f.Tenant == d.Tenant) &&
		(f.Paused == "" || (f.Paused == "true") == d.Paused) &&
		(f.Text == "" || strings.Contains(d.Host, f.Text)) &&
		(f.Tag == "" || d.Settings.HasTag(f.Tag))
}

// byStatus reports whether the status of a domain decides whether it is wanted.
func (f *FilterInput) byStatus() bool { return f.State != "" || f.Who != "" }

// takesStatus reports whether a status is wanted.
func (f *FilterInput) takesStatus(s *Status) bool {
	return s != nil && (f.State == "" || f.State == s.State) && (f.Who == "" || f.Who == s.Who)
}

// listing is a page that is being made.
type listing struct {
	FilterInput
	limit          int
	list           []Domain
	next           string // the host behind which more may follow; empty: none do
	size           int    // of the settings in list
	rows, statuses int    // looked at
}

// page returns the caller's domains behind `after` that f wants, and the host behind
// which more may follow.
func (s *server) page(ctx context.Context, f FilterInput, after string, limit int) (*listing, error) {
	p := &listing{FilterInput: f, limit: limit, list: []Domain{}, next: after}
	p.Text = strings.ToLower(p.Text)
	if own := tenantOf(ctx); own != "" {
		if p.Tenant != "" && p.Tenant != own {
			p.next = ""
			return p, nil
		}
		p.Tenant = own
	}
	read := limit
	for {
		rows, err := s.rows(ctx, p.Tenant, p.next, read)
		if err != nil {
			return nil, err
		}
		for i := range rows {
			if full, err := s.add(ctx, p, &rows[i]); full || err != nil {
				return p, err
			}
		}
		if len(rows) < read {
			p.next = ""
			return p, nil
		}
		read = rowsAtOnce
	}
}

// rows reads rows, those of a tenant alone where the store can do that.
func (s *server) rows(ctx context.Context, tenant, after string, limit int) ([]shingle.Domain, error) {
	if lister, ok := s.Store.(shingle.TenantLister); ok && tenant != "" {
		return lister.TenantDomains(ctx, tenant, after, limit)
	}
	return s.Store.Domains(ctx, after, limit)
}

// add takes a row into the page if it is wanted. It reports whether the page is to
// end, with this row or, when it does not fit, before it.
func (s *server) add(ctx context.Context, p *listing, d *shingle.Domain) (full bool, err error) {
	p.rows++
	if p.takes(d) {
		shown := show(*d)
		if p.byStatus() || p.Status {
			p.statuses++
			if shown.Status, err = s.status(ctx, d.Host); err != nil {
				return true, err
			}
		}
		if !p.byStatus() || p.takesStatus(shown.Status) {
			if p.size += len(d.Settings); p.size > maxPageSettings && len(p.list) > 0 {
				return true, nil
			}
			p.list = append(p.list, shown)
		}
	}
	p.next = d.Host
	return len(p.list) == p.limit || p.rows >= rowsAPage || p.statuses >= statusesPage, nil
}
