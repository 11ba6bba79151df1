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
		switch {
		case a.fault == shingle.ReasonResolverFailure || ctx.Err() != nil:
			return shingle.Finding{}
		case a.fault != "":
			return found(shingle.ReasonCAAUnreadable,
				"The name servers of %s do not answer a question about CAA records properly, and certificate authorities must then refuse (RFC 8659). Ask the DNS provider to mend that; an entry for CAA records is not needed.", at)
		case len(a.records) > 0:
			return c.judgeCAA(ctx, at, a.records, base != host)
		}
		if shared && !known {
			c.suffixes.put(at, a)
		}
	}
	return shingle.Finding{Reason: shingle.ReasonCAAAllows, Message: "No CAA record restricts who may issue certificates."}
}

// judgeCAA says whether one of our CAs may issue by the records at a name (RFC
// 8659 sections 4.2 and 4.3, RFC 8657).
func (c *Checker) judgeCAA(ctx context.Context, at string, records []dns.RR, wildcard bool) shingle.Finding {
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
			return found(shingle.ReasonCAAForbids, "The CAA record %q of %s is marked critical and unknown, so certificate authorities must refuse. Remove it.", printable(r.Tag), at)
		}
	}
	tag := "issue"
	if wildcard && len(wild) > 0 {
		tag, issue = "issuewild", wild
	}
	if len(issue) == 0 {
		return found(shingle.ReasonCAAAllows, "The CAA records of %s allow every certificate authority.", at)
	}
	var why []string
	advice := c.identity()
	for value := range issue {
		reason, better := c.admits(ctx, value, wildcard)
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
func (c *Checker) admits(ctx context.Context, value string, wildcard bool) (why, better string) {
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
			if why = ca.meets(ctx, parameters, wildcard); why != "" {
				better = ca.property(ctx, issuer, parameters, wildcard)
			}
			return why, better
		}
	}
	return "they allow only " + printable(issuer), ""
}

// meets returns "" when an order of ours meets the parameters of an issue
// property (RFC 8657).
func (ca *CA) meets(ctx context.Context, parameters string, wildcard bool) string {
	for tag, value := range caaParameters(parameters) {
		switch tag {
		case "accounturi":
			if ours := ca.account(ctx); ours != "" && value != ours {
				return "accounturi names another account"
			}
		case "validationmethods":
			methods := methodsFor(wildcard)
			if !slices.ContainsFunc(strings.Split(value, ","), func(m string) bool { return slices.Contains(methods, strings.TrimSpace(m)) }) {
				return "validationmethods lacks " + strings.Join(methods, " and ")
			}
		}
	}
	return ""
}

// property is an issue property like the customer's that an order of ours meets: who
// names an account or methods has a reason to.
func (ca *CA) property(ctx context.Context, issuer, parameters string, wildcard bool) string {
	for tag := range caaParameters(parameters) {
		if ours := ca.account(ctx); tag == "accounturi" && ours != "" {
			issuer += "; accounturi=" + ours
		}
		if tag == "validationmethods" {
			issuer += "; validationmethods=" + strings.Join(methodsFor(wildcard), ",")
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

// methodsFor are the validation methods that orders use in the first place.
func methodsFor(wildcard bool) []string {
	if wildcard {
		return []string{"dns-01"}
	}
	return []string{"http-01", "tls-alpn-01"}
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
