package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shingle-proxy/shingle"
)

// Settings are a domain's settings as JSON, of the form of [shingle.Settings].
type Settings string

// Schema implements [huma.SchemaProvider].
func (Settings) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[shingle.Settings](), true, "Settings")
}

// MarshalJSON implements [json.Marshaler].
func (s Settings) MarshalJSON() ([]byte, error) { return orNull(string(s)), nil }

// UnmarshalJSON implements [json.Unmarshaler].
func (s *Settings) UnmarshalJSON(data []byte) error {
	*s = Settings(data)
	return nil
}

// SettingsPatch changes settings: a merge patch (RFC 7396) as JSON.
type SettingsPatch string

// Schema implements [huma.SchemaProvider]. [shingle.Domain.Validate] checks the
// outcome, in which alone the patch makes sense.
func (SettingsPatch) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, Nullable: true, AdditionalProperties: true,
		Description: "As in Settings, but what is absent stays, at every level, and what is null is removed; null removes all",
	}
}

// MarshalJSON implements [json.Marshaler].
func (p SettingsPatch) MarshalJSON() ([]byte, error) { return orNull(string(p)), nil }

// UnmarshalJSON implements [json.Unmarshaler].
func (p *SettingsPatch) UnmarshalJSON(data []byte) error {
	*p = SettingsPatch(data)
	return nil
}

func orNull(text string) []byte {
	if text == "" {
		return []byte("null")
	}
	return []byte(text)
}

// apply merges the patch into settings.
func (p SettingsPatch) apply(to shingle.SettingsText) (shingle.SettingsText, error) {
	merged, err := mergePatch([]byte(to), orNull(string(p)))
	if err != nil || string(merged) == "null" {
		return "", err
	}
	return shingle.SettingsText(merged), nil
}

// mergePatch is MergePatch of RFC 7396. target may be empty: there is none. What
// the patch does not reach stays as it was written, long numbers too.
func mergePatch(target, patch []byte) ([]byte, error) {
	var changes map[string]json.RawMessage
	if patch = bytes.TrimSpace(patch); len(patch) == 0 || patch[0] != '{' {
		return patch, nil
	}
	if err := json.Unmarshal(patch, &changes); err != nil {
		return nil, err
	}
	members := map[string]json.RawMessage{}
	if json.Unmarshal(target, &members) != nil || members == nil { // no object
		members = map[string]json.RawMessage{}
	}
	for name, value := range changes {
		if string(value) == "null" {
			delete(members, name)
			continue
		}
		merged, err := mergePatch(members[name], value)
		if err != nil {
			return nil, err
		}
		members[name] = merged
	}
	return json.Marshal(members)
}

// validate checks a row that is to be written. What is in its place already need not
// follow a policy that came later.
func (s *server) validate(d, old *shingle.Domain) error {
	if err := d.Validate(); err != nil {
		return err
	}
	have := map[string]bool{}
	if old != nil {
		for _, o := range originsOf(old) {
			have[o.origin] = true
		}
	}
	var errs []error
	for _, is := range originsOf(d) {
		if o, err := shingle.ParseOrigin(is.origin); !have[is.origin] && (err != nil || !s.Origins.Allows(o)) {
			errs = append(errs, &shingle.Error{Code: shingle.CodeInvalid, Field: is.field, Message: "the operator's policy (--origins) does not allow " + is.origin})
		}
	}
	return errors.Join(errs...)
}

type originField struct{ field, origin string }

// originsOf returns the origins that a row names, which was validated.
func originsOf(d *shingle.Domain) (list []originField) {
	if d.Origin != "" {
		list = append(list, originField{"origin", d.Origin})
	}
	set, _ := d.Settings.Parse()
	for _, r := range set.Routes {
		list = append(list, originField{"settings.routes", r.Origin})
	}
	return list
}
