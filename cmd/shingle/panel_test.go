package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle/internal/browsertest"
)

// operator is somebody at the panel of a running `shingle dev`.
type operator struct {
	*browsertest.Page
	dev  *dev
	root string // of the panel
}

func (d *dev) panel(b *browsertest.Browser, look browsertest.Look) *operator {
	return &operator{Page: b.Page(d.t, look), dev: d, root: "http://" + d.ends.Control + "/panel/"}
}

func (d *dev) token() string {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.data, "token"))
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// zone is what the customers have set at their DNS providers.
func (d *dev) zone(lines ...string) {
	d.t.Helper()
	name := filepath.Join(d.data, "zone.txt")
	if err := os.WriteFile(name+".new", []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		d.t.Fatal(err)
	}
}

func (o *operator) open(path string) { o.Open(o.root + path) }

func (o *operator) signIn() {
	o.open("")
	o.Type("#token", o.dev.token())
	o.Follow("main button")
	o.Await("h1", "Overview")
}

// TestPanel_ADomainsLife is the tour: a domain is added, its customer sets a wrong record
// and then the right one, and the page says so without being asked.
func TestPanel_ADomainsLife(t *testing.T) {
	t.Parallel()
	b := browsertest.Start(t)
	d := startDev(t, t.TempDir())
	d.zone("shop.acme.localhost. 60 CNAME acme.oldhost.localhost.", "acme.oldhost.localhost. 60 A 127.0.0.2")
	o := d.panel(b, browsertest.Desktop)

	o.open("domains")
	o.Await("h1", "Sign in")
	o.IsAccessible()
	o.Type("#token", "shingle_abcdefghij_wrong")
	o.Follow("main button")
	o.Await("[role=alert]", "This token is not known here.")
	o.IsAccessible()
	o.Type("#token", d.token())
	o.Follow("main button")
	o.Await("h1", "Domains")
	o.IsAccessible()

	o.Follow("a.button.main")
	o.IsAccessible()
	o.Type("#host", "not a name")
	o.Follow("main form button")
	o.Await("#host-error", "Write the name alone")
	o.IsAccessible()
	o.Type("#host", "https://shop.acme.localhost/some/page")
	o.Type("#tenant", "acme")
	o.Follow("main form button.main")
	o.Await("h1", "shop.acme.localhost")
	o.Await("[role=status]", "The domain was added.")

	// The wrong record is explained, and what belongs in its place.
	o.Await("#live h2", "This domain does not point here yet.")
	o.Await("#live .pill", "The customer must act")
	o.Await("#live .message", "points to acme.oldhost.localhost, not here")
	o.Await("#check .seen", "CNAME shop.acme.localhost acme.oldhost.localhost")
	o.Await("#check .records", "Name shop")
	o.IsAccessible()
	target := o.Text("#check .records li:first-child div:nth-child(3) code")
	if !strings.HasSuffix(target, ".edge.operator.localhost") {
		t.Fatalf("the record to set is %q", target)
	}
	if out := o.Text("#check .records li:first-child button"); out != "Copy" {
		t.Errorf("the button to copy says %q", out)
	}
	o.open("domains/shop.acme.localhost")
	o.Await("#check .seen", "acme.oldhost.localhost")
	o.Screenshot("panel-waiting")
	dark := browsertest.Desktop
	dark.Dark = true
	at := o.at("domains/shop.acme.localhost", dark, browsertest.Phone)

	// Nobody touches the page while the customer sets the right one.
	d.zone("shop.acme.localhost. 60 CNAME " + target + ".")
	for _, p := range at {
		p.Await("#live h2", "This domain is live.")
		p.Await("#check .seen", "CNAME shop.acme.localhost "+target)
		p.IsAccessible()
	}
	o.Await("#live h2", "This domain is live.")
	o.Await("#certificate", "Valid")
	o.IsAccessible()
	if err := d.visit(d.client(true), "shop.acme.localhost"); err != nil {
		t.Errorf("the domain that is live: %v", err)
	}
	o.open("domains/shop.acme.localhost")
	o.Await("#traffic strong", "request")
	o.Await("#traffic", "No error of the origin")
	o.IsAccessible()
	at[0].Screenshot("panel-live-dark")
	at[1].Screenshot("panel-live-phone")

	o.open("domains/shop.acme.localhost/edit")
	o.IsAccessible()
	o.Type("#tags", "gold, eu")
	o.Type("#hsts", "31536000")
	o.Click("details summary")
	o.Type("#other", `{"rate_limit": {"requests": 0, "seconds": 1}}`)
	o.Follow("main form button.main")
	o.Await("#other-error", "rate_limit")
	o.IsAccessible()
	o.Type("#other", `{"metadata": {"plan": "pro"}}`)
	o.Follow("main form button.main")
	o.Await("[role=status]", "The changes were saved.")
	o.Await("dl", "Tags eu, gold")
	eventually(t, time.Minute, "the events have the change", func() bool {
		o.open("events?host=shop.acme.localhost")
		return strings.Contains(o.Text("main .events"), "Settings changed")
	})
	o.IsAccessible()

	o.open("domains/shop.acme.localhost/delete")
	o.Type("#confirm", "shop")
	o.Follow("main form button")
	o.Await("[role=alert]", "Enter the name of the domain")
	o.IsAccessible()
	o.Type("#confirm", "shop.acme.localhost")
	o.Follow("main form button")
	o.Await("[role=status]", "The domain was deleted.")
	eventually(t, time.Minute, "the deleted domain is refused", func() bool { return d.visit(d.client(true), "shop.acme.localhost") != nil })

	o.Follow(".me button")
	o.Await("h1", "Sign in")
	for _, p := range append(at, o) {
		p.StaysAt("http://" + d.ends.Control)
	}
}

