package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/shingle-proxy/shingle"
	"golang.org/x/net/idna"
)

// Domain is a custom domain as the API shows it.
type Domain struct {
	Host      string    `json:"host" doc:"The name in its normal form" example:"blog.customer.com"`
	Unicode   string    `json:"unicode,omitempty" doc:"The name as people write it, when that differs"`
	Tenant    string    `json:"tenant,omitempty" doc:"The operator's name for the customer"`
	Origin    string    `json:"origin,omitempty" doc:"Where requests go instead of the target"`
	Redirect  string    `json:"redirect,omitempty" doc:"The host that visitors are sent to"`
	Paused    bool      `json:"paused" doc:"Neither served nor issued for"`
	Version   int64     `json:"version" doc:"Counts the writes; the ETag"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// NewDomain is the body of a create.
type NewDomain struct {
	Host     string `json:"host" doc:"The customer's name, as people write it" example:"blog.customer.com" maxLength:"1012"`
	Tenant   string `json:"tenant,omitempty" maxLength:"128"`
	Origin   string `json:"origin,omitempty" maxLength:"512" example:"https://eu.app.example.com"`
	Redirect string `json:"redirect,omitempty" maxLength:"1012"`
	Paused   bool   `json:"paused,omitempty"`
}

// DomainPatch is the body of an update: what is absent stays.
type DomainPatch struct {
	Tenant   *string `json:"tenant,omitempty" maxLength:"128"`
	Origin   *string `json:"origin,omitempty" maxLength:"512"`
	Redirect *string `json:"redirect,omitempty" maxLength:"1012"`
	Paused   *bool   `json:"paused,omitempty"`
}

// DomainList is a page of domains, in the order of their hosts.
type DomainList struct {
	Domains []Domain `json:"domains"`
	Next    string   `json:"next,omitempty" doc:"Send it as after for the next page; absent on the last"`
}

type domainAnswer struct {
	ETag string `header:"ETag"`
	Body Domain
}

type hostInput struct {
	Host string `path:"host" maxLength:"1012"`
}

type updateInput struct {
	Host    string `path:"host" maxLength:"1012"`
	IfMatch string `header:"If-Match" doc:"The ETag that was read; the update fails when it is stale"`
	Body    DomainPatch
}

type listInput struct {
	After string `query:"after" maxLength:"1012" doc:"The next of the page before"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

func (s *server) routes(a huma.API) {
	errs := []int{http.StatusUnauthorized, http.StatusUnprocessableEntity, http.StatusServiceUnavailable}
	op := func(id, method, path, summary string, more ...int) huma.Operation {
		return huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary, MaxBodyBytes: maxBody, Errors: append(append([]int{}, errs...), more...)}
	}
	create := op("create-domain", http.MethodPost, "/v1/domains", "Allow a domain", http.StatusConflict)
	create.DefaultStatus = http.StatusCreated
	huma.Register(a, create, s.create)
	huma.Register(a, op("list-domains", http.MethodGet, "/v1/domains", "List the domains"), s.list)
	huma.Register(a, op("get-domain", http.MethodGet, "/v1/domains/{host}", "Show a domain", http.StatusNotFound), s.get)
	huma.Register(a, op("update-domain", http.MethodPatch, "/v1/domains/{host}", "Change a domain", http.StatusNotFound, http.StatusPreconditionFailed), s.update)
	huma.Register(a, op("delete-domain", http.MethodDelete, "/v1/domains/{host}", "Delete a domain: it is no longer served", http.StatusNotFound), s.remove)
}

func (s *server) create(ctx context.Context, in *struct{ Body NewDomain }) (*domainAnswer, error) {
	d := shingle.Domain{Host: in.Body.Host, Tenant: in.Body.Tenant, Origin: in.Body.Origin, Redirect: in.Body.Redirect, Paused: in.Body.Paused}
	if err := d.Validate(); err != nil {
		return nil, s.toProblem(err)
	}
	d, err := s.Store.CreateDomain(ctx, d, s.Now())
	if errors.Is(err, shingle.ErrExists) {
		err = shingle.Errorf(shingle.CodeExists, "%s exists already", in.Body.Host)
	}
	return s.answer(d, err)
}

