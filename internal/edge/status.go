package edge

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strconv"
	"time"

	"github.com/shingle-proxy/shingle"
)

//go:embed status.html
var statusHTML string

var statusTemplate = template.Must(template.New("status").Parse(statusHTML))

// statusPage tells a visitor why a site cannot be had over HTTPS yet. It is for
// strangers, and its words are ours alone: what the CA said may quote addresses,
// accounts and whatever a server sent. The operator and the API have that.
type statusPage struct {
	Host    string
	Title   string
	Text    []string
	Refresh int           // seconds after which a browser asks again; 0: never
	retry   time.Duration // after which a program may
}

const (
	statusRefresh = 5 * time.Second
	statusReload  = 30 * time.Second // a page whose wait is longer does not reload itself
	statusRetry   = 5 * time.Minute  // when nobody knows better
)

// newStatusPage returns the page for a host that is not ready.
func newStatusPage(host string, r shingle.Readiness, now time.Time) statusPage {
	p := statusPage{Host: host, retry: statusRefresh}
	switch {
	case r.Issuing:
		p.Title = "This site is being set up"
		p.Text = []string{"Its certificate is being issued right now. This page goes on to the site by itself."}
	case r.State == shingle.CertificateWaiting:
		p.Title = "This site is being set up"
		p.Text = []string{"Its certificate waits for its turn at the certificate authority.", turn(r.Next, now)}
	case r.State == shingle.CertificateFailing:
		p.Title = "This site cannot be reached securely yet"
		p.Text = []string{reason(r), whoActs(r.Who), expected("The next attempt", r.Next, now)}
	default:
		p.Title = "This site cannot be reached securely"
		p.Text = []string{reason(r), whoActs(r.Who), "It is not tried again until something changes."}
	}
	if r.State == shingle.CertificateFailing || r.State == shingle.CertificateStopped {
		p.retry = statusRetry
	}
	if r.Next.After(now) {
		p.retry = max(statusRefresh, r.Next.Sub(now))
	}
	if r.Issuing {
		p.retry = statusRefresh
	}
	if p.retry <= statusReload {
		p.Refresh = int(p.retry.Seconds())
	}
	return p
}

// reason puts a problem type of the CA, or why it was not asked, into words for the
// owner of the domain.
func reason(r shingle.Readiness) string {
	switch r.Reason {
	case shingle.ReasonProofNeeded, shingle.ReasonOtherTenant:
		return "Nothing shows yet that the name belongs to whoever has set it up here. Its owner can prove it by the DNS record that " +
			"the instructions name for that."
	case shingle.ReasonCAAForbids, shingle.ReasonCAAUnreadable:
		r.Problem = "caa"
	}
	switch r.Problem {
	case "dns":
		return "The name was not found in the DNS, or its name servers do not answer."
	case "caa":
		return "A CAA record in the DNS of this name forbids the certificate authority to issue a certificate."
	case "connection", "tls", "unauthorized", "incorrectResponse":
		return "The certificate authority looked for this service under the name and found something else, or nothing."
	case "rejectedIdentifier", "unsupportedIdentifier":
		return "The certificate authority issues no certificate for this name."
	}
	return "A certificate could not be had."
}

func whoActs(who string) string {
	switch who {
	case shingle.WhoCustomer:
		return "If the domain is yours: compare its DNS records with the instructions that you were given. " +
			"The name must lead to this service alone, by A, AAAA and CNAME records."
	case shingle.WhoOperator:
		return "The operator of this service has to act."
	case shingle.WhoCA:
		return "The certificate authority is out of order at the moment."
	}
	return "Nobody has to do anything."
}

// turn says when a certificate that waits is expected. Once it is due only the
// queue knows, which is not read for strangers.
func turn(at, now time.Time) string {
	if !at.After(now) {
		return "That usually takes less than a minute, and longer when many sites are set up at once."
	}
	return expected("It", at, now)
}

// expected says when something comes, in the precision that a visitor needs.
func expected(what string, at, now time.Time) string {
	left := at.Sub(now)
	switch {
	case at.IsZero() || left <= 0:
		return what + " is due at any moment."
	case left < 90*time.Second:
		return what + " is expected in about a minute."
	case left < 90*time.Minute:
		return fmt.Sprintf("%s is expected in about %d minutes.", what, int(left.Round(time.Minute)/time.Minute))
	case left < 48*time.Hour:
		return fmt.Sprintf("%s is expected in about %d hours.", what, int(left.Round(time.Hour)/time.Hour))
	}
	return fmt.Sprintf("%s is expected in about %d days.", what, int(left.Round(24*time.Hour)/(24*time.Hour)))
}

// writeStatus answers 503 with p.
func writeStatus(w ResponseWriter, r *Request, p statusPage) {
	var b bytes.Buffer
	if err := statusTemplate.Execute(&b, p); err != nil { // it has no way to fail
		writePage(w, r, pageBusy)
		return
	}
	writeBody(w, r, 503, htmlType, b.Bytes(),
		Field{"Retry-After", strconv.Itoa(int(p.retry / time.Second))},
		Field{"Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"},
		Field{"Referrer-Policy", "no-referrer"})
}
