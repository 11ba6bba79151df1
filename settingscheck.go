package shingle

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// prefixPattern is a path (RFC 3986 section 3.3) that is not the root alone.
var prefixPattern = regexp.MustCompile(`^(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+$`)

var tagPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/=@-]*$`)

// validateSettings brings the settings into the form in which equal ones are equal.
func (d *Domain) validateSettings() error {
	s, err := d.Settings.Parse()
	if err != nil {
		return err
	}
	if err := s.validate(d); err != nil {
		return err
	}
	s.drop()
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

func (s *Settings) validate(d *Domain) error {
	return errors.Join(
		s.validateTags(), s.validateMetadata(), s.Redirect.validate(d), s.validateRoutes(), s.TLS.validate(), s.HSTS.validate(), s.RateLimit.validate(), s.Access.validate(), s.Maintenance.validate(),
		validatePage("error_page", s.ErrorPage), s.validateCloudflareID(), s.validateHTTP3(),
	)
}

var cloudflareIDPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{7,63}$`)

// IsCloudflareID reports whether s can be [Settings.CloudflareID]. A host cannot.
func IsCloudflareID(s string) bool { return cloudflareIDPattern.MatchString(s) }

func (s *Settings) validateCloudflareID() error {
	if s.CloudflareID != "" && !IsCloudflareID(s.CloudflareID) {
		return invalidSetting("cloudflare_id", "an ID has 8 to 64 letters, digits and hyphens, and begins with a letter or digit")
	}
	return nil
}

// drop ends the sections that say nothing.
func (s *Settings) drop() {
	if s.Access != nil && len(s.Access.Allow)+len(s.Access.Deny) == 0 {
		s.Access = nil
	}
	if s.Maintenance != nil && *s.Maintenance == (Maintenance{}) {
		s.Maintenance = nil
	}
	if s.TLS != nil && *s.TLS == (TLS{}) {
		s.TLS = nil
	}
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

func (s *Settings) validateHTTP3() error {
	if s.HTTP3 != "" && s.HTTP3 != HTTP3On && s.HTTP3 != HTTP3Off {
		return invalidSetting("http3", "it must be %s or %s, not %q", HTTP3On, HTTP3Off, s.HTTP3)
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

// validate brings the place that visitors are sent to into one form.
func (r *Redirect) validate(d *Domain) error {
	if r == nil {
		return nil
	}
	var errs []error
	if d.Redirect != "" {
		errs = append(errs, invalidSetting("redirect", "the domain's redirect is set too: use one of them"))
	}
	if !slices.Contains([]int{0, 301, 302, 307, 308}, r.Status) {
		errs = append(errs, invalidSetting("redirect.status", "this must be 301, 302, 307 or 308"))
	}
	to, host, err := redirectTarget(r.To)
	switch {
	case err != nil:
		errs = append(errs, invalidSetting("redirect.to", "%s", MessageOf(err)))
	case host == d.Host:
		errs = append(errs, invalidSetting("redirect.to", "a domain cannot redirect to itself"))
	}
	r.To = to
	return errors.Join(errs...)
}

// redirectTarget returns a host, or a URL without a slash at its end, and its host.
func redirectTarget(to string) (text, host string, err error) {
	if !strings.Contains(to, "://") {
		host, err = NormalizeHost(to)
		return host, host, err
	}
	u, err := url.Parse(to)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || len(to) > MaxOrigin {
		return to, "", Errorf(CodeInvalid, "this must be a host, or a URL like https://www.example.com/shop, without a query and of at most %d bytes", MaxOrigin)
	}
	if host, err = NormalizeHost(u.Hostname()); err != nil {
		return to, "", err
	}
	port, err := strconv.Atoi(cmp.Or(u.Port(), "0"))
	if err != nil || port > 65535 {
		return to, "", Errorf(CodeInvalid, "the port must be 1 to 65535")
	}
	text = u.Scheme + "://" + host
	if port != 0 {
		text += ":" + strconv.Itoa(port)
	}
	return text + strings.TrimRight(u.EscapedPath(), "/"), host, nil
}

// validateRoutes puts the routes into the order in which they count.
func (s *Settings) validateRoutes() error {
	if len(s.Routes) > MaxRoutes {
		return invalidSetting("routes", "there may be at most %d, not %d", MaxRoutes, len(s.Routes))
	}
	var errs []error
	seen := map[string]bool{}
	for i := range s.Routes {
		r, name := &s.Routes[i], "routes["+strconv.Itoa(i)+"]"
		r.Prefix = strings.TrimRight(r.Prefix, "/")
		switch {
		case !prefixPattern.MatchString(r.Prefix) || len(r.Prefix) > MaxPrefix:
			errs = append(errs, invalidSetting(name+".prefix", "this must be a path like /blog, as URLs have it, of at most %d bytes; the domain's origin is for all others", MaxPrefix))
		case seen[r.Prefix]:
			errs = append(errs, invalidSetting(name+".prefix", "%s is there twice", r.Prefix))
		}
		seen[r.Prefix] = true
		o, err := ParseOrigin(r.Origin)
		if err != nil {
			errs = append(errs, invalidSetting(name+".origin", "%s", MessageOf(err)))
			continue
		}
		r.Origin = o.String()
	}
	slices.SortFunc(s.Routes, func(a, b Route) int {
		return cmp.Or(cmp.Compare(len(b.Prefix), len(a.Prefix)), cmp.Compare(a.Prefix, b.Prefix))
	})
	return errors.Join(errs...)
}

// validate brings the PEM into one form.
func (t *TLS) validate() error {
	if t == nil {
		return nil
	}
	var errs []error
	if !slices.Contains([]string{"", "1.2", "1.3"}, t.MinVersion) {
		errs = append(errs, invalidSetting("tls.min_version", "this must be 1.2 or 1.3"))
	}
	if t.ClientCA != "" {
		cas, err := ParseClientCAs(t.ClientCA)
		if err != nil {
			errs = append(errs, invalidSetting("tls.client_ca", "%s", MessageOf(err)))
		}
		var text []byte
		for _, ca := range cas {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})...)
		}
		t.ClientCA = string(text)
	}
	return errors.Join(errs...)
}

