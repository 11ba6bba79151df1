package panel

import (
	"cmp"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

const domainsAPage = 50

// domainList is a page of the list.
type domainList struct {
	Query    api.FilterInput
	Filtered bool
	Domains  []api.Domain
	Next     string // address of the next page; empty at the end
	First    string // of the first page; empty there
	Sort     string
	Orders   []order
	Heads    []head
}

// order is one in which the list can be.
type order struct{ Sort, Text string }

var listOrders = []order{{"host", "By name"}, {"-created", "Newest first"}, {"created", "Oldest first"}, {"-changed", "Status changed last"}}

// head is the head of a column.
type head struct {
	Text   string
	Link   string // to the list in the order of the column; empty: there is none
	Sorted string // ascending or descending, when the list is in that order
}

// heads are those of the list; a second click on the order of creation turns it round.
func heads(q url.Values, sort string) []head {
	to := func(sort string) string { return pageAddress(q, "", "sort", sort) }
	added := head{Text: "Added", Link: to("-created"), Sorted: map[string]string{"created": "ascending", "-created": "descending"}[sort]}
	if sort == "-created" {
		added.Link = to("created")
	}
	return []head{
		{Text: "Domain", Link: to("host"), Sorted: map[string]string{"host": "ascending"}[sort]},
		{Text: "Status", Link: to("-changed"), Sorted: map[string]string{"-changed": "descending"}[sort]},
		{Text: "Tenant"}, added,
	}
}

func listDomains(v *visit) error {
	q := v.r.URL.Query()
	query := api.DomainQuery{Limit: domainsAPage, After: q.Get("after"), Sort: cmp.Or(q.Get("sort"), "host"), FilterInput: api.FilterInput{
		Text: strings.ToLower(strings.TrimSpace(q.Get("text"))), Tenant: strings.TrimSpace(q.Get("tenant")), Tag: strings.TrimSpace(q.Get("tag")), State: q.Get("state"), Who: q.Get("who"), Status: true,
	}}
	found, err := v.api.DomainPage(v.ctx(), query)
	if err != nil {
		return err
	}
	list := domainList{Query: query.FilterInput, Domains: found.Domains, Sort: query.Sort, Orders: listOrders, Heads: heads(q, query.Sort)}
	list.Filtered = query.Text+query.Tenant+query.Tag+query.State+query.Who != ""
	if found.Next != "" {
		list.Next = pageAddress(q, found.Next)
	}
	if query.After != "" {
		list.First = pageAddress(q, "")
	}
	return v.show("domains", list)
}

// pageAddress is another page of the same list, or of the list with other parameters, each
// a name and a value.
func pageAddress(q url.Values, after string, other ...string) string {
	out := url.Values{}
	q = maps.Clone(q)
	for i := 0; i < len(other); i += 2 {
		q.Set(other[i], other[i+1])
	}
	for _, name := range []string{"text", "tenant", "tag", "state", "who", "host", "sort"} {
		if value := q.Get(name); value != "" {
			out.Set(name, value)
		}
	}
	if after != "" {
		out.Set("after", after)
	}
	return "?" + out.Encode()
}

// domainForm is what was entered, and what is wrong with it.
type domainForm struct {
	Domain api.NewDomain
	Fault  fault
}

// fault is why a form was not taken: at one of its fields, or none.
type fault struct{ Field, Message string }

// at is the fault at one of a form's fields, or at none with the name of what it is about.
func (f fault) at(fields ...string) fault {
	name, _, _ := strings.Cut(f.Field, "[")
	switch {
	case slices.Contains(fields, name):
		return fault{name, f.Message}
	case f.Field != "":
		return fault{"", words(f.Field) + ": " + f.Message}
	}
	return f
}

// errorAt is what is wrong with a field, for beneath it.
func errorAt(f fault, field string) template.HTML {
	if f.Message == "" || f.Field != field {
		return ""
	}
	return template.HTML(fmt.Sprintf(`<p class="error" id="%s-error" role="alert">%s</p>`, field, template.HTMLEscapeString(f.Message))) //nolint:gosec // the name of a field of ours, and text that is escaped
}

// hints are the attributes of a field that say what is wrong with it, and where its hint
// is, if it has one.
func hints(f fault, field, hint string) template.HTMLAttr {
	ids, out := hint, ""
	if f.Message != "" && f.Field == field {
		ids, out = strings.TrimSpace(field+"-error "+hint), ` aria-invalid="true"`
	}
	if ids != "" {
		out += fmt.Sprintf(" aria-describedby=%q", ids)
	}
	return template.HTMLAttr(out) //nolint:gosec // names of fields of ours
}

// faultOf returns what the API has against a form. An error that is not about what was
// entered is returned as it is.
func faultOf(err error) (fault, error) {
	switch shingle.CodeOf(err) {
	case shingle.CodeInvalid, shingle.CodeExists, shingle.CodeConflict, shingle.CodeForbidden, shingle.CodeLimited:
		f := fault{Message: sentence(shingle.MessageOf(err))}
		for _, e := range shingle.Faults(err) {
			f.Field = e.Field
		}
		return f, nil
	}
	return fault{}, err
}

func newDomain(v *visit) error {
	return v.show("new", domainForm{Domain: api.NewDomain{Host: v.r.URL.Query().Get("host"), Tenant: v.r.URL.Query().Get("tenant")}})
}

func addDomain(v *visit) error {
	if err := v.r.ParseForm(); err != nil {
		return badForm
	}
	form := domainForm{Domain: api.NewDomain{
		Host: hostOf(v.r.PostForm.Get("host")), Tenant: strings.TrimSpace(v.r.PostForm.Get("tenant")),
		Origin: strings.TrimSpace(v.r.PostForm.Get("origin")), Redirect: strings.TrimSpace(v.r.PostForm.Get("redirect")),
	}}
	made, err := v.api.CreateDomain(v.ctx(), form.Domain)
	if err == nil {
		return v.tell(domainAddress(made.Host), "added")
	}
	if form.Fault, err = faultOf(err); err != nil {
		return err
	}
	form.Fault = form.Fault.at("host", "tenant", "origin", "redirect")
	v.panel.render(v.w, v, http.StatusUnprocessableEntity, "new", form)
	return nil
}

var badForm = shingle.Errorf(shingle.CodeInvalid, "the form could not be read: it is larger than it may be, or was cut short")

// hostOf takes the host out of what people copy from their browsers.
func hostOf(typed string) string {
	typed = strings.TrimSpace(typed)
	if _, rest, ok := strings.Cut(typed, "://"); ok {
		typed = rest
	}
	host, _, _ := strings.Cut(typed, "/")
	return host
}

func domainAddress(host string) string { return Root + "domains/" + url.PathEscape(host) }
