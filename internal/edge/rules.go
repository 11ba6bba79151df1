package edge

import (
	"cmp"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// rules are what a domain's settings have the edge do. They are shared by all
// domains with the same ones, and never changed.
type rules struct {
	text shingle.SettingsText // from which they were made

	// unknown says that it cannot be known what is to be done: nobody is served, as
	// somebody might have to be refused.
	unknown bool

	allow, deny []netip.Prefix
	rate        shingle.Rate // of each client; zero: any
	hsts        string       // value of Strict-Transport-Security; empty: the origin's own
	maintenance *notice
	errorPage   []byte // HTML; nil: the edge's own words
	redirect    *redirection
	routes      []route   // in the order in which they count
	security    *security // nil: as for all
	noHTTP3     bool
	fields      []byte // header lines for the origin
}

// route sends the paths below a prefix to another origin.
type route struct {
	prefix string
	to     *target
	strip  bool
}

// notice is an answer in place of the origin's.
type notice struct {
	html       []byte // nil: the edge's own words
	retryAfter string // seconds; empty: not told
}

// redirection sends all visitors of a domain elsewhere.
type redirection struct {
	host     string
	base     string // URL without a slash at its end
	status   int
	dropPath bool
}

// withheld stands for settings that are not in memory. It is no valid text.
const withheld = shingle.SettingsText("?")

// forEdge returns the part of a domain's settings that the edge acts on: domains
// that differ in the rest share their rules, or have none.
func forEdge(text shingle.SettingsText) shingle.SettingsText {
	if text == "" {
		return ""
	}
	s, err := text.Parse()
	switch {
	case len(text) > shingle.MaxSettings:
		return withheld // of a version that has more than this one can keep
	case err != nil:
		return text // which is refused when the rules are made
	}
	s.Tags, s.CloudflareID = nil, ""
	if !s.MetadataHeader {
		s.Metadata = nil
	}
	s.MetadataHeader = s.Metadata != nil
	if s.HTTP3 == shingle.HTTP3On {
		s.HTTP3 = ""
	}
	if m := s.Maintenance; m != nil && !m.On {
		s.Maintenance = nil
	}
	part, err := s.Text()
	if err != nil {
		return text
	}
	return part
}

// newRules makes rules. Settings that cannot be read are of a newer version of
// Shingle, and may be there for security.
func newRules(text shingle.SettingsText, publicPort int) *rules {
	u := &rules{text: text}
	s, err := text.Parse()
	if err != nil {
		u.unknown = true
		return u
	}
	if s.MetadataHeader {
		u.fields = appendField(u.fields, "User-Custom-Metadata", s.MetadataText())
	}
	if s.HSTS != nil {
		u.hsts = hstsValue(s.HSTS)
	}
	if s.Access != nil {
		var ok [2]bool
		u.allow, ok[0] = networks(s.Access.Allow)
		u.deny, ok[1] = networks(s.Access.Deny)
		u.unknown = !ok[0] || !ok[1]
	}
	if s.RateLimit != nil {
		u.rate = s.RateLimit.Rate()
	}
	if m := s.Maintenance; m != nil && m.On {
		u.maintenance = &notice{html: pageOf(m.Page)}
		if m.RetryAfter > 0 {
			u.maintenance.retryAfter = strconv.Itoa(m.RetryAfter)
		}
	}
	u.errorPage = pageOf(s.ErrorPage)
	if s.Redirect != nil {
		u.redirect = newRedirection(s.Redirect, publicPort)
	}
	var ok [2]bool
	u.routes, ok[0] = newRoutes(s.Routes, publicPort)
	u.security, ok[1] = newSecurity(s.TLS)
	u.noHTTP3 = s.HTTP3 != "" && s.HTTP3 != shingle.HTTP3On // off is safe for what cannot be read
	u.unknown = u.unknown || !ok[0] || !ok[1]
	return u
}

// newRoutes reports false when an origin cannot be read.
func newRoutes(list []shingle.Route, publicPort int) ([]route, bool) {
	var routes []route
	for _, r := range list {
		o, err := shingle.ParseOrigin(r.Origin)
		if err != nil {
			return nil, false
		}
		routes = append(routes, route{prefix: r.Prefix, to: newTarget(o, publicPort), strip: r.Strip})
	}
	return routes, true
}

// route returns where a target is routed to, nil when it is not. Paths are compared
// as they were sent: what a prefix means is for its origin to say.
func (u *rules) route(target string) *route {
	for i := range u.routes {
		r := &u.routes[i]
		if rest, ok := strings.CutPrefix(target, r.prefix); ok && (rest == "" || rest[0] == '/' || rest[0] == '?') {
			return r
		}
	}
	return nil
}

func pageOf(html string) []byte {
	if html == "" {
		return nil
	}
	return []byte(html)
}

func hstsValue(h *shingle.HSTS) string {
	value := "max-age=" + strconv.Itoa(h.MaxAge)
	if h.IncludeSubdomains {
		value += "; includeSubDomains"
	}
	if h.Preload {
		value += "; preload"
	}
	return value
}

// networks reports false when a list cannot be read as a whole.
func networks(list []string) ([]netip.Prefix, bool) {
	var out []netip.Prefix
	for _, text := range list {
		p, err := shingle.ParseNetwork(text)
		if err != nil {
			return nil, false
		}
		out = append(out, p)
	}
	return out, true
}

func newRedirection(r *shingle.Redirect, publicPort int) *redirection {
	to := &redirection{host: r.To, base: r.To, status: cmp.Or(r.Status, 308), dropPath: r.DropPath}
	if !strings.Contains(r.To, "://") {
		to.base = httpsURL(r.To, publicPort, "")
		return to
	}
	if u, err := url.Parse(r.To); err == nil {
		to.host = u.Hostname()
	}
	return to
}

// location returns where a visitor of a target is sent.
func (r *redirection) location(target string) string {
	if r.dropPath || target == "*" {
		return r.base + "/"
	}
	return r.base + target
}

// admits reports whether a client may be served.
func (u *rules) admits(client netip.Addr) bool {
	client = client.Unmap().WithZone("")
	holds := func(p netip.Prefix) bool { return p.Contains(client) }
	if slices.ContainsFunc(u.deny, holds) {
		return false
	}
	return len(u.allow) == 0 || slices.ContainsFunc(u.allow, holds)
}
