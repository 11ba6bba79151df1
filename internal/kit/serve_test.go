package kit_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/kit"
)

// away is a domain that leads elsewhere, at a provider that is known.
var away = shingle.CheckResult{DNS: shingle.DNSResult{
	Addresses: []netip.Addr{netip.MustParseAddr("185.230.63.107")}, Zone: "customer.com", Provider: "GoDaddy", Service: "Wix",
	Set:    []shingle.DNSRecord{{Type: "CNAME", Name: "blog", FQDN: host, Value: "acme.edge.example.com"}},
	Remove: []shingle.DNSRecord{{Type: "A", Name: "blog", FQDN: host, Value: "185.230.63.107"}},
}}

func TestPage_SaysWhatToEnter(t *testing.T) {
	d := open(t)
	link := d.link(d.add(host, "acme"))
	d.checker.finds(shingle.StatePending, shingle.Finding{Reason: shingle.ReasonPointsElsewhere, Message: "It points to Wix."}, away)
	d.shows("GET", link, 200, "Looking at your DNS", "<noscript>", `data-new`)
	body := d.shows("POST", link, 200, "What to enter at GoDaddy", "leads to Wix, 185.<wbr>230.<wbr>63.<wbr>107 so far", `data-copy="acme.edge.example.com"`,
		"Remove what is in the way", "<code>185.<wbr>230.<wbr>63.<wbr>107</code>", `<code>blog</code>`, "In full: blog.<wbr>customer.<wbr>com", "It points to Wix.", `data-next="10"`)
	if strings.Contains(body, "data-new") || strings.Contains(body, "proof-of-acme") {
		t.Errorf("the page has what it should not:\n%s", body)
	}
	d.shows("GET", link, 200, "What to enter at GoDaddy") // it is remembered

	d.checker.finds(shingle.StateIssuing, shingle.Finding{Reason: shingle.ReasonCertificateOrdered}, shingle.CheckResult{})
	d.shows("GET", link+"/view", 200, `data-stage="certificate"`, "the certificate is on its way", `data-next="5"`)
	d.checker.finds(shingle.StateActive, shingle.Finding{Reason: shingle.ReasonServed}, shingle.CheckResult{})
	body = d.shows("GET", link+"/view", 200, `data-stage="live"`, "Your site is live", `href="https://blog.customer.com/"`, `data-next="0"`)
	if strings.Contains(body, "<html") || strings.Contains(body, "Check now") {
		t.Errorf("the part has what it should not:\n%s", body)
	}
	d.checker.finds(shingle.StateBlocked, shingle.Finding{Reason: shingle.ReasonBlocked}, shingle.CheckResult{})
	d.shows("GET", link, 200, "switched off")
	d.checker.finds(shingle.StateVerifying, shingle.Finding{Reason: shingle.ReasonUnreachable, Message: "No connection."}, shingle.CheckResult{})
	d.shows("GET", link, 200, "on our side")
}

func TestPage_ProofWhereItIsNeeded(t *testing.T) {
	d := open(t)
	proof := shingle.DNSRecord{Type: "TXT", Name: "_shingle-challenge", FQDN: "_shingle-challenge.customer.com", Value: "proof-of-acme"}
	look := func(domain string, state shingle.State, reason shingle.Reason, r shingle.CheckResult) string {
		t.Helper()
		d.wait(time.Minute)
		row, err := d.store.Domain(t.Context(), domain)
		if err != nil {
			row = d.add(domain, "acme")
		}
		d.checker.finds(state, shingle.Finding{Reason: reason}, r)
		d.checker.status.Host, d.checker.status.ProofNeeded = domain, true
		return d.shows("POST", d.link(row)+"/check", 200)
	}
	cname := []shingle.DNSRecord{{Type: "CNAME", Name: "x", FQDN: "x", Value: "acme.edge.example.com"}}
	for name, c := range map[string]struct {
		body string
		want bool
	}{
		"a CNAME record is a proof":    {look(host, shingle.StatePending, shingle.ReasonNoRecord, shingle.CheckResult{DNS: shingle.DNSResult{Set: cname, Proof: &proof}}), false},
		"one that is flattened is not": {look("customer.com", shingle.StatePending, shingle.ReasonNoRecord, shingle.CheckResult{DNS: shingle.DNSResult{Set: cname, Proof: &proof}}), true},
		"an address is not": {look("customer.com", shingle.StatePending, shingle.ReasonNoRecord, shingle.CheckResult{DNS: shingle.DNSResult{
			Set: []shingle.DNSRecord{{Type: "A", Name: "@", FQDN: "customer.com", Value: "192.0.2.1"}}, Proof: &proof}}), true},
		"points here without one": {look(host, shingle.StateVerifying, shingle.ReasonProofNeeded, shingle.CheckResult{DNS: shingle.DNSResult{
			Finding: shingle.Finding{Reason: shingle.ReasonPointsHere}}}), true},
		"seen already": {look("customer.com", shingle.StatePending, shingle.ReasonNoRecord, shingle.CheckResult{DNS: shingle.DNSResult{
			Proven: true, Set: cname, Proof: &proof}}), false},
	} {
		if got := strings.Contains(c.body, "proof-of-acme"); got != c.want {
			t.Errorf("%s: %t\n%s", name, got, c.body)
		}
	}
	if live := look("*.shop.com", shingle.StateActive, shingle.ReasonServed, shingle.CheckResult{}); !strings.Contains(live, "Your site is live") || strings.Contains(live, `href="https://*`) {
		t.Errorf("a wildcard that is live:\n%s", live)
	}
	wild := look("*.customer.com", shingle.StatePending, shingle.ReasonNoRecord, shingle.CheckResult{DNS: shingle.DNSResult{Zone: "customer.com", Set: cname}})
	if !strings.Contains(wild, "<code>_acme-challenge</code>") || !strings.Contains(wild, "acme.acme.example.com") {
		t.Errorf("a wildcard's second record is not there:\n%s", wild)
	}
}

