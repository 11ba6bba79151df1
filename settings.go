package shingle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Settings are what a domain has besides the fields of [Domain]: what the operator
// notes about it, and what the edge does for it.
type Settings struct {
	Tags     []string        `json:"tags,omitempty" nullable:"false" doc:"Words to find domains by: at most 20, of at most 64 letters, digits and ._:/=@-" example:"[\"eu\",\"plan:pro\"]"`
	Metadata json.RawMessage `json:"metadata,omitempty" doc:"A JSON object of yours, of at most 4096 bytes"`
}

// SettingsText is [Settings] as JSON, as a row has them: empty when nothing is set,
// and after [Domain.Validate] equal for equal settings.
type SettingsText string

// Bounds of settings.
const (
	MaxSettings = 32 << 10 // bytes of a SettingsText
	MaxTags     = 20
	MaxTag      = 64      // bytes
	MaxMetadata = 4 << 10 // bytes, in ASCII as [Settings.MetadataText] has it
)

var tagPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/=@-]*$`)

// sections are the members of settings by their names.
func (s *Settings) sections() map[string]any {
	return map[string]any{"tags": &s.Tags, "metadata": &s.Metadata}
}

// Parse reads the text. It returns an [ErrInvalid] for each member that cannot be
// read, which names it; that the values can be accepted it does not check.
func (t SettingsText) Parse() (s Settings, err error) {
	if t == "" {
		return s, nil
	}
	if len(t) > 2*MaxSettings { // what is written more widely than it will be stored
		return s, tooLong()
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(t), &members); err != nil {
		return s, invalidSetting("", "these must be a JSON object")
	}
	sections := s.sections()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(members)) {
		section, ok := sections[name]
		if !ok {
			errs = append(errs, invalidSetting(name, "there is no such setting; there are %s", strings.Join(slices.Sorted(maps.Keys(sections)), ", ")))
			continue
		}
		errs = append(errs, decodeSetting(name, members[name], section))
	}
	return s, errors.Join(errs...)
}

// HasTag reports whether tag is among the tags. Settings that cannot be read have
// none.
func (t SettingsText) HasTag(tag string) bool {
	if t == "" {
		return false
	}
	s, _ := t.Parse()
	return slices.Contains(s.Tags, tag)
}

// Text returns the settings as a row has them. Metadata must be JSON.
func (s Settings) Text() (SettingsText, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return "", invalidSetting("metadata", "this is not JSON")
	}
	if string(data) == "{}" {
		return "", nil
	}
	return SettingsText(data), nil
}

// MetadataText returns the metadata in ASCII, so that a header field can carry it.
func (s *Settings) MetadataText() string {
	var b strings.Builder
	for _, r := range string(s.Metadata) {
		switch {
		case r < 0x80:
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
	}
	return b.String()
}

// validateSettings brings the settings into the form in which equal ones are equal.
func (d *Domain) validateSettings() error {
	s, err := d.Settings.Parse()
	if err != nil {
		return err
	}
	if err := errors.Join(s.validateTags(), s.validateMetadata()); err != nil {
		return err
	}
	text, err := s.Text()
	if err != nil {
		return err
	}
	if len(text) > MaxSettings {
		return tooLong()
	}
	d.Settings = text
	return nil
}

func (s *Settings) validateTags() error {
	for i, tag := range s.Tags {
		if len(tag) > MaxTag || !tagPattern.MatchString(tag) {
			return invalidSetting("tags["+strconv.Itoa(i)+"]", "a tag has at most %d letters, digits and ._:/=@-, and begins with a letter or digit", MaxTag)
		}
	}
	slices.Sort(s.Tags)
	if s.Tags = slices.Compact(s.Tags); len(s.Tags) > MaxTags {
		return invalidSetting("tags", "there may be at most %d, not %d", MaxTags, len(s.Tags))
	}
	return nil
}

func (s *Settings) validateMetadata() error {
	if len(s.Metadata) == 0 || string(s.Metadata) == "null" {
		s.Metadata = nil
		return nil
	}
	var compact, stored bytes.Buffer
	if err := json.Compact(&compact, bytes.ToValidUTF8(s.Metadata, []byte("\ufffd"))); err != nil || compact.Bytes()[0] != '{' {
		return invalidSetting("metadata", "this must be a JSON object, such as {\"plan\":\"pro\"}")
	}
	json.HTMLEscape(&stored, compact.Bytes()) // as [json.Marshal] does
	if s.Metadata = stored.Bytes(); stored.Len() == len("{}") {
		s.Metadata = nil
	}
	if n := len(s.MetadataText()); n > MaxMetadata {
		return invalidSetting("metadata", "this has %d bytes, and may have %d", n, MaxMetadata)
	}
	return nil
}

// decodeSetting reads one member. Members of its own that it does not have are
// refused: what is misspelled would be without effect.
func decodeSetting(name string, data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if e.Field != "" {
			name += "." + e.Field
		}
		return invalidSetting(name, "a JSON %s is not what belongs here", e.Value)
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return invalidSetting(name+"."+strings.Trim(field, `"`), "there is no such member")
	}
	return invalidSetting(name, "this cannot be read")
}

func invalidSetting(name, format string, args ...any) error {
	return &Error{Code: CodeInvalid, Field: strings.TrimSuffix("settings."+name, "."), Message: fmt.Sprintf(format, args...)}
}

func tooLong() error {
	return invalidSetting("", "all together these may have %d bytes as JSON", MaxSettings)
}
