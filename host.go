package shingle

import (
	"errors"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

// MaxHost is the longest host name, in bytes of its A-labels (RFC 1035 section
// 2.3.4, without the trailing dot).
const MaxHost = 253

// hostProfile is UTS 46 non-transitional processing, as browsers do it, with
// the checks of IDNA 2008 and of a CA: letters, digits and hyphens only.
var hostProfile = idna.New(
	idna.MapForLookup(),
	idna.BidiRule(),
	idna.Transitional(false),
	idna.StrictDomainName(true),
)

// NormalizeHost returns the one form in which Shingle keeps and compares a
// custom domain: A-labels in lower case, without a trailing dot. It takes what
// people and clients write: Unicode, upper case, one trailing dot.
//
// It returns [ErrInvalid] with the reason for anything that cannot be a
// customer's domain: an IP address, a port, a single label, a public suffix, an
// empty or over-long name or label, and characters that no CA would certify.
// The result of NormalizeHost is its own normal form.
func NormalizeHost(s string) (string, error) {
	if s == "" {
		return "", hostError("a host name such as blog.example.com is needed")
	}
	if len(s) > 4*MaxHost {
		return "", hostError("the name is longer than 253 characters")
	}
	if strings.ContainsAny(s, ":[]") {
		if isIP(s) {
			return "", hostError("an IP address cannot be a custom domain")
		}
		return "", hostError("write the name alone, without a scheme, port or path")
	}
	if strings.ContainsAny(s, "/?#@ ") {
		return "", hostError("write the name alone, without a scheme, port or path")
	}
	host, err := asciiHost(s)
	if err != nil {
		return "", err
	}
	if isIP(host) {
		return "", hostError("an IP address cannot be a custom domain")
	}
	if !strings.Contains(host, ".") {
		return "", hostError("%q has a single label; a domain has at least two, such as example.com", host)
	}
	if allDigits(host[strings.LastIndexByte(host, '.')+1:]) {
		return "", hostError("the last label of %q is a number", host)
	}
	if isPublicSuffix(host) {
		return "", hostError("%q is a public suffix; nobody owns it alone", host)
	}
	return host, nil
}

// NormalizeAuthority is [NormalizeHost] for the places where a port is legal:
// a Host header or :authority (RFC 9110 section 4.2). The port is dropped.
func NormalizeAuthority(s string) (string, error) {
	host := s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		if port := s[i+1:]; port != "" && (len(port) > 5 || !allDigits(port)) {
			return "", hostError("%q is not a port", port)
		}
		host = s[:i]
	}
	return NormalizeHost(host)
}

// NormalizeDomain is [NormalizeHost] for the two places where a wildcard is legal:
// the host of a [Domain], and the name of a certificate. A wildcard is "*." and
// what NormalizeHost takes. It stands for one label (RFC 9525 section 6.3), so
// *.customer.com covers a.customer.com, and neither customer.com nor
// a.b.customer.com.
//
// It returns [ErrInvalid] for a wildcard that would cover public suffixes, as
// *.co.uk would, and for an asterisk anywhere else. What clients ask for, in the
// SNI or in a Host header, is never a wildcard: take NormalizeHost for that.
func NormalizeDomain(s string) (string, error) {
	base, ok := strings.CutPrefix(s, "*.")
	if strings.Contains(base, "*") {
		return "", hostError("a wildcard is one asterisk as the whole first label, as in *.customer.com")
	}
	base, err := NormalizeHost(base)
	if err != nil || !ok {
		return base, err
	}
	if len("*."+base) > MaxHost {
		return "", hostError("the name is longer than 253 characters")
	}
	if below := "x." + base; isPublicSuffix(below) {
		return "", hostError("the names below %q are public suffixes; nobody owns them all", base)
	}
	return "*." + base, nil
}

// IsWildcard reports whether name, as [NormalizeDomain] returns it, is a wildcard.
func IsWildcard(name string) bool { return strings.HasPrefix(name, "*.") }

// Covering returns the wildcard that covers a host which [NormalizeHost] returned,
// or "" when there can be none.
func Covering(host string) string {
	_, parent, _ := strings.Cut(host, ".")
	name, err := NormalizeDomain("*." + parent)
	if err != nil {
		return ""
	}
	return name
}

// RegisteredDomain returns the registered domain of a normalised host, or of what
// a wildcard covers, by the public suffix list: what somebody paid for.
func RegisteredDomain(host string) string {
	host = strings.TrimPrefix(host, "*.")
	d, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil {
		return host
	}
	return d
}

// asciiHost maps s to A-labels and checks labels and length. It takes single
// labels and numbers, which [NormalizeHost] refuses.
func asciiHost(s string) (string, error) {
	host := s
	if !isPlain(s) {
		var err error
		if host, err = toASCII(s); err != nil {
			return "", hostError("%q is not a valid domain name: only letters, digits and hyphens can be certified", s)
		}
	}
	host = strings.TrimSuffix(host, ".")
	if len(host) > MaxHost {
		return "", hostError("the name is longer than 253 characters")
	}
	for label := range strings.SplitSeq(host, ".") {
		if err := checkLabel(label); err != nil {
			return "", err
		}
	}
	return host, nil
}

// toASCII maps s to A-labels. It refuses a result that would not come out of a
// second pass as it went in, which the idna package produces for some input.
func toASCII(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", errors.New("not UTF-8")
	}
	host, err := hostProfile.ToASCII(s)
	if err != nil {
		return "", err
	}
	if again, err := hostProfile.ToASCII(host); err != nil || again != host {
		return "", errors.New("no normal form")
	}
	return host, nil
}

// checkLabel checks one A-label (RFC 5890 section 2.3.1): the "??--" labels
// that are not A-labels are reserved, and no CA certifies them.
func checkLabel(label string) error {
	switch {
	case label == "":
		return hostError("the name has an empty label (two dots in a row, or a dot at the start)")
	case len(label) > 63:
		return hostError("the label %q is longer than 63 characters", label)
	case label[0] == '-' || label[len(label)-1] == '-':
		return hostError("the label %q begins or ends with a hyphen", label)
	case len(label) > 3 && label[2:4] == "--" && label[:2] != "xn":
		return hostError("the label %q has hyphens in a reserved place", label)
	}
	return nil
}

// isPlain reports whether s is already lower-case LDH without A-labels, so
// that IDNA processing would return it as it is.
func isPlain(s string) bool {
	for i := range len(s) {
		c := s[i]
		if ('a' > c || c > 'z') && ('0' > c || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return !strings.HasPrefix(s, "xn--") && !strings.Contains(s, ".xn--")
}

func isPublicSuffix(host string) bool {
	suffix, _ := publicsuffix.PublicSuffix(host)
	return suffix == host
}

func isIP(s string) bool {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if i := strings.LastIndexByte(s, ']'); i >= 0 {
		s = s[:i]
	}
	_, err := netip.ParseAddr(s)
	return err == nil
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func hostError(format string, args ...any) error {
	e := Errorf(CodeInvalid, format, args...)
	e.Field = "host"
	return e
}
