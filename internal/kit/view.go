package kit

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"

	"github.com/shingle-proxy/shingle"
)

// stage is how far a domain is, as its customer sees it.
type stage string

const (
	stageDNS         stage = "dns"         // the customer has records to set
	stageCertificate stage = "certificate" // nothing but to wait
	stageLive        stage = "live"
	stageBlocked     stage = "blocked" // by the operator
	stageGone        stage = "gone"    // the link is not good
)

// After how many seconds a page has the domain checked again.
var nextCheck = map[stage]int{stageDNS: 10, stageCertificate: 5}

// view is what is shown of a domain.
type view struct {
	words
	Host    string // as it is written
	ASCII   string
	Stage   stage
	Head    string // key of a text
	Reason  string // key of a text
	Note    string // key of a text; empty: none
	Detail  string // what the check says, in English; empty: nothing
	Checked time.Time
	Next    int  // seconds until a page has it checked again; 0: never
	Fresh   bool // it was looked at a moment ago

	Provider string // who has the zone; empty: not known
	Panel    string // URL where its records are edited; empty: not known
	Connect  string // URL where the provider enters the records by itself; empty: it does not
	Hint     string // key of a text; empty: none
	Set      []shingle.DNSRecord
	Remove   []shingle.DNSRecord

	Token   string // of the link
	Email   string // URL of an e-mail that forwards the page
	Service string
	Support string // URL; empty: none
	Page    bool   // it is a page, which must do without scripts
}

// view returns what is to be shown of a domain to whoever has a link to it.
func (k *Kit) view(ctx context.Context, d *shingle.Domain, language, link string) (*view, error) {
	now := k.cfg.Now()
	st, err := k.cfg.Statuses.Status(ctx, d.Host)
	if errors.Is(err, shingle.ErrNotFound) || err == nil && st.Tenant != d.Tenant {
		st, err = shingle.Status{State: shingle.StatePending, Reason: shingle.ReasonNew}, nil
	}
	if err != nil {
		return nil, err
	}
	f := k.checks.found(d, now)
	v := &view{
		words: words{Lang: language}, Host: unicode(d.Host), ASCII: d.Host, Checked: st.Checked, Fresh: f != nil,
		Service: k.cfg.Service, Support: supportURL(k.cfg.Support),
	}
	if f == nil {
		f = &found{}
	}
	r := &f.CheckResult
	v.Provider, v.Panel = r.DNS.Provider, f.panel
	v.judge(d, &st, r)
	v.records(ctx, k, d, &st, r)
	if v.Stage == stageDNS && f.back == link { // another's may be good for longer
		v.Connect = f.apply
	}
	v.vars = append(variables(v, r), "{provider_name}", f.name)
	return v, nil
}

// judge says how far the domain is, and what is to be said about it.
func (v *view) judge(d *shingle.Domain, st *shingle.Status, r *shingle.CheckResult) {
	v.Reason, v.Detail = reasonKey(st.Reason), st.Message
	switch {
	case d.Paused || st.State == shingle.StateBlocked:
		v.Stage, v.Head, v.Reason, v.Detail = stageBlocked, "head.blocked", "reason.blocked", ""
	case st.State == shingle.StateActive:
		v.Stage, v.Head, v.Reason, v.Detail = stageLive, "head.live", "reason.served", ""
	case !v.Fresh && st.State != shingle.StateIssuing:
		v.Stage, v.Head, v.Reason, v.Detail = stageDNS, "head.checking", "reason.checking", ""
	case st.State == shingle.StateIssuing:
		v.Stage, v.Head = stageCertificate, "head.certificate"
	case st.Who == shingle.WhoCustomer:
		v.Stage, v.Head = stageDNS, "head.problem"
		if st.Reason == shingle.ReasonNoRecord || st.Reason == shingle.ReasonPointsElsewhere || st.Reason == shingle.ReasonProofNeeded {
			v.Head = "head.waiting"
		}
	case st.Reason.Outcome() == shingle.OutcomeGood || st.Reason == shingle.ReasonNew:
		v.Stage, v.Head, v.Reason = stageDNS, "head.checking", "reason.checking"
	default:
		v.Stage, v.Head, v.Reason = stageCertificate, "head.ours", "reason.ours"
	}
	for _, note := range r.DNS.Notes {
		if note.Reason == shingle.ReasonStaleCache && v.Stage == stageDNS {
			v.Note = "note.stale_cache"
		}
	}
	v.Next = nextCheck[v.Stage]
}

