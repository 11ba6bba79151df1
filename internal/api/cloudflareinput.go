package api

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// cfChange is what the body of a create or an edit asks for. What is nil stays.
type cfChange struct {
	hostname string
	metadata *string // JSON; empty ends it
	origin   *string
	sni      string
	minTLS   *string
	http3    string // on or off; empty: it stays
	ssl      bool   // there is a member ssl: attempts that were given up are begun again
	txt      bool   // validation by DNS is asked for
	wildcard bool   // the names below the hostname are asked for
	// authority is the CA, by Cloudflare's name of it; empty: any.
	authority  string
	chain, key string // PEM, of a certificate to upload; empty: none
}

// cfMember takes in a member of a body, or refuses it. at is its JSON pointer.
type cfMember func(c *cfChange, at string, value json.RawMessage) error

// cfMembers are the members of a body, and what becomes of each.
var cfMembers = map[string]cfMember{
	"hostname":             cfString(cfBadHostname, func(c *cfChange, s string) { c.hostname = s }),
	"custom_metadata":      cfMetadata,
	"custom_origin_server": cfString(cfBadOrigin, func(c *cfChange, s string) { c.origin = &s }),
	"custom_origin_sni":    cfString(cfBadOrigin, func(c *cfChange, s string) { c.sni = s }),
	"ssl":                  cfSSLMember,

	// What is sent back as it was received changes nothing.
	"id": cfReadOnly, "status": cfReadOnly, "verification_errors": cfReadOnly, "created_at": cfReadOnly,
	"ownership_verification": cfReadOnly, "ownership_verification_http": cfReadOnly,
}

var cfSSLMembers = map[string]cfMember{
	"method": cfMethod,
	"type":   cfOneOf(cfBadType, "", "dv"),
	"settings": func(c *cfChange, at string, value json.RawMessage) error {
		return cfObject(c, at, value, cfSettingMembers, cfBadSSL)
	},
	"wildcard":              cfBool(func(c *cfChange, b bool) { c.wildcard = b }),
	"bundle_method":         cfOneOf(cfBadBundle, "a chain is served as it was uploaded", "ubiquitous", "-optimal", "-force"),
	"certificate_authority": cfString(cfBadSSL, func(c *cfChange, s string) { c.authority = s }),
	"cloudflare_branding":   cfFalse("there are no such names"),
	"custom_certificate":    cfString(cfBadChain, func(c *cfChange, s string) { c.chain = s }),
	"custom_key":            cfString(cfBadKey, func(c *cfChange, s string) { c.key = s }),
	"custom_cert_bundle":    cfBundle,
	"custom_csr_id":         cfEmpty("a key is made for each certificate here; upload custom_certificate and custom_key"),

	"id": cfReadOnly, "status": cfReadOnly, "hosts": cfReadOnly, "issuer": cfReadOnly, "serial_number": cfReadOnly, "signature": cfReadOnly,
	"uploaded_on": cfReadOnly, "expires_on": cfReadOnly, "certificates": cfReadOnly, "validation_errors": cfReadOnly, "validation_records": cfReadOnly,
	"dcv_delegation_records": cfReadOnly, "txt_name": cfReadOnly, "txt_value": cfReadOnly, "http_url": cfReadOnly, "http_body": cfReadOnly,
	"cname": cfReadOnly, "cname_target": cfReadOnly, "emails": cfReadOnly,
}

var cfSettingMembers = map[string]cfMember{
	"http2":           cfOneOf(cfBadHTTP2, "HTTP/2 is always on", "on", "-off"),
	"http3":           cfHTTP3,
	"tls_1_3":         cfOneOf(cfBadTLS13, "TLS 1.3 is always on", "on", "-off"),
	"tls_1_2_only":    cfOneOf(cfBadSSL, "set min_tls_version", "off", "-on"),
	"early_hints":     cfOneOf(cfBadSSL, "no 103 is made here; one of your own is passed on", "off", "-on"),
	"ciphers":         cfEmpty("the ciphers are the same for all hostnames"),
	"min_tls_version": cfMinTLS,
}

// cfBody reads the body of a create or an edit.
func cfBody(r *http.Request) (*cfChange, error) {
	if err := cfNoQuery(r); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r.Body) // readBody has the bound
	if err != nil {
		return nil, err
	}
	c := &cfChange{}
	return c, cfObject(c, "", data, cfMembers, cfUnreadable)
}

