package kit

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// SetupEmail returns the subject and the text of an e-mail that asks for a domain's
// records, with the link to its page, in one of [Languages]. Lines end with a line
// feed. It returns [shingle.ErrInvalid] for another language.
func (k *Kit) SetupEmail(d shingle.Domain, language, link string, until time.Time) (subject, text string, err error) {
	if !slices.Contains(Languages, language) {
		return "", "", &shingle.Error{Code: shingle.CodeInvalid, Field: "language", Message: "there is " + strings.Join(Languages, ", ")}
	}
	v := &view{words: words{Lang: language}, Host: unicode(d.Host), ASCII: d.Host, Service: k.cfg.Service}
	v.vars = variables(v, &shingle.CheckResult{})
	why := "mail.why"
	if k.cfg.Service != "" {
		why = "mail.why.service"
	}
	lines := []string{v.Say("mail.hello"), "", v.Say(why), "", v.Say("mail.page"), "", link, ""}
	if !until.IsZero() {
		lines = append(lines, v.Say("mail.until", "{date}", dateIn(language, until)), "")
	}
	lines = append(lines, v.Say("mail.records"), "")
	for _, r := range k.usual(&d) {
		lines = append(lines, v.recordLines(&r)...)
	}
	lines = append(lines, v.Say("mail.also"), "")
	return v.Say("mail.subject"), strings.Join(lines, "\n"), nil
}

func (w *words) recordLines(r *shingle.DNSRecord) (lines []string) {
	for _, x := range [][2]string{{"field.type", r.Type}, {"field.name", r.Name}, {"field.value", r.Value}} {
		lines = append(lines, "  "+w.Say("mail.record", "{what}", w.Say(x[0]), "{value}", x[1]))
	}
	return append(lines, "")
}

// mailto returns the URL that has a browser begin such an e-mail (RFC 6068), whose
// link is that of the page.
func (k *Kit) mailto(d *shingle.Domain, language, link string) string {
	subject, text, err := k.SetupEmail(*d, language, link, time.Time{})
	if err != nil {
		return ""
	}
	escape := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	return "mailto:?subject=" + escape(subject) + "&body=" + escape(strings.ReplaceAll(text, "\n", "\r\n"))
}