// records finds out what to set and to remove. Without a check it is what fits most
// providers.
func (v *view) records(ctx context.Context, k *Kit, d *shingle.Domain, st *shingle.Status, r *shingle.CheckResult) {
	if v.Stage != stageDNS {
		return
	}
	v.Set, v.Remove = append(v.Set, r.DNS.Set...), r.DNS.Remove
	pointed := r.DNS.Reason.Outcome() == shingle.OutcomeGood
	if len(v.Set)+len(v.Remove) == 0 && !pointed {
		v.Set = k.usual(d)
	}
	if st.ProofNeeded && !r.DNS.Proven && (pointed || !provesItself(v.Set, d.Host)) {
		v.Set = append(v.Set, k.proof(d, r)...)
	}
	if shingle.IsWildcard(d.Host) && k.cfg.Delegation != nil {
		if is, err := k.cfg.Delegation(ctx, d.Host, d.Tenant); err == nil {
			v.Set = append(v.Set, k.cfg.Checker.AtProvider(shingle.DNSRecord{Type: "CNAME", FQDN: is.Name, Value: is.Target}, &r.DNS))
		}
	}
	if v.Provider == "Cloudflare" && len(v.Set) > 0 {
		v.Hint = "hint.Cloudflare"
	}
}

// usual are the records for a domain of whose provider nothing is known.
func (k *Kit) usual(d *shingle.Domain) (set []shingle.DNSRecord) {
	is := k.cfg.Checker.Instructions(d.Host, d.Tenant)
	if is.Target != "" && (registrable(d.Host) != d.Host || len(is.Addresses) == 0) {
		return []shingle.DNSRecord{{Type: "CNAME", Name: d.Host, FQDN: d.Host, Value: is.Target}}
	}
	for _, a := range is.Addresses {
		set = append(set, shingle.DNSRecord{Type: addressType(a), Name: d.Host, FQDN: d.Host, Value: a.String()})
	}
	return set
}

// proof is the record that proves control where the others do not.
func (k *Kit) proof(d *shingle.Domain, r *shingle.CheckResult) []shingle.DNSRecord {
	if r.DNS.Proof != nil {
		return []shingle.DNSRecord{*r.DNS.Proof}
	}
	if is := k.cfg.Checker.Instructions(d.Host, d.Tenant); is.ProofText != "" {
		return []shingle.DNSRecord{{Type: "TXT", Name: is.ProofName, FQDN: is.ProofName, Value: is.ProofText}}
	}
	return nil
}

// provesItself reports whether the records prove control once they are set: a CNAME
// record that can be seen as one, which none at a registrable domain can.
func provesItself(set []shingle.DNSRecord, host string) bool {
	return len(set) > 0 && set[0].Type == "CNAME" && registrable(host) != host
}

func addressType(a netip.Addr) string {
	if a.Is4() {
		return "A"
	}
	return "AAAA"
}

// variables are what the texts are about.
func variables(v *view, r *shingle.CheckResult) []string {
	zone := unicode(r.DNS.Zone)
	if zone == "" {
		zone = unicode(registrable(v.ASCII))
	}
	return []string{
		"{host}", v.Host, "{service}", v.Service, "{provider}", v.Provider, "{zone}", zone, "{registrable}", unicode(registrable(v.ASCII)),
		"{where}", whither(&r.DNS), "{service_in_front}", r.DNS.Service,
	}
}

const maxShown = 3

// whither is where a name leads, in a few words.
func whither(d *shingle.DNSResult) string {
	var words []string
	if d.Service != "" {
		words = append(words, d.Service)
	}
	if n := len(d.Chain); n > 0 {
		words = append(words, d.Chain[n-1].Target)
	} else {
		for _, a := range d.Addresses[:min(len(d.Addresses), maxShown)] {
			words = append(words, a.String())
		}
	}
	if len(words) == 0 {
		words = []string{"…"}
	}
	return strings.Join(words, ", ")
}

// registrable is the part of a host that can be bought, or the host itself.
func registrable(host string) string {
	host = strings.TrimPrefix(host, "*.")
	name, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil {
		return host
	}
	return name
}

// unicode returns a host as people write it.
func unicode(host string) string {
	base, wild := strings.CutPrefix(host, "*.")
	u, err := idna.Display.ToUnicode(base)
	if err != nil {
		return host
	}
	if wild {
		return "*." + u
	}
	return u
}

// supportURL makes a URL of an e-mail address.
func supportURL(s string) string {
	if u, err := url.Parse(s); err == nil && (u.Scheme == "https" || u.Scheme == "http" || u.Scheme == "mailto") {
		return s
	}
	if strings.Contains(s, "@") {
		return "mailto:" + s
	}
	return ""
}