// cfObject takes in the members of an object, all faults of which are told at once.
func cfObject(c *cfChange, at string, data json.RawMessage, members map[string]cfMember, code int) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil || object == nil {
		if at == "" {
			return cfRefuse(cfUnreadable, at, "Unable to decode the JSON request body. It must be a JSON object")
		}
		return cfRefuse(code, at, "%s must be a JSON object", strings.TrimPrefix(at, "/"))
	}
	all := &cfFault{status: http.StatusBadRequest}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		take, ok := members[name]
		if !ok {
			take = cfNoMember
			name = safeName(name)
		}
		err := take(c, at+"/"+name, object[name])
		if f, ok := errors.AsType[*cfFault](err); ok && len(all.errors) < maxErrors {
			all.errors = append(all.errors, f.errors...)
		}
	}
	if all.errors == nil {
		return nil
	}
	return all
}

// safeName returns a name that is not one of ours, unless it could be a secret.
func safeName(name string) string {
	if len(name) > maxLocation || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }) {
		return "(a name that is none)"
	}
	return name
}

func cfNoMember(_ *cfChange, at string, _ json.RawMessage) error {
	return cfUnsupportedAt(at, "there is no such member here")
}

func cfReadOnly(*cfChange, string, json.RawMessage) error { return nil }

// cfString takes a string; null is the empty one.
func cfString(code int, set func(c *cfChange, s string)) cfMember {
	return func(c *cfChange, at string, value json.RawMessage) error {
		var s string
		if err := json.Unmarshal(value, &s); err != nil {
			return cfRefuse(code, at, "%s must be a string", strings.TrimPrefix(at, "/"))
		}
		set(c, s)
		return nil
	}
}

// cfOneOf takes one of some words, or none. What begins with "-" is Cloudflare's and
// not ours, for the reason why.
func cfOneOf(code int, why string, words ...string) cfMember {
	return func(_ *cfChange, at string, value json.RawMessage) error {
		var s string
		if err := json.Unmarshal(value, &s); err != nil || s != "" && !slices.Contains(words, s) && !slices.Contains(words, "-"+s) {
			return cfRefuse(code, at, "%s must be one of %s", strings.TrimPrefix(at, "/"), strings.ReplaceAll(strings.Join(words, ", "), "-", ""))
		}
		if slices.Contains(words, "-"+s) {
			return cfUnsupportedAt(at, "%q is not supported: %s", s, why)
		}
		return nil
	}
}

// cfEmpty takes nothing: null, "", [] or {}.
func cfEmpty(why string) cfMember {
	return func(_ *cfChange, at string, value json.RawMessage) error {
		switch string(value) {
		case "null", `""`, "[]", "{}":
			return nil
		}
		return cfUnsupportedAt(at, "it is not supported: %s", why)
	}
}

func cfFalse(why string) cfMember {
	return func(_ *cfChange, at string, value json.RawMessage) error {
		if v := string(value); v != "false" && v != "null" {
			return cfUnsupportedAt(at, "only false is supported: %s", why)
		}
		return nil
	}
}

func cfMetadata(c *cfChange, at string, value json.RawMessage) error {
	text := string(value)
	if text == "null" || text == "{}" {
		text = ""
	} else if !strings.HasPrefix(text, "{") {
		return cfRefuse(cfBadMetadata, at, "custom_metadata must be a JSON object")
	}
	c.metadata = &text
	return nil
}

func cfSSLMember(c *cfChange, at string, value json.RawMessage) error {
	if string(value) == "null" {
		return cfUnsupportedAt(at, "null is not supported: every hostname has a certificate here")
	}
	c.ssl = true
	if err := cfObject(c, at, value, cfSSLMembers, cfBadSSL); err != nil {
		return err
	}
	switch {
	case c.chain != "" && c.key == "":
		return cfRefuse(cfBadKey, at+"/custom_key", "ssl.custom_key is missing: a certificate is uploaded with its key")
	case c.key != "" && c.chain == "":
		return cfRefuse(cfBadChain, at+"/custom_certificate", "ssl.custom_certificate is missing: a key is uploaded with its certificate")
	}
	return nil
}