func (s *server) list(ctx context.Context, in *listInput) (*struct{ Body DomainList }, error) {
	rows, err := s.Store.Domains(ctx, in.After, in.Limit)
	if err != nil {
		return nil, s.toProblem(err)
	}
	out := &struct{ Body DomainList }{DomainList{Domains: make([]Domain, len(rows))}}
	for i := range rows {
		out.Body.Domains[i] = show(rows[i])
	}
	if len(rows) == in.Limit {
		out.Body.Next = rows[len(rows)-1].Host
	}
	return out, nil
}

func (s *server) get(ctx context.Context, in *hostInput) (*domainAnswer, error) {
	return s.answer(s.find(ctx, in.Host))
}

func (s *server) update(ctx context.Context, in *updateInput) (*domainAnswer, error) {
	// Without If-Match the change is meant for whatever the row is now.
	const attempts = 5
	for attempt := 1; ; attempt++ {
		d, err := s.find(ctx, in.Host)
		if err != nil {
			return nil, s.toProblem(err)
		}
		if in.IfMatch != "" && in.IfMatch != "*" && in.IfMatch != etag(d) {
			return nil, s.toProblem(shingle.Errorf(shingle.CodeConflict, "%s changed since you read it: read it again", d.Host))
		}
		in.Body.apply(&d)
		if err := d.Validate(); err != nil {
			return nil, s.toProblem(err)
		}
		d, err = s.Store.UpdateDomain(ctx, d, s.Now())
		if errors.Is(err, shingle.ErrConflict) && in.IfMatch == "" && attempt < attempts {
			continue
		}
		return s.answer(d, err)
	}
}

func (p *DomainPatch) apply(d *shingle.Domain) {
	for _, x := range []struct{ from, to *string }{{p.Tenant, &d.Tenant}, {p.Origin, &d.Origin}, {p.Redirect, &d.Redirect}} {
		if x.from != nil {
			*x.to = *x.from
		}
	}
	if p.Paused != nil {
		d.Paused = *p.Paused
	}
}

func (s *server) remove(ctx context.Context, in *hostInput) (*struct{}, error) {
	d, err := s.find(ctx, in.Host)
	if err == nil {
		err = s.Store.DeleteDomain(ctx, d.Host, 0)
	}
	if err != nil {
		return nil, s.toProblem(err)
	}
	return nil, nil
}

// find reads the row of a host as a user wrote it.
func (s *server) find(ctx context.Context, raw string) (shingle.Domain, error) {
	host, err := shingle.NormalizeHost(raw)
	if err != nil {
		return shingle.Domain{}, err
	}
	d, err := s.Store.Domain(ctx, host)
	if errors.Is(err, shingle.ErrNotFound) {
		return d, shingle.Errorf(shingle.CodeNotFound, "%s is not set up here", host)
	}
	return d, err
}

func (s *server) answer(d shingle.Domain, err error) (*domainAnswer, error) {
	if err != nil {
		return nil, s.toProblem(err)
	}
	return &domainAnswer{ETag: etag(d), Body: show(d)}, nil
}

func etag(d shingle.Domain) string { return strconv.Quote(strconv.FormatInt(d.Version, 10)) }

func show(d shingle.Domain) Domain {
	out := Domain{
		Host: d.Host, Tenant: d.Tenant, Origin: d.Origin, Redirect: d.Redirect, Paused: d.Paused,
		Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
	}
	if strings.Contains(d.Host, "xn--") {
		if u, err := idna.Display.ToUnicode(d.Host); err == nil {
			out.Unicode = u
		}
	}
	return out
}
