package shingle

import (
	"context"
	"errors"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Domain is one customer's host name, or wildcard, and what the operator decided
// about it. Its existence is the permission to serve it and to obtain a
// certificate. A domain overrules, for its own host, the wildcard that covers it.
type Domain struct {
	Host     string       // as [NormalizeDomain] returns it, so perhaps a wildcard; the key
	Tenant   string       // the operator's name for the customer; may be empty
	Origin   string       // where requests go instead of the edge's target, as [ParseOrigin] takes it; empty: the target
	Redirect string       // a host that every request for another is sent to with 308, path and query kept; empty: none
	Paused   bool         // known, but neither served nor issued for
	Settings SettingsText // all else that is set for it; empty: nothing

	// SetupGeneration is that of the links to the domain's set-up page: one of an earlier
	// generation has ended. It goes up, never down: when somebody ends the links, and
	// with each new tenant, whoever had the domain before.
	SetupGeneration int64

	// Version counts the writes of this row, from 1. A caller sends back the
	// version that it read.
	Version   int64
	CreatedAt time.Time // UTC, whole microseconds, like every time that is stored
	UpdatedAt time.Time
	UpdatedBy string // the name of the token that wrote it last; empty: Shingle itself
}

// Bounds of the free-text fields, in bytes.
const (
	MaxTenant = 128
	MaxOrigin = 512
)

var tenantPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@-]*$`)

const tenantRule = "a tenant has at most 128 letters, digits and ._:@-, and begins with a letter or digit"

// IsTenant reports whether s can be the name of a tenant.
func IsTenant(s string) bool { return len(s) <= MaxTenant && tenantPattern.MatchString(s) }

// Validate normalises the fields that a user wrote, in place. It returns an
// [ErrInvalid] for each that cannot be accepted, which names the field, joined.
func (d *Domain) Validate() error {
	host, err := NormalizeDomain(d.Host)
	if err == nil {
		d.Host = host
	}
	return errors.Join(err, d.validateTenant(), d.validateOrigin(), d.validateRedirect(), d.validateSettings())
}

// Replacing returns the row that an update to d leaves in the place of old, or
// [ErrConflict] when d is not made of that version. It is for stores, all of which
// thus agree on what a writer decides, and what not.
func (d Domain) Replacing(old Domain, now time.Time) (Domain, error) {
	if d.Version != old.Version {
		return Domain{}, ErrConflict
	}
	d.Version++
	d.CreatedAt, d.UpdatedAt = old.CreatedAt, now.UTC().Truncate(time.Microsecond)
	d.SetupGeneration = max(d.SetupGeneration, old.SetupGeneration)
	if d.Tenant != old.Tenant {
		d.SetupGeneration = old.SetupGeneration + 1
	}
	return d, nil
}

func (d *Domain) validateTenant() error {
	if d.Tenant != "" && !IsTenant(d.Tenant) {
		return &Error{Code: CodeInvalid, Field: "tenant", Message: tenantRule}
	}
	return nil
}

func (d *Domain) validateOrigin() error {
	if d.Origin == "" {
		return nil
	}
	o, err := ParseOrigin(d.Origin)
	if err != nil {
		return withField(err, "origin")
	}
	d.Origin = o.String()
	return nil
}

func (d *Domain) validateRedirect() error {
	if d.Redirect == "" {
		return nil
	}
	to, err := NormalizeHost(d.Redirect)
	if err != nil {
		return withField(err, "redirect")
	}
	if d.Redirect = to; to == d.Host {
		return &Error{Code: CodeInvalid, Field: "redirect", Message: "a domain cannot redirect to itself"}
	}
	return nil
}

func withField(err error, field string) error {
	return &Error{Code: CodeOf(err), Field: field, Message: MessageOf(err)}
}

// Origin is where the edge sends requests: the product behind the custom domains.
type Origin struct {
	TLS  bool   // https, verified against Host; otherwise plain HTTP
	Host string // DNS name or IP address, without brackets
	Port int    // 1 to 65535
}

// ParseOrigin reads "app.example.com", "app.example.com:8443" or a URL with
// the scheme http or https and nothing after the authority. Without a scheme it
// is https. It returns [ErrInvalid] for anything else.
func ParseOrigin(s string) (Origin, error) {
	if s == "" || len(s) > MaxOrigin {
		return Origin{}, Errorf(CodeInvalid, "an origin is a host such as app.example.com, of at most %d bytes", MaxOrigin)
	}
	raw := s
	if !strings.Contains(s, "://") {
		raw = "https://" + s
	}
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return Origin{}, Errorf(CodeInvalid, "%q is not a host or a URL", s)
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return Origin{}, Errorf(CodeInvalid, "the scheme of %q must be https or http", s)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || (u.Path != "" && u.Path != "/") {
		return Origin{}, Errorf(CodeInvalid, "%q must end after the host and port", s)
	}
	o := Origin{TLS: u.Scheme == "https", Host: strings.ToLower(u.Hostname()), Port: 443}
	if !o.TLS {
		o.Port = 80
	}
	if p := u.Port(); p != "" {
		if o.Port, err = strconv.Atoi(p); err != nil || o.Port < 1 || o.Port > 65535 {
			return Origin{}, Errorf(CodeInvalid, "the port of %q must be 1 to 65535", s)
		}
	}
	if net.ParseIP(o.Host) == nil {
		if o.Host, err = asciiHost(o.Host); err != nil {
			return Origin{}, err
		}
	}
	return o, nil
}

// Addr returns the address to dial, "host:port".
func (o Origin) Addr() string { return net.JoinHostPort(o.Host, strconv.Itoa(o.Port)) }

// Authority returns the Host header's value: the port is left out when it is
// the scheme's own (RFC 9110 section 4.2.3).
func (o Origin) Authority() string {
	if (o.TLS && o.Port == 443) || (!o.TLS && o.Port == 80) {
		if strings.Contains(o.Host, ":") {
			return "[" + o.Host + "]"
		}
		return o.Host
	}
	return o.Addr()
}

// String returns the origin as a URL, which [ParseOrigin] reads back.
func (o Origin) String() string {
	if o.TLS {
		return "https://" + o.Authority()
	}
	return "http://" + o.Authority()
}

// Cursor is a place in a [DomainStore]'s change feed. It is opaque; the empty
// cursor is the beginning.
type Cursor string

// Change says that a domain was written or deleted: what, when, by whom.
type Change struct {
	Host    string
	Deleted bool
	Domain  Domain // the row as this change left it; only Host is set when Deleted
	Before  Domain // the row as it was; zero when there was none
	At      time.Time
	By      string // as in UpdatedBy
}

// PresentState returns a change that says how the domain of c is now: in the place of
// one that cannot be read. The row as it was before is not known. It returns
// [ErrUnreadable] when the row cannot be read either, or of which domain it is.
func PresentState(ctx context.Context, s interface {
	Domain(ctx context.Context, host string) (Domain, error)
}, c *Change) (Change, error) {
	host, err := NormalizeDomain(c.Host)
	if err != nil || host != c.Host {
		return *c, ErrUnreadable
	}
	is := Change{Host: host, At: c.At, By: c.By}
	is.Domain, err = s.Domain(ctx, host)
	if errors.Is(err, ErrNotFound) {
		is.Deleted, is.Domain, err = true, Domain{Host: host}, nil
	}
	return is, err
}

// DomainCounter counts domains without reading them.
type DomainCounter interface {
	// CountDomains returns how many domains a tenant has, or most if there are more. It
	// costs an index, as far as it is counted.
	CountDomains(ctx context.Context, tenant string, most int) (int, error)
}

// DomainStore keeps the domains and the feed of their changes. A row and its
// change are written in one transaction.
//
// A row that cannot be read ([Domain.Readable]) is passed over by all that return many, and
// makes [ErrUnreadable] of all that read or write it alone. Of a change that cannot be read
// Changes tells the row as it is now, if at all, without the row before.
//
// All methods are safe for concurrent use, honour ctx, and take hosts that
// [NormalizeDomain] returned. An error other than the documented ones leaves open
// whether a write happened.
type DomainStore interface {
	// CreateDomain stores d, its UpdatedBy too, with version 1 and both times set to now, and
	// returns it as stored, or [ErrExists].
	CreateDomain(ctx context.Context, d Domain, now time.Time) (Domain, error)

	// Domain returns the row, or [ErrNotFound].
	Domain(ctx context.Context, host string) (Domain, error)

	// UpdateDomain replaces the row if its version is still d.Version, and
	// returns it as stored. It returns [ErrNotFound] or [ErrConflict].
	// The row is as [Domain.Replacing] has it.
	UpdateDomain(ctx context.Context, d Domain, now time.Time) (Domain, error)

	// DeleteDomain removes the row if its version is still version, or whatever
	// its version when version is 0. It returns [ErrNotFound] or [ErrConflict].
	// by and now are for the change.
	DeleteDomain(ctx context.Context, host string, version int64, by string, now time.Time) error

	// Domains returns the rows whose host sorts after `after`, in byte order,
	// at most limit (1 to 1000) of them.
	Domains(ctx context.Context, after string, limit int) ([]Domain, error)

	// FindDomains returns the rows that q wants, at most q.Limit of them, and fewer
	// only at the end. It reads little more than it returns. [ErrInvalid] says that q
	// is none.
	FindDomains(ctx context.Context, q DomainQuery) ([]Domain, error)

	// Head returns the end of the change feed, or, in a replica that may be late, a
	// place before it. A reader that wants all takes the head, reads Domains to the
	// end, and follows Changes from there to their end: it then has seen every write,
	// perhaps twice, the second time after later ones.
	Head(ctx context.Context) (Cursor, error)

	// Changes returns what followed `after`, oldest first, at most limit (1 to
	// 1000), and the cursor to go on from, which is `after` itself when nothing
	// did. Each host's changes come in the order of its writes; of writes to two
	// hosts at the same time readers may see either first. It returns
	// [ErrNotFound] when the feed no longer goes back that far, or the cursor is
	// another store's: the reader must then read Domains again.
	Changes(ctx context.Context, after Cursor, limit int) ([]Change, Cursor, error)
}
