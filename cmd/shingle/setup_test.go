package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle/internal/browsertest"
)

// atGoDaddy is the customers' zone at a provider that is known, with more records.
func (d *dev) atGoDaddy(records string) {
	d.t.Helper()
	d.zone("customer.localhost. 60 NS ns1.domaincontrol.com.", "customer.localhost. 60 SOA ns1.domaincontrol.com. x. 1 60 60 60 1", records)
}

// run runs a command of shingle, and returns what it prints.
func (d *dev) run(args ...string) string {
	d.t.Helper()
	cmd := exec.Command("shingle", args...)
	cmd.Env = append(os.Environ(), "SHINGLE_DATA="+d.data)
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("shingle %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// setupLink adds a domain that leads elsewhere, and returns the link for its customer and
// the record that would be right.
func (d *dev) setupLink(host string) (link, right string) {
	d.t.Helper()
	d.atGoDaddy(host + ". 60 A 127.0.0.2")
	made := d.run("domains", "add", host, "--tenant", "acme")
	_, label, _ := strings.Cut(made, "cname ")
	label, _, _ = strings.Cut(strings.TrimSpace(label), "\n")
	return d.linkOf(host), fmt.Sprintf("%s. 60 CNAME %s.\n", host, label)
}

// linkOf makes a link to a domain's set-up page.
func (d *dev) linkOf(host string) string {
	d.t.Helper()
	_, link, _ := strings.Cut(d.run("domains", "setup-link", host), "link ")
	link, _, _ = strings.Cut(strings.TrimSpace(link), "\n")
	return link
}

func TestSetupPage_FromPendingToLive(t *testing.T) {
	t.Parallel()
	browser := browsertest.Start(t)
	d := startDev(t, t.TempDir())
	const host = "shop.customer.localhost"
	link, right := d.setupLink(host)
	control := "http://" + d.ends.Control

	phone := browser.Page(t, browsertest.Phone)
	desk := browser.Page(t, browsertest.Look{Width: 1280, Height: 1000, Dark: true})
	for _, p := range []*browsertest.Page{phone, desk} {
		if status := p.Open(link); status != http.StatusOK {
			t.Fatalf("status %d", status)
		}
		p.Await("[data-part=todo]", "What to enter at GoDaddy")
		p.Await("[role=status]", host+" leads to 127.0.0.2 so far")
		p.IsAccessible()
	}
	phone.Screenshot("setup-phone")
	desk.Screenshot("setup-dark")
	if got := browsertest.Eval[string](phone, `[...document.querySelectorAll("[data-copy]")].map(b => b.dataset.copy).join(" ")`); got != "shop "+strings.TrimSuffix(strings.Fields(right)[3], ".") {
		t.Errorf("to copy: %q", got)
	}

	phone.Click("[data-copy]") // it is copied or, where that is not allowed, selected
	phone.AwaitTrue(`document.querySelector("[data-copy]").innerText === "Copied" || getSelection().toString() === "shop"`)

	d.atGoDaddy(right)
	phone.Click("[data-key=check]")
	for _, p := range []*browsertest.Page{phone, desk} { // the other one sees it by itself
		p.Await("[role=status]", "Your site is live")
		p.IsAccessible()
		p.StaysAt(control)
	}
	phone.Screenshot("setup-phone-live")

	for _, language := range []string{"de", "es", "fr", "ja"} {
		p := browser.Page(t, browsertest.Phone)
		p.Open(link + "?lang=" + language)
		p.IsAccessible()
		if p.Text("h1") == phone.Text("h1") || browsertest.Eval[string](p, "document.documentElement.lang") != language {
			t.Errorf("%s: %s", language, p.Text("h1"))
		}
	}
	gone := browser.Page(t, browsertest.Phone)
	if status := gone.Open(link + "x"); status != http.StatusNotFound {
		t.Errorf("a link that is not good: %d", status)
	}
	gone.IsAccessible()
}

// TestSetupPage_LongWordsFit has a name without a place to break at in every language, on the
// smallest phone.
func TestSetupPage_LongWordsFit(t *testing.T) {
	t.Parallel()
	browser := browsertest.Start(t)
	d := startDev(t, t.TempDir())
	const host = "donaudampfschifffahrtsgesellschaft-bestellungen.customer.localhost"
	link, _ := d.setupLink(host)
	p := browser.Page(t, browsertest.Look{Width: 320, Height: 640, Phone: true})
	for _, language := range []string{"en", "de", "es", "fr", "ja"} {
		p.Open(link + "?lang=" + language)
		p.Await("[data-part=todo]", "GoDaddy")
		p.IsAccessible()
		if out := browsertest.Eval[string](p, `[...document.querySelectorAll("main *:not(.hidden)")].filter(e => e.clientWidth && getComputedStyle(e).display !== "inline" && e.scrollWidth > e.clientWidth + 1).map(e => e.className + ": " + e.innerText.slice(0, 40)).join("; ")`); out != "" {
			t.Errorf("%s: it sticks out of %s", language, out)
		}
	}
}

func TestSetupPage_WithoutScripts(t *testing.T) {
	t.Parallel()
	browser := browsertest.Start(t)
	d := startDev(t, t.TempDir())
	link, right := d.setupLink("shop.customer.localhost")
	p := browser.Page(t, browsertest.Look{Width: 1280, Height: 1000, NoScript: true})
	p.Open(link + "?lang=fr")
	p.Await("[data-part=todo]", "Ce qu’il faut saisir")
	p.Follow("[data-key=check]")
	p.Await("[data-part=todo]", "GoDaddy")
	d.atGoDaddy(right)
	for range 20 { // the certificate takes a moment
		if p.Text(".setup[data-stage=live]") != "" {
			break
		}
		p.Follow("[data-key=check]")
	}
	p.Await("[role=status]", "Votre site est en ligne")
	p.StaysAt("http://" + d.ends.Control)
}

// foreign is a page of the operator's own, at another origin and under a policy that
// allows no more than the widget needs.
func foreign(t *testing.T, control, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/page.css" {
			w.Header().Set("Content-Type", "text/css")
			fmt.Fprint(w, `:root { color-scheme: light dark } body { font: 18px/1.4 Georgia, serif; margin: 2rem auto; max-width: 50rem; padding: 0 1rem }
p { color: tomato; margin: 5rem } shingle-setup { --shingle-accent: light-dark(#7a1fa2, #e0a3ff); --shingle-radius: 0; --shingle-font: Georgia, serif }`)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Cross-Origin-Embedder-Policy", "require-corp")
		h.Set("Content-Security-Policy", fmt.Sprintf("default-src 'none'; img-src data:; style-src 'self'; script-src %[1]s; connect-src %[1]s; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'", control))
		fmt.Fprintf(w, `<!doctype html><html lang="en"><head><title>Settings</title><meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,"><link rel="stylesheet" href="/page.css"></head><body><main>%s</main></body></html>`, body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestSetupWidget_InAForeignPage(t *testing.T) {
	t.Parallel()
	browser := browsertest.Start(t)
	d := startDev(t, t.TempDir())
	const host = "shop.customer.localhost"
	link, right := d.setupLink(host)
	control := "http://" + d.ends.Control
	_, tag, _ := strings.Cut(d.run("domains", "setup-link", host), "widget ")
	tag = strings.TrimSpace(tag)
	page := foreign(t, control, tag)

	inside := func(p *browsertest.Page, text string) {
		t.Helper()
		p.AwaitTrue(fmt.Sprintf(`document.querySelector("shingle-setup")?.shadowRoot?.querySelector("[role=status]")?.innerText.includes(%q)`, text))
	}
	desk := browser.Page(t, browsertest.Look{Width: 1280, Height: 900})
	desk.Open(page + "/")
	inside(desk, "leads to 127.0.0.2 so far")
	desk.IsAccessible()
	desk.Screenshot("setup-widget")
	if got := browsertest.Eval[string](desk, `getComputedStyle(document.querySelector("shingle-setup").shadowRoot.querySelector("p")).color`); got == "rgb(255, 99, 71)" {
		t.Error("the page's style sheet reaches into the widget")
	}
	if got := browsertest.Eval[string](desk, `getComputedStyle(document.querySelector("shingle-setup").shadowRoot.querySelector(".button")).color`); got != "rgb(122, 31, 162)" {
		t.Errorf("the accent is %s", got)
	}

	phone := browser.Page(t, browsertest.Look{Width: 390, Height: 844, Phone: true, Dark: true})
	phone.Open(foreign(t, control, strings.Replace(tag, "async", `data-lang="ja" data-theme="dark" async`, 1)) + "/")
	inside(phone, "127.0.0.2")
	phone.IsAccessible()
	phone.Screenshot("setup-widget-phone")

	browsertest.Eval[bool](desk, `window.heard = [], document.addEventListener("shingle-setup", e => heard.push(e.detail.stage)), true`)
	d.atGoDaddy(right)
	browsertest.Eval[bool](desk, `document.querySelector("shingle-setup").shadowRoot.querySelector("[data-key=check]").click(), true`)
	inside(desk, "Your site is live")
	desk.AwaitTrue(`heard.at(-1) === "live"`)
	inside(phone, "サイトが公開されました")
	desk.IsAccessible()
	desk.StaysAt(page, control)

	// A page may place it itself, and take it away.
	own := browser.Page(t, browsertest.Desktop)
	own.Open(foreign(t, control, fmt.Sprintf(`<shingle-setup link=%q lang="es"></shingle-setup><script src="%s/setup/kit.js" async></script>`, link, control)) + "/")
	inside(own, "Su sitio está en línea")
	browsertest.Eval[bool](own, `document.querySelector("shingle-setup").setAttribute("lang", "de"), true`)
	inside(own, "Ihre Website ist online")
	browsertest.Eval[bool](own, `document.querySelector("shingle-setup").remove(), true`)
}

// TestSetupPage_LinkThatLeaked has the operator end a domain's links, in the panel.
func TestSetupPage_LinkThatLeaked(t *testing.T) {
	t.Parallel()
	browser := browsertest.Start(t)
	d := startDev(t, t.TempDir())
	const host = "shop.customer.localhost"
	link, _ := d.setupLink(host)
	stranger := browser.Page(t, browsertest.Phone)
	stranger.Open(link)
	stranger.Await("[role=status]", host+" leads to 127.0.0.2 so far")

	o := d.panel(browser, browsertest.Phone)
	o.signIn()
	o.open("domains/" + host)
	o.Follow(`form[action$="/setup"] button`)
	o.Await("h1", "For the customer")
	o.IsAccessible()
	o.Follow(`a[href$="/setup/revoke"]`)
	o.Await("h1", "Revoke the links to its set-up page?")
	o.IsAccessible()
	o.Follow("main form .danger")
	o.Await("[role=status]", "The links to its set-up page have ended.")
	for range 100 { // it is logged a moment later
		if o.open("events?host=" + host); strings.Contains(o.Text(".events"), "Set-up links revoked") {
			break
		}
	}
	o.Await(".events", "Set-up links revoked")

	stranger.Click("[data-key=check]")
	stranger.Await("[data-stage=gone]", "This link is no longer good")
	if status := stranger.Open(link); status != http.StatusGone {
		t.Errorf("the link: %d", status)
	}
	if status := stranger.Open(d.linkOf(host)); status != http.StatusOK {
		t.Errorf("a new link: %d", status)
	}
}
