package check

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/publicsuffix"

	"github.com/shingle-proxy/shingle"
)

// caa looks for the CAA records that count for host, from its name up to the
// top (RFC 8659 section 3), and judges them.
func (c *Checker) caa(ctx context.Context, host string) shingle.Finding {
	if len(c.cfg.CAs) == 0 {
		return shingle.Finding{}
	}
	at, a := c.caaSet(ctx, host)
	switch {
	case a.fault == shingle.ReasonResolverFailure || ctx.Err() != nil:
		return shingle.Finding{}
	case a.fault != "":
		return found(shingle.ReasonCAAUnreadable,
			"The name servers of %s do not answer a question about CAA records properly, and certificate authorities must then refuse (RFC 8659). Ask the DNS provider to mend that; an entry for CAA records is not needed.", at)
	case len(a.records) > 0:
		return c.judgeCAA(ctx, at, a.records, host)
	}
	return shingle.Finding{Reason: shingle.ReasonCAAAllows, Message: "No CAA record restricts who may issue certificates."}
}

// caaSet returns the answer that counts for host, and of which name it is: the first
// with records or a fault.
func (c *Checker) caaSet(ctx context.Context, host string) (at string, a answer) {
	base := strings.TrimPrefix(host, "*.")
	suffix, _ := publicsuffix.PublicSuffix(base)
	for at := base; at != ""; _, at, _ = strings.Cut(at, ".") {
		shared := len(at) <= len(suffix)
		a, known := answer{}, false
		if shared {
			a, known = c.suffixes.get(at)
		}
		if !known {
			a = c.stub.lookup(ctx, at+".", dns.TypeCAA)
		}
		if a.fault != "" || len(a.records) > 0 || ctx.Err() != nil {
			return at, a
		}
		if shared && !known {
			c.suffixes.put(at, a)
		}
	}
	return "", answer{}
}

// issueProperties returns the values of the issue properties that count for host,
// with their tag, or the tag of a property that forbids all.
func issueProperties(records []dns.RR, host string) (tag string, values map[string]bool, critical string) {
	issue, wild := map[string]bool{}, map[string]bool{}
	for _, rr := range records {
		r, ok := rr.(*dns.CAA)
		if !ok {
			continue
		}
		switch tag := strings.ToLower(r.Tag); {
		case tag == "issue":
			issue[r.Value] = true
		case tag == "issuewild":
			wild[r.Value] = true
		case tag == "iodef", tag == "contactemail", tag == "contactphone", tag == "issuemail", tag == "issuevmc":
		case r.Flag&128 != 0: // what we do not know either, a CA may not ignore
			critical = r.Tag
		}
	}
	if shingle.IsWildcard(host) && len(wild) > 0 {
		return "issuewild", wild, critical
	}
	return "issue", issue, critical
}

// Methods returns the validation methods that the CAA records of host leave to our
// account at the CA with that name (RFC 8657 section 4), nil when they leave it all, or
// when it is not known what they say: the CA will tell.
func (c *Checker) Methods(ctx context.Context, host, name string) []string {
	i := slices.IndexFunc(c.cfg.CAs, func(ca CA) bool { return ca.Name == name })
	if i < 0 || len(c.cfg.CAs[i].Identities) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	_, a := c.caaSet(ctx, host)
	if a.fault != "" || ctx.Err() != nil {
		return nil
	}
	var methods []string
	_, values, _ := issueProperties(a.records, host)
	for value := range values {
		issuer, parameters, _ := strings.Cut(value, ";")
		if !slices.Contains(c.cfg.CAs[i].Identities, strings.ToLower(strings.TrimSpace(issuer))) {
			continue
		}
		left, some := c.cfg.CAs[i].methods(ctx, parameters)
		if !some {
			return nil
		}
		methods = append(methods, left...)
	}
	return methods
}

// methods returns what an issue property leaves to our account. It reports false when
// that is every method.
func (ca *CA) methods(ctx context.Context, parameters string) (left []string, some bool) {
	for tag, value := range caaParameters(parameters) {
		switch tag {
		case "accounturi":
			if ours := ca.account(ctx); ours != "" && value != ours {
				return nil, true
			}
		case "validationmethods":
			some = true
			for m := range strings.SplitSeq(value, ",") {
				left = append(left, strings.TrimSpace(m))
			}
		}
	}
	return left, some
}

