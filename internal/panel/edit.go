package panel

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

// editForm is the settings of a domain as they are entered. What has no field of its own
// is in Other, as JSON.
type editForm struct {
	Host, ETag               string
	Tenant, Origin, Redirect string
	Paused                   bool
	Tags                     string // with commas between
	Maintenance              bool
	MinTLS                   string
	HTTP3                    string // on, off or the default
	HSTS                     string // seconds; empty: off
	Other                    string
	Fault                    fault
}

func editDomain(v *visit) error {
	d, err := v.api.Domain(v.ctx(), v.host())
	if err != nil {
		return err
	}
	form := editForm{Host: d.Host, ETag: d.ETag(), Tenant: d.Tenant, Origin: d.Origin, Redirect: d.Redirect, Paused: d.Paused}
	if err := form.read(d.Settings); err != nil {
		return err
	}
	return v.show("edit", form)
}

// read takes settings apart into fields.
func (f *editForm) read(s api.Settings) error {
	members, err := membersOf([]byte(s))
	if err != nil {
		return err
	}
	var known struct {
		Tags        []string
		Maintenance struct{ On bool }
		TLS         struct {
			MinVersion string `json:"min_version"`
		}
		HTTP3 string
		HSTS  *struct {
			MaxAge int `json:"max_age"`
		}
	}
	if len(s) > 0 && s != "null" {
		if err := json.Unmarshal([]byte(s), &known); err != nil {
			return err
		}
	}
	f.Tags, f.Maintenance, f.MinTLS, f.HTTP3 = strings.Join(known.Tags, ", "), known.Maintenance.On, known.TLS.MinVersion, known.HTTP3
	if known.HSTS != nil {
		f.HSTS = strconv.Itoa(known.HSTS.MaxAge)
	}
	for path := range f.fields() {
		section, member, _ := strings.Cut(path, ".")
		remove(members, section, member)
	}
	if len(members) == 0 {
		return nil
	}
	other, err := json.MarshalIndent(members, "", "  ")
	f.Other = string(other)
	return err
}

// fields are the settings that have a field, nil where that is empty.
func (f *editForm) fields() map[string]any {
	out := map[string]any{"tags": nil, "maintenance.on": nil, "tls.min_version": nil, "http3": nil, "hsts.max_age": nil}
	if tags := split(f.Tags); len(tags) > 0 {
		out["tags"] = tags
	}
	if f.Maintenance {
		out["maintenance.on"] = true
	}
	if f.MinTLS != "" {
		out["tls.min_version"] = f.MinTLS
	}
	if f.HTTP3 != "" {
		out["http3"] = f.HTTP3
	}
	if f.HSTS != "" {
		out["hsts.max_age"] = json.Number(f.HSTS)
	}
	return out
}

func split(list string) (out []string) {
	for one := range strings.SplitSeq(list, ",") {
		if one = strings.TrimSpace(one); one != "" {
			out = append(out, one)
		}
	}
	return out
}

// remove takes a member out of a section, and the section when nothing is left of it.
func remove(members map[string]any, section, member string) {
	inner, ok := members[section].(map[string]any)
	if member == "" || !ok {
		if member == "" {
			delete(members, section)
		}
		return
	}
	if delete(inner, member); len(inner) == 0 {
		delete(members, section)
	}
}

// settings puts the fields together again.
func (f *editForm) settings() (map[string]any, error) {
	members, err := membersOf([]byte(f.Other))
	if err != nil {
		return nil, &shingle.Error{Code: shingle.CodeInvalid, Field: "other", Message: "this is not a JSON object"}
	}
	for path, value := range f.fields() {
		if value == nil {
			continue
		}
		section, member, inner := strings.Cut(path, ".")
		if !inner {
			members[section] = value
			continue
		}
		is, ok := members[section].(map[string]any)
		if !ok {
			is = map[string]any{}
			members[section] = is
		}
		is[member] = value
	}
	return members, nil
}

