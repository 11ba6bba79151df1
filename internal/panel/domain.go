package panel

import (
	"errors"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

const eventsShown = 12 // on a domain's page

// domainPage is all that a domain's page shows.
type domainPage struct {
	Domain      api.Domain
	Certificate *api.Certificate // nil: nothing is known of one
	Check       *api.Check       // nil: not asked for
	Traffic     *traffic         // nil: it is not counted
	Events      []api.Event
	CheckFault  string // why there is no check, which was asked for
	Now         time.Time
}

func showDomain(v *visit) error {
	p, err := v.domain()
	if err != nil {
		return err
	}
	return v.showWhole(p)
}

// showWhole adds what is on the page alone, and shows it.
func (v *visit) showWhole(p domainPage) (err error) {
	if p.Events, err = v.lastEvents(p.Domain.Host); err != nil {
		return err
	}
	p.Traffic = v.traffic(p.Domain.Host)
	return v.show("domain", p)
}

func (v *visit) lastEvents(host string) ([]api.Event, error) {
	list, err := v.api.EventPage(v.ctx(), host, "", eventsShown)
	if errors.Is(err, shingle.ErrNotFound) { // none are kept here
		return nil, nil
	}
	return list.Events, err
}

// liveDomain is the part of the page that changes by itself.
func liveDomain(v *visit) error {
	p, err := v.domain()
	if err != nil {
		return err
	}
	p.Traffic = v.traffic(p.Domain.Host)
	return v.showPart("domain", "live", p)
}

// domain reads the domain that the path names, and its certificate.
func (v *visit) domain() (domainPage, error) {
	p := domainPage{Now: v.panel.Now()}
	var err error
	if p.Domain, err = v.api.Domain(v.ctx(), v.host()); err != nil {
		return p, err
	}
	c, err := v.api.Certificate(v.ctx(), p.Domain.Host)
	switch {
	case err == nil:
		p.Certificate = &c
	case !errors.Is(err, shingle.ErrNotFound):
		return p, err
	}
	return p, nil
}

// checkDomain looks at DNS and HTTPS now.
func checkDomain(v *visit) error {
	found, err := v.api.CheckDomain(v.ctx(), v.host(), "")
	fault := ""
	if err != nil {
		f, err := faultOf(err)
		if err != nil && shingle.CodeOf(err) != shingle.CodeUnavailable {
			return err
		}
		if fault = f.Message; err != nil {
			fault = sentence(shingle.MessageOf(err))
		}
	}
	p, err := v.domain()
	if err != nil {
		return err
	}
	if p.CheckFault = fault; fault == "" {
		p.Check = &found
	}
	if v.wantsPart() {
		return v.showPart("domain", "check", p)
	}
	return v.showWhole(p)
}

func renewCertificate(v *visit) error {
	if _, err := v.api.RenewCertificate(v.ctx(), v.host()); err != nil {
		return err
	}
	return v.tell(domainAddress(v.host()), "renewing")
}

// step is one of those on the way to a domain that is live.
type step struct {
	Name, Text string
	Kind       string // done, now, bad or todo
}

// steps of the way: how many are done in each state, and whether the next is in trouble.
var progress = map[string]struct {
	done int
	kind string
}{
	"pending": {1, "now"}, "verifying": {2, "now"}, "issuing": {3, "now"}, "active": {5, "now"},
	"drifting": {1, "bad"}, "paused": {1, "bad"}, "blocked": {4, "bad"},
}

// Steps says how far the domain has come.
func (p domainPage) Steps() []step {
	list := []step{{Name: "Added"}, {Name: "DNS points here"}, {Name: "Verified"}, {Name: "Certificate"}, {Name: "Live"}}
	is := progress[p.State()]
	for i := range list {
		switch {
		case i < is.done:
			list[i].Kind, list[i].Text = "done", "done"
		case i == is.done && is.kind != "":
			list[i].Kind, list[i].Text = is.kind, map[string]string{"now": "now", "bad": "broken"}[is.kind]
		default:
			list[i].Kind, list[i].Text = "todo", "to come"
		}
	}
	if p.Certificate != nil && p.Certificate.State == string(shingle.CertificateValid) { // perhaps before DNS points here
		list[3].Kind, list[3].Text = "done", "done"
	}
	if p.drifts() { // what was there before is there still
		for i := range list[2:4] {
			list[2+i].Kind, list[2+i].Text = "done", "done"
		}
		if p.State() == "drifting" {
			list[4].Kind, list[4].Text = "done", "done"
		}
	}
	return list
}

func (p domainPage) drifts() bool { return p.State() == "drifting" || p.State() == "paused" }

// State is the domain's; empty before the first check.
func (p domainPage) State() string {
	if p.Domain.Status == nil {
		if p.Domain.Paused {
			return "blocked"
		}
		return ""
	}
	return p.Domain.Status.State
}

// Settled reports whether nothing is expected to change soon, so that nobody needs to
// look again and again.
func (p domainPage) Settled() bool {
	s := p.Domain.Status
	return s == nil || s.State == "blocked" || s.State == "active" && s.Who == shingle.WhoNobody && p.Certificate != nil && p.Certificate.State == string(shingle.CertificateValid)
}

// CertificateShown is the certificate when there is something to be said of it: not while
// the domain does not lead here, and no order is due.
func (p domainPage) CertificateShown() *api.Certificate {
	c := p.Certificate
	if c != nil && c.NotAfter.IsZero() && c.Failed == nil && (p.State() == "pending" || p.State() == "verifying") {
		return nil
	}
	return c
}

// Says reports whether the status says the same.
func (p domainPage) Says(message string) bool {
	return p.Domain.Status != nil && p.Domain.Status.Message == message
}

// headlines say a state in a sentence; those of domains that are well are at the end of
// Headline.
var headlines = map[string]string{
	"pending":   "This domain does not point here yet.",
	"verifying": "DNS points here, but one thing is still in the way.",
	"issuing":   "DNS is right. The certificate is on its way.",
	"drifting":  "DNS now leads elsewhere. Whoever still comes here is served.",
	"paused":    "DNS has led elsewhere for too long, so no certificate is obtained any more.",
	"blocked":   "You have paused this domain: nobody is served.",
	"removed":   "This domain was deleted.",
}

// Headline says where the domain is, in a sentence.
func (p domainPage) Headline() string {
	if text := headlines[p.State()]; text != "" {
		return text
	}
	switch s := p.Domain.Status; {
	case s == nil:
		return "This domain has not been checked yet."
	case s.Who != shingle.WhoNobody:
		return "This domain is live, with something to see to."
	}
	return "This domain is live."
}

// record is a DNS record as it is to be entered.
type record struct{ Type, Name, Value string }

// Records are what the customer is to set, as far as it is known: what the check says, or
// else what the domain is told.
func (p domainPage) Records() (list []record) {
	if p.Check != nil && len(p.Check.DNS.Set) > 0 {
		for _, r := range p.Check.DNS.Set {
			list = append(list, record{r.Type, r.Name, r.Value})
		}
		return list
	}
	is := p.Domain.DNS
	if is == nil {
		return nil
	}
	name := relative(p.Domain.Host)
	if is.CNAME != "" && (name != "@" || len(is.Addresses) == 0) {
		return []record{{"CNAME", name, is.CNAME}}
	}
	for _, a := range is.Addresses {
		list = append(list, record{addressType(a.Is4()), name, a.String()})
	}
	if is.Proof != nil {
		list = append(list, record{"TXT", relative(is.Proof.TXT), is.Proof.Text})
	}
	return list
}

// Others are records that do other things, each with what it is for.
func (p domainPage) Others() (list []otherRecord) {
	if is := p.Domain.DNS; is != nil && is.Proof != nil {
		list = append(list, otherRecord{record{"TXT", relative(is.Proof.TXT), is.Proof.Text}, "Proves control before the name leads here, or where an A record is used."})
	}
	if is := p.Domain.Delegation; is != nil {
		text := "Has the certificate obtained before the name leads here, so that no visitor waits."
		if is.Required {
			text = "Needed: a certificate for a wildcard is obtained by it alone."
		}
		list = append(list, otherRecord{record{is.Type, relative(is.Name), is.Value}, text})
	}
	return list
}

type otherRecord struct {
	record
	For string
}

// Seen are the records that DNS has now, as the last check saw them.
func (p domainPage) Seen() (list []record) {
	if p.Check == nil {
		return nil
	}
	for _, a := range p.Check.DNS.Chain {
		list = append(list, record{"CNAME", a.Name, a.Target})
	}
	name := p.Domain.Host
	if n := len(p.Check.DNS.Chain); n > 0 {
		name = p.Check.DNS.Chain[n-1].Target
	}
	for _, a := range p.Check.DNS.Addresses {
		list = append(list, record{addressType(a.Is4()), name, a.String()})
	}
	return list
}

func addressType(is4 bool) string {
	if is4 {
		return "A"
	}
	return "AAAA"
}

// relative is the name of a record as DNS providers ask for it: without the domain that
// was registered, and "@" for that itself.
func relative(name string) string {
	zone, err := publicsuffix.EffectiveTLDPlusOne(strings.TrimPrefix(name, "*."))
	if err != nil {
		return name
	}
	if name == zone {
		return "@"
	}
	return strings.TrimSuffix(name, "."+zone)
}

// lifetime is a certificate's life as a line from 0 to 100.
type lifetime struct {
	Used, Renew float64
}

// Lifetime returns nil when there is no certificate.
func (p domainPage) Lifetime() *lifetime {
	c := p.Certificate
	if c == nil || c.NotAfter.IsZero() {
		return nil
	}
	out := &lifetime{Used: percent(c.NotBefore, c.NotAfter, p.Now), Renew: -1}
	if !c.RenewAt.IsZero() {
		out.Renew = percent(c.NotBefore, c.NotAfter, c.RenewAt)
	}
	return out
}
