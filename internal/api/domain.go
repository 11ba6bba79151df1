package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

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
	Settings  Settings  `json:"settings,omitempty"`
	Version   int64     `json:"version" doc:"Counts the writes, from 1"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	UpdatedBy string    `json:"updated_by,omitempty" doc:"Name of the API token that wrote it last; absent: Shingle itself"`
	Status    *Status   `json:"status,omitempty" doc:"What the checks found, where one domain is shown; absent before the first"`

	Delegation *Delegation `json:"delegation,omitempty" doc:"The record by which the customer lets us answer DNS-01 validations; absent in lists, and where that is not set up"`

	DNS *Instructions `json:"dns,omitempty" doc:"What the customer may set; absent in lists, and where it is not known what customers are to point at"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// Delegation is a record for the customer to set.
type Delegation struct {
	Name     string `json:"name" example:"_acme-challenge.customer.com"`
	Type     string `json:"type" enum:"CNAME"`
	Value    string `json:"value" example:"5c1ghr0kmqkr9r8f1gapvcqdq1b5c6hs.acme.example.com"`
	Required bool   `json:"required" doc:"There is no certificate without it: the domain is a wildcard"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// NewDomain is the body of a create. [shingle.Domain.Validate] has the rules.
type NewDomain struct {
	Host     string `json:"host" doc:"The customer's name, as people write it; Unicode will do. A wildcard such as *.customer.com covers all names one label below" example:"blog.customer.com"`
	Tenant   string `json:"tenant,omitempty" doc:"Your name for the customer: at most 128 letters, digits and ._:@-" example:"acme"`
	Origin   string `json:"origin,omitempty" doc:"Where requests go instead of the target: a host, or a URL without a path" example:"https://eu.app.example.com"`
	Redirect string `json:"redirect,omitempty" doc:"A host that visitors are sent to with 308 instead" example:"www.customer.com"`
	Paused   bool   `json:"paused,omitempty" doc:"Neither serve it nor issue for it yet"`

	Settings Settings `json:"settings,omitempty"`
}

func (n *NewDomain) domain() shingle.Domain {
	return shingle.Domain{Host: n.Host, Tenant: n.Tenant, Origin: n.Origin, Redirect: n.Redirect, Paused: n.Paused, Settings: shingle.SettingsText(n.Settings)}
}

// DomainPatch is the body of an update, a merge patch (RFC 7396): what is
// absent stays, what is null or empty is removed.
type DomainPatch struct {
	Tenant   *string `json:"tenant,omitempty" nullable:"true"`
	Origin   *string `json:"origin,omitempty" nullable:"true"`
	Redirect *string `json:"redirect,omitempty" nullable:"true"`
	Paused   *bool   `json:"paused,omitempty"`

	Settings *SettingsPatch `json:"settings,omitempty" nullable:"true"`
}

// DomainList is a page of domains.
type DomainList struct {
	Domains []Domain `json:"domains" nullable:"false"`
	Next    string   `json:"next,omitempty" doc:"Send it as after for the next page; absent at the end"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// UnmarshalJSON tells null, which removes, from absent, which does not.
func (p *DomainPatch) UnmarshalJSON(data []byte) error {
	type plain DomainPatch
	if err := json.Unmarshal(data, (*plain)(p)); err != nil {
		return err
	}
	var members map[string]any
	if err := json.Unmarshal(data, &members); err != nil {
		return err
	}
	fields := map[string]**string{"tenant": &p.Tenant, "origin": &p.Origin, "redirect": &p.Redirect}
	for name, value := range members {
		if value != nil {
			continue
		}
		if strings.EqualFold(name, "settings") {
			p.Settings = new(SettingsPatch)
			continue
		}
		field, ok := fields[strings.ToLower(name)] // any case, as encoding/json has it
		if !ok {
			return fmt.Errorf("%s cannot be null", name)
		}
		*field = new(string)
	}
	return nil
}

func (p *DomainPatch) apply(d *shingle.Domain) (err error) {
	for _, x := range []struct{ from, to *string }{{p.Tenant, &d.Tenant}, {p.Origin, &d.Origin}, {p.Redirect, &d.Redirect}} {
		if x.from != nil {
			*x.to = *x.from
		}
	}
	if p.Paused != nil {
		d.Paused = *p.Paused
	}
	if p.Settings != nil {
		d.Settings, err = p.Settings.apply(d.Settings)
	}
	return err
}

func show(d shingle.Domain) Domain {
	out := Domain{
		Host: d.Host, Tenant: d.Tenant, Origin: d.Origin, Redirect: d.Redirect, Paused: d.Paused, Settings: Settings(d.Settings),
		Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt, UpdatedBy: d.UpdatedBy,
	}
	host, wild := strings.CutPrefix(d.Host, "*.")
	if u, err := idna.Display.ToUnicode(host); err == nil && u != host {
		if out.Unicode = u; wild {
			out.Unicode = "*." + u
		}
	}
	return out
}

// shown is show, with the record for DNS-01. When that is not known now the rest is
// shown all the same.
func (s *server) shown(ctx context.Context, d shingle.Domain) Domain {
	out := show(d)
	out.DNS = s.instructions(d)
	if s.Certificates == nil {
		return out
	}
	is, err := s.Certificates.Delegation(ctx, d.Host, d.Tenant)
	switch {
	case err == nil:
		out.Delegation = &Delegation{Name: is.Name, Type: "CNAME", Value: is.Target, Required: shingle.IsWildcard(d.Host)}
	case !errors.Is(err, shingle.ErrNotFound) && !errors.Is(err, shingle.ErrInvalid):
		s.Logger.Warn("record for DNS-01 not known", "host", d.Host, "error", err)
	}
	return out
}

// ETag returns what the ETag of an answer with d is.
func (d *Domain) ETag() string {
	return etag(shingle.Domain{Version: d.Version, CreatedAt: d.CreatedAt})
}

// etag identifies a state of a row. The time is in it because a row that is
// deleted and created again counts from 1 again.
func etag(d shingle.Domain) string { return fmt.Sprintf(`"%d-%x"`, d.Version, d.CreatedAt.UnixMicro()) }

// matches reports whether If-Match allows acting on d (RFC 9110 section
// 13.1.1). Absent, it does.
func matches(ifMatch string, d shingle.Domain) bool {
	if ifMatch == "" {
		return true
	}
	for tag := range strings.SplitSeq(ifMatch, ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || tag == etag(d) {
			return true
		}
	}
	return false
}