func TestPage_OtherTenantsResultIsNotShown(t *testing.T) {
	d := open(t)
	row := d.add(host, "acme")
	d.checker.finds(shingle.StatePending, shingle.Finding{Reason: shingle.ReasonPointsElsewhere}, away)
	d.shows("POST", d.link(row), 200, "GoDaddy")
	row.Tenant = "rival"
	row, err := d.store.UpdateDomain(t.Context(), row, d.clock())
	check(t, err)
	if body := d.shows("GET", d.link(row), 200, "rival.edge.example.com"); strings.Contains(body, "acme.edge") {
		t.Errorf("another's target:\n%s", body)
	}
}

func TestPage_ChecksAreBounded(t *testing.T) {
	d := open(t)
	link := d.link(d.add(host, "acme"))
	d.checker.finds(shingle.StatePending, shingle.Finding{Reason: shingle.ReasonPointsElsewhere}, away)
	for range 30 {
		d.shows("POST", link+"/check", 200, "GoDaddy")
	}
	if n := d.checker.count(); n != 4 {
		t.Errorf("%d checks at once", n)
	}
	for range 10 {
		d.wait(4 * time.Second)
		d.shows("POST", link, 200, "GoDaddy")
	}
	if n := d.checker.count(); n != 9 {
		t.Errorf("%d checks in the long run", n)
	}
	for range 5 {
		d.shows("GET", link, 200)
	}
	if n := d.checker.count(); n != 9 {
		t.Errorf("to look has %d checks made", n)
	}
}

func TestPage_AFailingCheckIsNoError(t *testing.T) {
	d := open(t)
	link := d.link(d.add(host, "acme"))
	d.checker.err = shingle.Errorf(shingle.CodeLimited, "too many")
	d.shows("POST", link, 200, "Looking at your DNS")
}

func TestPage_Heads(t *testing.T) {
	d := open(t)
	link := d.link(d.add(host, "acme"))
	resp, _ := d.do("GET", link)
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Robots-Tag": "noindex",
		"Access-Control-Allow-Origin": "", "Content-Language": "en",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if csp := resp.Header.Get("Content-Security-Policy"); strings.Contains(csp, "unsafe") || !strings.HasPrefix(csp, "default-src 'none';") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("policy %q", csp)
	}
	if resp, _ := d.do("GET", link+"/view"); resp.Header.Get("Access-Control-Allow-Origin") != "*" || resp.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("the part says %q", resp.Header)
	}
	resp, body := d.do("GET", d.url+"/setup/kit.js")
	if resp.Header.Get("ETag") == "" || !strings.Contains(body, "shingle-setup") || strings.Contains(body, "innerHTML =") {
		t.Errorf("script: %q", resp.Header)
	}
	if resp, _ := d.do("GET", d.url+"/setup/kit.js", "If-None-Match", resp.Header.Get("ETag")); resp.StatusCode != http.StatusNotModified {
		t.Errorf("again: %s", resp.Status)
	}
	if resp, _ := d.do("PUT", link); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("PUT: %s", resp.Status)
	}
}

func TestPage_Languages(t *testing.T) {
	d := open(t)
	link := d.link(d.add(host, "acme"))
	for _, c := range []struct{ query, accept, want string }{
		{"", "", "en"}, {"", "de-CH, en;q=0.8", "de"}, {"", "en;q=0.8, fr;q=0.9", "fr"}, {"", "tlh, *", "en"}, {"?lang=ja", "de", "ja"},
		{"?lang=xx", "de", "de"}, {"?lang=%22%3E", "es-419", "es"}, {"", "fr;q=0, es;q=0.1", "es"}, {"", "de;q=x", "en"},
	} {
		resp, body := d.do("GET", link+c.query, "Accept-Language", c.accept)
		if got := resp.Header.Get("Content-Language"); got != c.want || !strings.Contains(body, `<html lang="`+c.want+`">`) {
			t.Errorf("%q %q: %s, want %s", c.query, c.accept, got, c.want)
		}
	}
}

func TestEmail(t *testing.T) {
	d := open(t)
	row := d.add(host, "acme")
	for _, language := range kit.Languages {
		subject, text, err := d.kit.SetupEmail(row, language, "https://setup.example.com/setup/x", d.clock())
		check(t, err)
		for _, want := range []string{"https://setup.example.com/setup/x\n", "CNAME", host, "acme.edge.example.com", "2026", "Acme Sites"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", language, want, text)
			}
		}
		if !strings.Contains(subject, host) || strings.ContainsAny(subject+text, "{}\r") {
			t.Errorf("%s: %s\n%s", language, subject, text)
		}
	}
	if _, _, err := d.kit.SetupEmail(row, "xx", "", d.clock()); err == nil {
		t.Error("a language that there is not")
	}
	if body := d.shows("GET", d.link(row), 200); !strings.Contains(body, `href="mailto:?subject=DNS%20records`) {
		t.Errorf("no e-mail to forward in\n%s", body)
	}
}