// membersOf reads a JSON object; numbers stay as they are written.
func membersOf(text []byte) (map[string]any, error) {
	members := map[string]any{}
	if text = bytes.TrimSpace(text); len(text) == 0 || string(text) == "null" {
		return members, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err := d.Decode(&members)
	if err == nil && d.More() {
		err = shingle.ErrInvalid
	}
	return members, err
}

func updateDomain(v *visit) error {
	if err := v.r.ParseForm(); err != nil {
		return badForm
	}
	in := v.r.PostForm
	form := editForm{
		Host: v.host(), ETag: in.Get("etag"), Tenant: strings.TrimSpace(in.Get("tenant")), Origin: strings.TrimSpace(in.Get("origin")),
		Redirect: strings.TrimSpace(in.Get("redirect")), Paused: in.Has("paused"), Tags: in.Get("tags"), Maintenance: in.Has("maintenance"),
		MinTLS: in.Get("min_tls"), HTTP3: in.Get("http3"), HSTS: strings.TrimSpace(in.Get("hsts")), Other: in.Get("other"),
	}
	old, err := v.api.Domain(v.ctx(), form.Host)
	if err != nil {
		return err
	}
	patch, err := form.patch(old)
	if err == nil {
		var now api.Domain
		if now, err = v.api.UpdateDomainIf(v.ctx(), form.Host, form.ETag, patch); err == nil {
			if now.Version == old.Version {
				return v.tell(domainAddress(form.Host), "unchanged")
			}
			return v.tell(domainAddress(form.Host), "saved")
		}
	}
	if form.Fault, err = faultOf(err); err != nil {
		return err
	}
	form.Fault = form.Fault.ofSettings()
	v.panel.render(v.w, v, http.StatusUnprocessableEntity, "edit", form)
	return nil
}

// ofSettings is the fault at the field in which it was entered.
func (f fault) ofSettings() fault {
	path, inSettings := strings.CutPrefix(f.Field, "settings.")
	if !inSettings {
		return f.at("tenant", "origin", "redirect", "hsts", "other")
	}
	for prefix, field := range map[string]string{"tags": "tags", "tls.min_version": "min_tls", "http3": "http3", "hsts.max_age": "hsts"} {
		if strings.HasPrefix(path, prefix) {
			return fault{field, f.Message}
		}
	}
	return fault{"other", path + ": " + f.Message}
}

// patch is what makes the domain as the form says. What is as it was is not in it, so
// that a token of a tenant's may send what it may change.
func (f *editForm) patch(old api.Domain) (p api.DomainPatch, err error) {
	for _, x := range []struct {
		was, is string
		to      **string
	}{{old.Tenant, f.Tenant, &p.Tenant}, {old.Origin, f.Origin, &p.Origin}, {old.Redirect, f.Redirect, &p.Redirect}} {
		if x.was != x.is {
			*x.to = &x.is
		}
	}
	if f.Paused != old.Paused {
		p.Paused = &f.Paused
	}
	was, err := membersOf([]byte(old.Settings))
	if err != nil {
		return p, err
	}
	is, err := f.settings()
	if err != nil {
		return p, err
	}
	change := difference(was, is)
	if len(change) == 0 {
		return p, nil
	}
	text, err := json.Marshal(change)
	if err != nil {
		return p, &shingle.Error{Code: shingle.CodeInvalid, Field: "hsts", Message: "this is not a number of seconds"}
	}
	patch := api.SettingsPatch(text)
	p.Settings = &patch
	return p, nil
}

// difference is the merge patch (RFC 7396) that turns one object into another. Neither
// has a null.
func difference(was, is map[string]any) map[string]any {
	out := map[string]any{}
	for name := range was {
		if _, ok := is[name]; !ok {
			out[name] = nil
		}
	}
	for name, value := range is {
		before, ok := was[name]
		if ok && equal(before, value) {
			continue
		}
		from, isObject := before.(map[string]any)
		to, toObject := value.(map[string]any)
		if isObject && toObject {
			out[name] = difference(from, to)
			continue
		}
		out[name] = value
	}
	return out
}

// equal compares as JSON, since some values come from fields.
func equal(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y) || reflect.DeepEqual(a, b)
}

func askDelete(v *visit) error {
	d, err := v.api.Domain(v.ctx(), v.host())
	if err != nil {
		return err
	}
	return v.show("delete", deleteForm{Domain: d})
}

type deleteForm struct {
	Domain api.Domain
	Fault  fault
}

func deleteDomain(v *visit) error {
	if err := v.r.ParseForm(); err != nil {
		return badForm
	}
	do := v.api.DeleteDomain
	if v.r.PostForm.Has("revoke") {
		do = v.api.DeleteAndRevoke
	}
	d, err := v.api.Domain(v.ctx(), v.host())
	if err != nil {
		return err
	}
	if strings.TrimSpace(v.r.PostForm.Get("confirm")) != d.Host {
		form := deleteForm{Domain: d, Fault: fault{"confirm", "Enter the name of the domain as it is above."}}
		v.panel.render(v.w, v, http.StatusUnprocessableEntity, "delete", form)
		return nil
	}
	if err := do(v.ctx(), d.Host); err != nil {
		return err
	}
	return v.tell(Root+"domains", "deleted")
}