// cfMethod takes how the CA is to validate. By mail is none of ours; by a TXT record
// means before the hostname leads here, which takes the delegation of DNS-01.
func cfMethod(c *cfChange, at string, value json.RawMessage) error {
	var s string
	err := json.Unmarshal(value, &s)
	switch {
	case err == nil && (s == "http" || s == ""):
	case err == nil && s == "txt":
		c.txt = true
	case err == nil && (s == "email" || s == "cname"):
		return cfUnsupportedAt(at, "%q is not supported: take http", s)
	default:
		return cfRefuse(cfBadMethod, at, "The validation method is not supported. ssl.method must be http or txt")
	}
	return nil
}

func cfBool(set func(c *cfChange, b bool)) cfMember {
	return func(c *cfChange, at string, value json.RawMessage) error {
		var b bool
		if err := json.Unmarshal(value, &b); err != nil {
			return cfRefuse(cfBadSSL, at, "%s must be true or false", strings.TrimPrefix(at, "/"))
		}
		set(c, b)
		return nil
	}
}

func cfHTTP3(c *cfChange, at string, value json.RawMessage) error {
	if err := cfOneOf(cfBadSSL, "", shingle.HTTP3On, shingle.HTTP3Off)(c, at, value); err != nil {
		return err
	}
	return json.Unmarshal(value, &c.http3)
}

func cfMinTLS(c *cfChange, at string, value json.RawMessage) error {
	var s string
	err := json.Unmarshal(value, &s)
	switch {
	case err == nil && s == "":
	case err == nil && (s == "1.2" || s == "1.3"):
		c.minTLS = &s
	case err == nil && (s == "1.0" || s == "1.1"):
		return cfUnsupportedAt(at, "%q is not supported: 1.2 is the least", s)
	default:
		return cfRefuse(cfBadMinTLS, at, "Invalid min_tls_version setting. It must be 1.2 or 1.3")
	}
	return nil
}

// cfBundle takes one certificate and its key.
func cfBundle(c *cfChange, at string, value json.RawMessage) error {
	var pairs []struct {
		Chain string `json:"custom_certificate"`
		Key   string `json:"custom_key"`
	}
	switch err := json.Unmarshal(value, &pairs); {
	case err != nil:
		return cfRefuse(cfBadSSL, at, "ssl.custom_cert_bundle must be a list of certificates with their keys")
	case len(pairs) > 1:
		return cfUnsupportedAt(at, "only one is supported: a hostname has one certificate here")
	case len(pairs) == 1:
		c.chain, c.key = pairs[0].Chain, pairs[0].Key
	}
	return nil
}

// apply changes a row.
func (c *cfChange) apply(d *shingle.Domain) error {
	if c.origin != nil {
		d.Origin = *c.origin
	}
	set, err := d.Settings.Parse()
	if err != nil {
		return err
	}
	if c.metadata != nil {
		set.Metadata = json.RawMessage(*c.metadata)
	}
	if c.minTLS != nil {
		tls := shingle.TLS{}
		if set.TLS != nil {
			tls = *set.TLS
		}
		tls.MinVersion = *c.minTLS
		set.TLS = &tls
	}
	if c.http3 != "" {
		set.HTTP3 = c.http3
	}
	d.Settings, err = set.Text()
	return err
}

// fits refuses what a row cannot be: d has been validated.
func (c *cfChange) fits(d *shingle.Domain) error {
	if c.wildcard && !shingle.IsWildcard(d.Host) {
		return cfUnsupportedAt("/ssl/wildcard", "true is not supported: create *.%s as a custom hostname of its own", d.Host)
	}
	if c.sni == "" {
		return nil
	}
	if o, err := shingle.ParseOrigin(d.Origin); d.Origin == "" || err != nil || !strings.EqualFold(o.Host, c.sni) {
		return cfUnsupportedAt("/custom_origin_sni", "it is always the host of custom_origin_server")
	}
	return nil
}

// cfNoQuery refuses parameters where there are none.
func cfNoQuery(r *http.Request) error {
	for name := range r.URL.Query() {
		return cfUnsupportedAt("?"+safeName(name), "there is no such parameter here")
	}
	return nil
}