// judgeCAA says whether one of our CAs may issue by the records at a name (RFC
// 8659 sections 4.2 and 4.3, RFC 8657).
func (c *Checker) judgeCAA(ctx context.Context, at string, records []dns.RR, host string) shingle.Finding {
	tag, issue, critical := issueProperties(records, host)
	if critical != "" {
		return found(shingle.ReasonCAAForbids, "The CAA record %q of %s is marked critical and unknown, so certificate authorities must refuse. Remove it.", printable(critical), at)
	}
	if len(issue) == 0 {
		return found(shingle.ReasonCAAAllows, "The CAA records of %s allow every certificate authority.", at)
	}
	var why []string
	advice := c.identity()
	for value := range issue {
		reason, better := c.admits(ctx, value, host)
		if reason == "" {
			return found(shingle.ReasonCAAAllows, "The CAA record of %s allows our certificate authority.", at)
		}
		if why = append(why, reason); better != "" {
			advice = better
		}
	}
	slices.Sort(why)
	return found(shingle.ReasonCAAForbids,
		"CAA records of %s keep our certificate authority from issuing: %s. Add a CAA record there: %s, flags 0, tag %s, value %q.",
		at, strings.Join(slices.Compact(why), "; "), nameText(unknownProvider.field(at, registrable(at))), tag, advice)
}

// identity is what to allow in a CAA record.
func (c *Checker) identity() string {
	for _, ca := range c.cfg.CAs {
		if len(ca.Identities) > 0 {
			return ca.Identities[0]
		}
	}
	return "the name of our certificate authority"
}

// admits returns "" when one of our CAs may issue by an issue property, and
// otherwise what stands against it and, where the property is nearly right, a better
// one.
func (c *Checker) admits(ctx context.Context, value, host string) (why, better string) {
	issuer, parameters, _ := strings.Cut(value, ";")
	issuer = strings.ToLower(strings.TrimSpace(issuer))
	if issuer == "" {
		return "they allow nobody", ""
	}
	for _, ca := range c.cfg.CAs {
		if len(ca.Identities) == 0 {
			return "", "" // not known: the CA will tell
		}
		if slices.Contains(ca.Identities, issuer) {
			methods := func() []string { return c.methodsFor(ctx, host) }
			if why = ca.meets(ctx, parameters, methods); why != "" {
				better = ca.property(ctx, issuer, parameters, methods)
			}
			return why, better
		}
	}
	return "they allow only " + printable(issuer), ""
}

// meets returns "" when an order of ours meets the parameters of an issue
// property (RFC 8657).
func (ca *CA) meets(ctx context.Context, parameters string, methods func() []string) string {
	for tag, value := range caaParameters(parameters) {
		switch tag {
		case "accounturi":
			if ours := ca.account(ctx); ours != "" && value != ours {
				return "accounturi names another account"
			}
		case "validationmethods":
			methods := methods()
			if !slices.ContainsFunc(strings.Split(value, ","), func(m string) bool { return slices.Contains(methods, strings.TrimSpace(m)) }) {
				return "validationmethods lacks " + strings.Join(methods, " and ")
			}
		}
	}
	return ""
}

// property is an issue property like the customer's that an order of ours meets: who
// names an account or methods has a reason to.
func (ca *CA) property(ctx context.Context, issuer, parameters string, methods func() []string) string {
	for tag := range caaParameters(parameters) {
		if ours := ca.account(ctx); tag == "accounturi" && ours != "" {
			issuer += "; accounturi=" + ours
		}
		if tag == "validationmethods" {
			issuer += "; validationmethods=" + strings.Join(methods(), ",")
		}
	}
	return issuer
}

func (ca *CA) account(ctx context.Context) string {
	if ca.Account == nil {
		return ""
	}
	return ca.Account(ctx)
}

// methodsFor are the validation methods that orders for host can use.
func (c *Checker) methodsFor(ctx context.Context, host string) []string {
	if shingle.IsWildcard(host) {
		return []string{"dns-01"}
	}
	methods := []string{"http-01", "tls-alpn-01"}
	if c.cfg.Delegated != nil && c.cfg.Delegated(ctx, host) {
		methods = append(methods, "dns-01")
	}
	return methods
}

// caaParameters yields tag and value of each parameter of an issue property (RFC 8659
// section 4.2), the tag in lower case.
func caaParameters(text string) iter.Seq2[string, string] {
	return func(yield func(tag, value string) bool) {
		for parameter := range strings.SplitSeq(text, ";") {
			tag, value, ok := strings.Cut(strings.TrimSpace(parameter), "=")
			if ok && !yield(strings.ToLower(strings.TrimSpace(tag)), strings.TrimSpace(value)) {
				return
			}
		}
	}
}

// suffixes remembers the CAA records of public suffixes and what is above them,
// which all customers share.
type suffixes struct {
	mu    sync.Mutex
	known map[string]suffix
}

type suffix struct {
	answer answer
	until  time.Time
}

const (
	maxSuffixes = 2048
	suffixLife  = time.Hour
)

func (s *suffixes) get(name string) (answer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, ok := s.known[name]
	return x.answer, ok && time.Now().Before(x.until)
}

func (s *suffixes) put(name string, a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) >= maxSuffixes {
		s.known = map[string]suffix{}
	}
	s.known[name] = suffix{a, time.Now().Add(suffixLife)}
}