// at opens a page for others, with other looks.
func (o *operator) at(path string, looks ...browsertest.Look) (list []*operator) {
	for _, look := range looks {
		other := &operator{Page: o.Browser.Page(o.dev.t, look), dev: o.dev, root: o.root}
		other.signIn()
		other.open(path)
		list = append(list, other)
	}
	return list
}

func eventually(t *testing.T, wait time.Duration, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(wait); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", wait, what)
		}
	}
}

// TestPanel_OtherPages looks at the rest, on a phone at night, and without scripts.
func TestPanel_OtherPages(t *testing.T) {
	t.Parallel()
	b := browsertest.Start(t)
	d := startDev(t, t.TempDir())
	d.zone("shop.acme.localhost. 60 CNAME acme.oldhost.localhost.", "acme.oldhost.localhost. 60 A 127.0.0.2")
	night := browsertest.Phone
	night.Dark = true
	o := d.panel(b, night)
	o.signIn()
	o.open("domains/new?host=shop.acme.localhost&tenant=acme")
	o.Follow("main form button.main")
	eventually(t, time.Minute, "the overview has the domain", func() bool {
		o.open("")
		return strings.Contains(o.Text("main .verdict.wait"), "shop.acme.localhost")
	})
	o.IsAccessible()
	for path, says := range map[string]string{"certificates": "The queue", "certificates?drill": "This is a drill", "edges": "Visitors", "events": "Domain added", "nowhere": "There is no page"} {
		o.open(path)
		o.Await("main", says)
		o.IsAccessible()
	}

	o.open("domains/shop.acme.localhost")
	o.Follow(`form[action$="/setup"] button`)
	o.Await("main code", "http://"+d.ends.Control+"/setup/")
	o.IsAccessible()

	o.open("webhooks")
	o.Type("#url", "nonsense://x")
	o.Follow("main form button.main")
	o.Await("#url-error", "The URL must")
	o.IsAccessible()
	o.Type("#url", "http://127.0.0.1:1/hook")
	o.Follow("main form button.main")
	o.Await("main code", "whsec_")
	o.IsAccessible()
	o.Follow(".where a")
	o.Follow(".list a")
	o.Follow("button[value=test]")
	o.Await("[role=alert]", "test event") // nothing listens there
	o.IsAccessible()
	o.Follow("a.button.danger")
	o.Await("main", "Nothing is sent there any more")
	o.IsAccessible()
	o.Follow("#delete-hook")
	o.Await("[role=status]", "The webhook was removed.")

	o.open("tokens")
	o.Type("#name", "reader")
	browsertest.Eval[string](o.Page, `document.getElementById("role").value = "read"`)
	o.Type("#days", "7")
	o.Follow("main form.stack button")
	o.Await("main code", "shingle_")
	o.IsAccessible()
	text := o.Text("main .verdict code")

	plain := browsertest.Desktop
	plain.NoScript = true
	reader := d.panel(b, plain)
	reader.open("")
	reader.Type("#token", text)
	reader.Follow("main button")
	reader.Await("h1", "Overview")
	reader.open("domains/shop.acme.localhost")
	reader.Await("#check .records", "Name shop")
	reader.Follow("form[data-check] button")
	reader.Await("#check .seen", "acme.oldhost.localhost")
	reader.open("tokens")
	reader.Await("[role=alert]", "which may not do this")

	o.open("tokens")
	o.Follow(`a[href$="/revoke"]`)
	o.Await("h1", "Revoke reader?")
	o.IsAccessible()
	o.Follow("#revoke-token")
	o.Await("[role=status]", "The token was revoked.")
	reader.open("domains")
	reader.Await("h1", "Sign in")
	o.StaysAt("http://" + d.ends.Control)
	reader.StaysAt("http://" + d.ends.Control)
}

// TestPanel_AJob has the fleet add domains, and looks on until it is done; and then where
// their certificates are in the calendar.
func TestPanel_AJob(t *testing.T) {
	t.Parallel()
	b := browsertest.Start(t)
	d := startDev(t, t.TempDir())
	o := d.panel(b, browsertest.Desktop)
	o.signIn()
	o.open("jobs/new")
	o.Type("#lines", `{"host": "localhost"`)
	o.Follow("main form button.main")
	o.Await("#lines-error", "Line 1: This is not JSON")
	o.IsAccessible()
	var lines strings.Builder
	for n := range 300 { // three seconds' work
		fmt.Fprintf(&lines, "shop%d.acme.localhost\n", n)
	}
	lines.WriteString("localhost\n")
	browsertest.Eval[string](o.Page, fmt.Sprintf(`document.getElementById("lines").value = %q`, lines.String()))
	o.Type("#tenant", "acme")
	o.Follow("main form button.main")
	o.Await("h1", "Create 301 domains")
	o.Await("#job h2", "It is done, but 1 line failed.") // nobody has touched the page
	o.Await("#job table", "localhost 301 Failed")
	o.IsAccessible()
	o.Screenshot("panel-job")
	o.open("domains?tenant=acme&text=shop299")
	o.Await(".list", "shop299.acme.localhost")

	o.open("domains/blog.customer.localhost") // there from the start
	o.Await("#certificate", "Valid")
	o.open("certificates")
	o.IsAccessible()
	o.Follow(".month a")
	o.Await("h1", "Due on")
	o.IsAccessible()
	o.StaysAt("http://" + d.ends.Control)
}