// ParseClientCAs reads certificates of CAs in PEM, one at least.
func ParseClientCAs(text string) ([]*x509.Certificate, error) {
	if len(text) > MaxClientCA {
		return nil, Errorf(CodeInvalid, "this has %d bytes, and may have %d", len(text), MaxClientCA)
	}
	var cas []*x509.Certificate
	for rest := []byte(text); len(bytes.TrimSpace(rest)) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, Errorf(CodeInvalid, "this must be PEM with certificates of CAs, and nothing else: never a private key")
		}
		ca, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, Errorf(CodeInvalid, "certificate %d cannot be read", len(cas)+1)
		}
		if !ca.BasicConstraintsValid || !ca.IsCA {
			return nil, Errorf(CodeInvalid, "certificate %d, %q, is not that of a CA", len(cas)+1, ca.Subject.String())
		}
		cas = append(cas, ca)
	}
	if len(cas) == 0 {
		return nil, Errorf(CodeInvalid, "there is no certificate in this")
	}
	return cas, nil
}

func (h *HSTS) validate() error {
	const year = 365 * 24 * 60 * 60
	switch {
	case h == nil:
	case h.MaxAge < 0 || h.MaxAge > 10*year:
		return invalidSetting("hsts.max_age", "this must be 0 to %d seconds", 10*year)
	case h.Preload && (!h.IncludeSubdomains || h.MaxAge < year):
		return invalidSetting("hsts.preload", "browsers' lists take only include_subdomains with a max_age of %d or more", year)
	}
	return nil
}

func (r *RateLimit) validate() error {
	const most, longest = 1_000_000, 3600
	if r == nil {
		return nil
	}
	var errs []error
	if r.Requests < 1 || r.Requests > most {
		errs = append(errs, invalidSetting("rate_limit.requests", "this must be 1 to %d", most))
	}
	if r.Seconds < 1 || r.Seconds > longest {
		errs = append(errs, invalidSetting("rate_limit.seconds", "this must be 1 to %d", longest))
	}
	if r.Burst < 0 || r.Burst > most {
		errs = append(errs, invalidSetting("rate_limit.burst", "this must be 1 to %d", most))
	}
	return errors.Join(errs...)
}

func (a *Access) validate() error {
	if a == nil {
		return nil
	}
	return errors.Join(validateNetworks("access.allow", &a.Allow), validateNetworks("access.deny", &a.Deny))
}

// validateNetworks brings a list of addresses and networks into order.
func validateNetworks(name string, list *[]string) error {
	if len(*list) > MaxNetworks {
		return invalidSetting(name, "there may be at most %d, not %d", MaxNetworks, len(*list))
	}
	var errs []error
	for i, text := range *list {
		p, err := ParseNetwork(text)
		if err != nil {
			errs = append(errs, invalidSetting(name+"["+strconv.Itoa(i)+"]", "%s", MessageOf(err)))
			continue
		}
		(*list)[i] = p.String()
	}
	slices.Sort(*list)
	*list = slices.Compact(*list)
	return errors.Join(errs...)
}

// ParseNetwork reads an address or a network in CIDR notation. IPv4 in IPv6 becomes
// IPv4. A network with bits behind its length is refused: one of the two is wrong.
func ParseNetwork(text string) (netip.Prefix, error) {
	a, err := netip.ParseAddr(text)
	p := netip.PrefixFrom(a, a.BitLen())
	if err != nil {
		p, err = netip.ParsePrefix(text)
	}
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, Errorf(CodeInvalid, "%q is neither an address nor a network such as 203.0.113.0/24", text)
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, Errorf(CodeInvalid, "%q has more in it than IPv4: write ::/0 or 0.0.0.0/0", text)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p != p.Masked() {
		return netip.Prefix{}, Errorf(CodeInvalid, "%q has bits behind its length: the network is %s", text, p.Masked())
	}
	return p, nil
}

func (m *Maintenance) validate() error {
	if m == nil {
		return nil
	}
	err := validatePage("maintenance.page", m.Page)
	if m.RetryAfter < 0 || m.RetryAfter > 7*24*60*60 {
		err = errors.Join(err, invalidSetting("maintenance.retry_after", "this must be 0 to %d seconds", 7*24*60*60))
	}
	return err
}

func validatePage(name, html string) error {
	if len(html) > MaxPage {
		return invalidSetting(name, "this has %d bytes, and may have %d", len(html), MaxPage)
	}
	return nil
}
