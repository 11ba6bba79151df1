package shingle

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Settings are what a domain has besides the fields of [Domain]: what the operator
// notes about it, and what the edge does for it.
type Settings struct {
	Tags     []string        `json:"tags,omitempty" nullable:"false" doc:"Words to find domains by: at most 20, of at most 64 letters, digits and ._:/=@-" example:"[\"eu\",\"plan:pro\"]"`
	Metadata json.RawMessage `json:"metadata,omitempty" doc:"A JSON object of yours, of at most 4096 bytes"`
	// MetadataHeader has the edge send the metadata to the origin.
	MetadataHeader bool `json:"metadata_header,omitempty" doc:"Send the metadata to the origin, in User-Custom-Metadata"`

	Redirect    *Redirect    `json:"redirect,omitempty"`
	Routes      []Route      `json:"routes,omitempty" nullable:"false" doc:"Other origins for parts of the site: at most 32. The longest prefix counts"`
	TLS         *TLS         `json:"tls,omitempty"`
	HTTP3       string       `json:"http3,omitempty" enum:"on,off" doc:"Whether visitors may come by HTTP/3; on where none is given, if the edge speaks it"`
	HSTS        *HSTS        `json:"hsts,omitempty"`
	RateLimit   *RateLimit   `json:"rate_limit,omitempty"`
	Access      *Access      `json:"access,omitempty"`
	Maintenance *Maintenance `json:"maintenance,omitempty"`
	ErrorPage   string       `json:"error_page,omitempty" doc:"HTML in place of the edge's own words when the origin does not answer, of at most 8192 bytes"`
	// CloudflareID is for the API's routes of Cloudflare's, and means nothing elsewhere.
	CloudflareID string `json:"cloudflare_id,omitempty" doc:"The ID by which the routes below /client/v4 know the domain; its host where there is none" example:"0d89c70d-ad9f-4843-b99f-6cc0252067e9"`
}

// Values of Settings.HTTP3.
const (
	HTTP3On  = "on"
	HTTP3Off = "off"
)

// Redirect sends visitors elsewhere.
type Redirect struct {
	To       string `json:"to" doc:"Where to: a host that is served here too, or a URL without a query" example:"www.customer.com"`
	Status   int    `json:"status,omitempty" enum:"301,302,307,308" doc:"308 where none is given"`
	DropPath bool   `json:"drop_path,omitempty" doc:"Send all to the same page, not each to its own path and query below it"`
}

// Route sends the paths below a prefix to another origin.
type Route struct {
	Prefix string `json:"prefix" doc:"A path without a slash at its end: /blog stands for itself and all below it, and not for /blogs" example:"/blog"`
	Origin string `json:"origin" doc:"As the domain's origin" example:"https://blog.app.example.com"`
	Strip  bool   `json:"strip,omitempty" doc:"Ask the origin without the prefix, which X-Forwarded-Prefix then tells"`
}

// TLS is what a visitor's connection must be like.
type TLS struct {
	MinVersion string `json:"min_version,omitempty" enum:"1.2,1.3" doc:"1.2 where none is given"`
	// ClientCA has every visitor show a certificate.
	ClientCA string `json:"client_ca,omitempty" doc:"Certificates of CAs in PEM, of at most 8192 bytes: only visitors with a client certificate of theirs are served"`
}

// HSTS is the Strict-Transport-Security field of all answers over HTTPS (RFC 6797).
// It takes the place of the origin's own.
type HSTS struct {
	MaxAge            int  `json:"max_age" minimum:"0" maximum:"315360000" doc:"Seconds for which browsers use HTTPS alone; 0 has them forget it"`
	IncludeSubdomains bool `json:"include_subdomains,omitempty" doc:"For all names below this one too, also those that are not served here"`
	Preload           bool `json:"preload,omitempty" doc:"The owner agrees to the browsers' built-in lists. Takes include_subdomains and a max_age of a year"`
}

// RateLimit bounds the requests of each client, an IPv4 address or an IPv6 /64, at
// each edge.
type RateLimit struct {
	Requests int `json:"requests" minimum:"1" maximum:"1000000" doc:"How many each client may make in the long run, in that many seconds"`
	Seconds  int `json:"seconds" minimum:"1" maximum:"3600"`
	Burst    int `json:"burst,omitempty" minimum:"1" maximum:"1000000" doc:"How many may be saved up, to be made at once; as many as requests where none is given"`
}

// Rate returns what the limit allows.
func (r *RateLimit) Rate() Rate {
	return Rate{Burst: cmp.Or(r.Burst, r.Requests), Every: time.Duration(r.Seconds) * time.Second / time.Duration(r.Requests)}
}

// Access says who is served, by the address of the connection.
type Access struct {
	Allow []string `json:"allow,omitempty" nullable:"false" doc:"Only these addresses and networks: at most 256, such as 203.0.113.0/24" example:"[\"203.0.113.0/24\",\"2001:db8::/32\"]"`
	Deny  []string `json:"deny,omitempty" nullable:"false" doc:"None of these, even if allowed: at most 256"`
}

// Maintenance answers in place of the origin while it is on.
type Maintenance struct {
	On         bool   `json:"on,omitempty" doc:"Answer 503 with this page"`
	Page       string `json:"page,omitempty" doc:"HTML of at most 8192 bytes; without it the edge has a sentence of its own"`
	RetryAfter int    `json:"retry_after,omitempty" minimum:"0" maximum:"604800" doc:"Seconds after which clients may come again; 0: they are not told"`
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
	MaxPage     = 8 << 10 // bytes of HTML
	MaxNetworks = 256     // in one list
	MaxRoutes   = 32
	MaxPrefix   = 256     // bytes of a route's
	MaxClientCA = 8 << 10 // bytes of PEM
)

// sections are the members of settings by their names.
func (s *Settings) sections() map[string]any {
	return map[string]any{
		"tags": &s.Tags, "metadata": &s.Metadata, "metadata_header": &s.MetadataHeader,
		"redirect": &s.Redirect, "routes": &s.Routes, "tls": &s.TLS, "http3": &s.HTTP3, "hsts": &s.HSTS, "rate_limit": &s.RateLimit, "access": &s.Access, "maintenance": &s.Maintenance, "error_page": &s.ErrorPage,
		"cloudflare_id": &s.CloudflareID,
	}
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

// CloudflareID returns that of the settings, which are as a row has them; empty when
// there is none.
func (t SettingsText) CloudflareID() string {
	if !strings.Contains(string(t), `"cloudflare_id"`) {
		return ""
	}
	s, _ := t.Parse()
	return s.CloudflareID
}

// WithCloudflareID returns the settings with another one.
func (t SettingsText) WithCloudflareID(id string) (SettingsText, error) {
	s, err := t.Parse()
	if err != nil {
		return t, err
	}
	s.CloudflareID = id
	return s.Text()
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
