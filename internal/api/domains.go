package api

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/shingle-proxy/shingle"
)

// attempts bounds how often an update is tried against a row that others keep
// changing.
const attempts = 5

// maxPageSettings bounds the settings in a page of a list, in bytes.
const maxPageSettings = 2 << 20

type createInput struct{ Body NewDomain }

// ListInput is a place in a list of hosts. It is exported for huma.
type ListInput struct {
	After string `query:"after" doc:"The next of the page before"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type domainsInput struct {
	ListInput
	FilterInput
	Sort string `query:"sort" maxLength:"32" doc:"host, which is the default; created or -created: the oldest or the newest first; -changed: whose status changed last first" example:"-created"`
}

// order returns the order that is wanted. It refuses one that no store has an index of.
func (s *server) order(in *domainsInput) (string, error) {
	why := "domains can be sorted by host, created, -created or -changed: another order would read every domain for each page"
	switch in.Sort {
	case "":
		return string(shingle.ByHost), nil
	case string(shingle.ByHost), string(shingle.OldestFirst), string(shingle.NewestFirst):
		return in.Sort, nil
	case sortChanged:
		if s.StatusIndex != nil && s.Statuses != nil {
			return in.Sort, nil
		}
		why = "domains have no status here: say what customers are to point at (--cname-target)"
	case strings.TrimPrefix(sortChanged, "-"):
		why = "the index of statuses begins with the newest change: sort by -changed"
	}
	return "", at("query.sort", &shingle.Error{Code: shingle.CodeInvalid, Message: why})
}

// HostInput names a domain. It and the other embedded structs are exported because huma reads
// embedded structs by reflection.
type HostInput struct {
	Host string `path:"host" doc:"The name, in any form in which it can be written" example:"blog.customer.com"`
}

type deleteInput struct {
	HostInput
	IfMatchInput
	Revoke bool `query:"revoke" doc:"Have the CA revoke its certificate, too"`
}

type updateInput struct {
	HostInput
	IfMatchInput
	Body DomainPatch
}

// IfMatchInput is the condition of a write.
type IfMatchInput struct {
	IfMatch string `header:"If-Match" doc:"The ETag of an earlier answer: act only if nothing changed since"`
}

type createAnswer struct {
	Location string `header:"Location" doc:"The path of the new domain"`
	ETag     string `header:"ETag" doc:"Identifies this state of the domain"`
	Body     Domain
}

type domainAnswer struct {
	ETag string `header:"ETag" doc:"Identifies this state of the domain"`
	Body Domain
}

type listAnswer struct{ Body DomainList }

var errCursor = shingle.Errorf(shingle.CodeInvalid, "after takes the next of an earlier answer, unchanged")

// after returns the host after which the page begins.
func (in *ListInput) after() (string, error) {
	host, err := base64.RawURLEncoding.DecodeString(in.After)
	if err != nil || len(host) > shingle.MaxHost {
		return "", at("query.after", errCursor)
	}
	return string(host), nil
}

func (s *server) domainRoutes(a huma.API) {
	const all, one = "/v1/domains", "/v1/domains/{host}"
	body := []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}

	create := operation("create-domain", http.MethodPost, all, "Allow a domain", append(body, http.StatusConflict)...)
	create.DefaultStatus = http.StatusCreated
	create.Description = "429 without Retry-After says that its tenant has as many domains as it may have (--max-domains-per-tenant)."
	register(s, a, create, s.create)
	list := operation("list-domains", http.MethodGet, all, "List the domains")
	list.Description = "In the order of their hosts, unless sort names another. With filters a page may have few domains, or none: go on while there is a next."
	register(s, a, list, s.list)
	register(s, a, operation("get-domain", http.MethodGet, one, "Show a domain", http.StatusNotFound), s.get)

	update := operation("update-domain", http.MethodPatch, one, "Change a domain",
		append(body, http.StatusNotFound, http.StatusPreconditionFailed)...)
	update.Description = "A merge patch: what is absent stays, what is null or empty is removed."
	register(s, a, update, s.update)

	remove := operation("delete-domain", http.MethodDelete, one, "Delete a domain",
		http.StatusNotFound, http.StatusPreconditionFailed)
	remove.Description = "It is no longer served, no certificate is obtained for it, and the key of the one that is there is destroyed. " +
		"The name is remembered for a while: another tenant who adds it has to prove control."
	register(s, a, remove, s.remove)
}

// operation describes an operation with the errors that it can have besides
// those that all have.
func operation(id, method, path, summary string, errs ...int) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, MaxBodyBytes: maxBody + 1, // readBody has the bound
		Errors: append([]int{http.StatusUnauthorized, http.StatusUnprocessableEntity, http.StatusServiceUnavailable}, errs...),
	}
}

// register adds an operation, for the roles that roles.go gives it, whose errors
// go through [server.report].
func register[I, O any](s *server, a huma.API, op huma.Operation, do func(context.Context, *I) (*O, error)) {
	s.rule(&op)
	huma.Register(a, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := do(ctx, in)
		if err != nil {
			return nil, s.report(err)
		}
		return out, nil
	})
}

func (s *server) create(ctx context.Context, in *createInput) (*createAnswer, error) {
	made, err := s.insert(ctx, in.Body.domain())
	if err != nil {
		return nil, err
	}
	return &createAnswer{Location: "/v1/domains/" + made.Host, ETag: etag(made), Body: s.shown(ctx, made)}, nil
}

// insert creates a row, as its caller may.
func (s *server) insert(ctx context.Context, d shingle.Domain) (shingle.Domain, error) {
	d.UpdatedBy = caller(ctx)
	own := tenantOf(ctx)
	if d.Tenant == "" {
		d.Tenant = own
	}
	if err := s.validate(&d, nil); err != nil {
		return d, err
	}
	if err := mayWrite(ctx, shingle.Domain{Tenant: own}, d); err != nil {
		return d, err
	}
	if err := s.mustNotBeCovered(ctx, d, false); err != nil {
		return d, err
	}
	if err := s.claimID(ctx, &d); err != nil {
		return d, err
	}
	made, err := s.makeRow(ctx, d)
	if err != nil {
		return d, named(d.Host, err)
	}
	return made, nil
}

// makeRow creates a row, if its tenant may have one more. Of one that is there it says that
// first: whoever repeats a creation hears that it was done.
func (s *server) makeRow(ctx context.Context, d shingle.Domain) (shingle.Domain, error) {
	done, err := s.quotas.take(ctx, d.Tenant)
	if errors.Is(err, shingle.ErrLimited) {
		if _, there := s.Store.Domain(ctx, d.Host); there == nil {
			return d, shingle.ErrExists
		}
	}
	if err != nil {
		return d, err
	}
	made, err := s.Store.CreateDomain(ctx, d, s.Now())
	done(!errors.Is(err, shingle.ErrExists))
	return made, err
}

func (s *server) list(ctx context.Context, in *domainsInput) (*listAnswer, error) {
	sort, err := s.order(in)
	if err != nil {
		return nil, err
	}
	after, err := placeOf(sort, in.After)
	if err != nil {
		return nil, err
	}
	p, err := s.page(ctx, in.FilterInput, sort, after, in.Limit)
	if err != nil {
		return nil, err
	}
	return &listAnswer{DomainList{Domains: p.list, Next: cursorTo(sort, p.next)}}, nil
}

func (s *server) get(ctx context.Context, in *HostInput) (*domainAnswer, error) {
	d, err := s.find(ctx, in.Host)
	if err != nil {
		return nil, err
	}
	out := s.answerWith(ctx, d)
	out.Body.Status, err = s.status(ctx, d.Host)
	return out, err
}

func (s *server) update(ctx context.Context, in *updateInput) (*domainAnswer, error) {
	d, err := s.change(ctx, in.Host, in.IfMatch, in.Body.apply)
	if err != nil {
		return nil, err
	}
	return s.answerWith(ctx, d), nil
}

// change reads, changes and writes a row if it is still as it was read. When
// it is not, the change is tried again on what the row is now; with If-Match
// the second read finds it stale.
func (s *server) change(ctx context.Context, host, ifMatch string, apply func(*shingle.Domain) error) (shingle.Domain, error) {
	for attempt := 1; ; attempt++ {
		old, err := s.find(ctx, host)
		if err != nil {
			return old, err
		}
		if !matches(ifMatch, old) {
			return old, named(old.Host, shingle.ErrConflict)
		}
		d := old
		if err := errors.Join(apply(&d), s.validate(&d, &old)); err != nil {
			return old, err
		}
		if err := mayWrite(ctx, old, d); err != nil || d == old {
			return old, err
		}
		if err := s.claimID(ctx, &d); err != nil {
			return old, err
		}
		d.UpdatedBy = caller(ctx)
		d, err = s.replaceRow(ctx, old, d)
		if err == nil {
			return d, nil
		}
		if !errors.Is(err, shingle.ErrConflict) || attempt == attempts {
			return old, named(old.Host, err)
		}
	}
}

// replaceRow writes a row in the place of old, if its tenant may have one more when it is
// another's than before.
func (s *server) replaceRow(ctx context.Context, old, d shingle.Domain) (shingle.Domain, error) {
	done := func(bool) {}
	if d.Tenant != old.Tenant {
		var err error
		if done, err = s.quotas.take(ctx, d.Tenant); err != nil {
			return d, err
		}
	}
	made, err := s.Store.UpdateDomain(ctx, d, s.Now())
	done(!errors.Is(err, shingle.ErrConflict) && !errors.Is(err, shingle.ErrNotFound))
	return made, err
}

func (s *server) remove(ctx context.Context, in *deleteInput) (*struct{}, error) {
	host, err := hostInPath(in.Host)
	if err != nil {
		return nil, err
	}
	if in.IfMatch == "" && tenantOf(ctx) == "" {
		return nil, named(host, s.delete(ctx, host, 0, in.Revoke)) // whatever it is
	}
	for attempt := 1; ; attempt++ {
		d, err := s.find(ctx, host)
		if err == nil && !matches(in.IfMatch, d) {
			err = named(host, shingle.ErrConflict)
		}
		if err == nil {
			err = mayDelete(ctx, &d)
		}
		if err != nil {
			return nil, err
		}
		err = s.delete(ctx, host, d.Version, in.Revoke)
		if !errors.Is(err, shingle.ErrConflict) || attempt == attempts {
			return nil, named(host, err)
		}
	}
}

// delete removes a row of a version, 0 being any, and its certificate.
func (s *server) delete(ctx context.Context, host string, version int64, revoke bool) error {
	if revoke && s.Certificates != nil {
		if err := s.Certificates.Revoke(ctx, host); err != nil {
			return err
		}
	}
	if err := s.Store.DeleteDomain(ctx, host, version, caller(ctx), s.Now()); err != nil {
		return err
	}
	s.destroy(ctx, host)
	return nil
}

// destroy has the key of a deleted domain gone before the answer is, so that whoever
// adds the name next cannot be served with it. When that fails the certificate worker
// does it, whom the deletion tells.
func (s *server) destroy(ctx context.Context, host string) {
	if s.Certificates == nil {
		return
	}
	if err := s.Certificates.Drop(ctx, host); err != nil {
		s.Logger.Warn("certificate not destroyed yet", "host", host, "error", err)
	}
}

// find reads the row of a host as a user wrote it.
func (s *server) find(ctx context.Context, raw string) (shingle.Domain, error) {
	host, err := hostInPath(raw)
	if err != nil {
		return shingle.Domain{}, err
	}
	d, err := s.Store.Domain(ctx, host)
	if err != nil {
		return d, named(host, err)
	}
	return d, owns(ctx, &d)
}

func hostInPath(raw string) (string, error) {
	host, err := shingle.NormalizeDomain(raw)
	if err != nil {
		return "", at("path.host", err)
	}
	return host, nil
}

// named says of which host a store's error is.
func named(host string, err error) error {
	switch {
	case errors.Is(err, shingle.ErrNotFound):
		return shingle.Errorf(shingle.CodeNotFound, "%s is not set up here", host)
	case errors.Is(err, shingle.ErrExists):
		return shingle.Errorf(shingle.CodeExists, "%s exists already", host)
	case errors.Is(err, shingle.ErrConflict):
		return shingle.Errorf(shingle.CodeConflict, "%s was changed in the meantime: read it again", host)
	}
	return err
}

func (s *server) answerWith(ctx context.Context, d shingle.Domain) *domainAnswer {
	return &domainAnswer{ETag: etag(d), Body: s.shown(ctx, d)}
}
