package api

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shingle-proxy/shingle"
)

// Bounds of what a page of a filtered list costs: rows that are read for it, at once
// and in all, and reads of one record each, such as statuses. A page for which that was
// not enough is short, and the next goes on there.
const (
	rowsAtOnce   = 1000
	rowsAPage    = 5000
	readsAtOnce  = 100
	readsAPage   = 1000
	readersAPage = 32
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
	limit       int
	list        []Domain
	next        shingle.DomainPlace // behind which more may follow; zero: none do
	size        int                 // of the settings in list
	rows, reads int                 // that were made
}

// source gives domains in an order, at most limit at a time and fewer only at the end.
type source func(ctx context.Context, limit int) ([]candidate, error)

// candidate is a domain that may be in the page.
type candidate struct {
	shingle.DomainPlace
	row    *shingle.Domain       // nil: not read, gone, or not wanted
	unread bool                  // row and status are to be read
	listed *shingle.ListedStatus // what the index of statuses has of it; nil: nothing that counts
	status *Status
}

// page returns the caller's domains behind `after` that f wants, in the order of sort.
func (s *server) page(ctx context.Context, f FilterInput, sort string, after shingle.DomainPlace, limit int) (*listing, error) {
	p := &listing{FilterInput: f, limit: limit, list: []Domain{}, next: after}
	p.Text = strings.ToLower(p.Text)
	if own := tenantOf(ctx); own != "" {
		if p.Tenant != "" && p.Tenant != own {
			p.next = shingle.DomainPlace{}
			return p, nil
		}
		p.Tenant = own
	}
	from, err := s.source(ctx, p, sort, after)
	if err != nil {
		return nil, err
	}
	for read := limit; ; read = min(max(2*read, readsAtOnce), rowsAtOnce) { // of most filters little is missing then
		list, err := from(ctx, read)
		if err != nil {
			return nil, err
		}
		for some := range slices.Chunk(list, readsAtOnce) {
			if full, err := s.add(ctx, p, some); full || err != nil {
				return p, err
			}
		}
		if len(list) < read {
			p.next = shingle.DomainPlace{}
			return p, nil
		}
	}
}

// source chooses where to look for what p wants.
func (s *server) source(ctx context.Context, p *listing, sort string, after shingle.DomainPlace) (source, error) {
	switch {
	case sort == sortChanged:
		return s.changedFrom(p, after), nil
	case sort == string(shingle.ByHost) && p.byStatus():
		if from, ok, err := s.fewFrom(ctx, p, after.Host); ok || err != nil {
			return from, err
		}
	}
	return s.rowsFrom(shingle.DomainQuery{Tenant: p.Tenant, Order: shingle.DomainOrder(sort), After: after}), nil
}

// rowsFrom is the source of the rows that q wants.
func (s *server) rowsFrom(q shingle.DomainQuery) source {
	return func(ctx context.Context, limit int) ([]candidate, error) {
		q.Limit = limit
		rows, err := s.Store.FindDomains(ctx, q)
		list := make([]candidate, len(rows))
		for i := range rows {
			q.After = shingle.PlaceOf(&rows[i])
			list[i] = candidate{DomainPlace: q.After, row: &rows[i]}
		}
		return list, err
	}
}

// rows reads rows in the order of hosts.
func (s *server) rows(ctx context.Context, tenant, after string, limit int) ([]shingle.Domain, error) {
	return s.Store.FindDomains(ctx, shingle.DomainQuery{Tenant: tenant, Order: shingle.ByHost, After: shingle.DomainPlace{Host: after}, Limit: limit})
}

// add takes those candidates into the page that are wanted. It reports whether the page
// is to end, with the last that was taken or, when one does not fit, before it.
func (s *server) add(ctx context.Context, p *listing, some []candidate) (full bool, err error) {
	if err := s.load(ctx, p, some); err != nil {
		return true, err
	}
	for _, c := range some {
		p.rows++
		if c.row != nil && p.takes(c.row) && (!p.byStatus() || p.takesStatus(c.status)) {
			if p.size += len(c.row.Settings); p.size > maxPageSettings && len(p.list) > 0 {
				return true, nil
			}
			shown := show(*c.row)
			shown.Status = c.status
			p.list = append(p.list, shown)
		}
		if p.next = c.DomainPlace; len(p.list) == p.limit {
			return true, nil
		}
	}
	return p.rows >= rowsAPage || p.reads > readsAPage-readsAtOnce, nil
}

// load reads what is not known of candidates and matters, many at once.
func (s *server) load(ctx context.Context, p *listing, some []candidate) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readersAPage)
	for i := range some {
		c := &some[i]
		switch {
		case c.unread:
			group.Go(func() error { return s.loadBoth(ctx, c) })
		case c.row != nil && (p.byStatus() || p.Status) && p.takes(c.row):
			group.Go(func() (err error) {
				c.status, err = s.status(ctx, c.Host)
				return err
			})
		default:
			continue
		}
		p.reads++
	}
	return group.Wait()
}

// loadBoth reads the row and the status of a candidate. One whose status is not what the
// index said is none: it has another place by now.
func (s *server) loadBoth(ctx context.Context, c *candidate) error {
	st, err := s.Statuses.Status(ctx, c.Host)
	if errors.Is(err, shingle.ErrNotFound) || errors.Is(err, shingle.ErrUnreadable) || err == nil && c.listed != nil && !c.listed.Is(&st) {
		return nil
	}
	if err != nil {
		return err
	}
	d, err := s.Store.Domain(ctx, c.Host)
	if errors.Is(err, shingle.ErrNotFound) || errors.Is(err, shingle.ErrUnreadable) {
		return nil
	}
	c.row, c.status = &d, showStatus(ctx, &st)
	return err
}

// cursorTo is the after of a page behind a place in the order of sort; empty for none.
func cursorTo(sort string, p shingle.DomainPlace) string {
	text := p.Host
	if p.Host != "" && sort != string(shingle.ByHost) {
		text = sort + " " + strconv.FormatInt(p.Created.UnixMicro(), 10) + " " + p.Host
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

// placeOf reads what cursorTo wrote for the same order.
func placeOf(sort, cursor string) (p shingle.DomainPlace, err error) {
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	p.Host = string(text)
	if err == nil && cursor != "" && sort != string(shingle.ByHost) {
		var us int64
		part := strings.Split(p.Host, " ")
		if len(part) != 3 || part[0] != sort {
			return p, at("query.after", errCursor)
		}
		us, err = strconv.ParseInt(part[1], 10, 64)
		p = shingle.DomainPlace{Created: time.UnixMicro(us).UTC(), Host: part[2]}
	}
	if err != nil || len(p.Host) > shingle.MaxHost || strings.Contains(p.Host, " ") {
		return p, at("query.after", errCursor)
	}
	return p, nil
}
