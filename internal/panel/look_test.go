package panel_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/browsertest"
)

// looks are those with which every page is looked at: each width and each set of colours
// once, as the one does not depend on the other.
func looks() map[string]browsertest.Look {
	day, night := browsertest.Desktop, browsertest.Phone
	day.Height, night.Height = 1700, 3000 // to see all of a page
	night.Dark = true
	return map[string]browsertest.Look{"desktop": day, "phone-dark": night}
}

// TestLook_EveryPage looks at pages with a lot on them, in a browser: axe finds nothing,
// none is wider than its window, and nothing is asked of other hosts.
func TestLook_EveryPage(t *testing.T) {
	t.Parallel()
	b := browsertest.Start(t)
	s := open(t)
	admin := s.as(shingle.RoleAdmin, "")
	all := s.fill(admin)
	for name, look := range looks() {
		p := b.Page(t, look)
		p.Open(s.url + "/panel/sign-in")
		p.Await("h1", "Sign in")
		p.IsAccessible()
		p.Type("#token", admin.text)
		p.Follow("main button")
		for _, page := range slices.Sorted(maps.Keys(all)) {
			p.Open(s.url + "/panel/" + all[page])
			p.IsAccessible()
			p.Screenshot("look-" + page + "-" + name)
		}
		p.Open(s.url + "/panel/jobs/new?kind=delete")
		p.Type("#lines", "a.example.com")
		p.Follow("main form button.main")
		p.Await("h1", "Delete 1 domain?")
		p.IsAccessible()
		p.Screenshot("look-deletejob-" + name)
		p.Type("#confirm", "7")
		p.Follow("main form button.danger")
		p.Await("#confirm-error", "Enter 1, which is how many")
		p.IsAccessible()
		p.StaysAt(s.url)
	}
}

// fill has something of everything happen, and returns the paths of all pages.
func (s *site) fill(admin *visitor) map[string]string {
	now := time.Now()
	*s.certs = *busyShelf(now)
	s.crew.list = busyCrew(now)
	long := "the-shop-with-the-long-name.of-a-customer-with-a-long-name.example"
	for host, is := range map[string]shingle.Status{
		"blog.customer.com":  {State: shingle.StateActive, Message: "It works.", Who: shingle.WhoNobody},
		"moved.customer.com": {State: shingle.StateDrifting, Message: "moved.customer.com points to 203.0.113.7, not here. At GoDaddy, remove the A record 203.0.113.7 and set a record of type CNAME with the name \"moved\" and the value \"edge.example.com\".", Who: shingle.WhoCustomer},
		"caa.customer.com":   {State: shingle.StateVerifying, Message: "A CAA record of customer.com lets none of the certificate authorities issue.", Who: shingle.WhoOperator},
		long:                 {State: shingle.StatePending, Message: long + " has no address and no alias.", Who: shingle.WhoCustomer},
	} {
		s.domain(host, "acme")
		is.Since, is.Checked, is.Next = now.Add(-26*time.Hour), now.Add(-time.Minute), now.Add(time.Minute)
		s.status[host] = is
	}
	for n := range 30 {
		s.domain(fmt.Sprintf("host%02d.example.com", n), "")
	}
	for n, kind := range []shingle.EventType{shingle.EventDomainCreated, shingle.EventCertificateIssued, shingle.EventCertificateFailed} {
		check(s.t, s.events.Record(s.t.Context(), shingle.Event{ID: shingle.EventID("look", fmt.Sprint(n)), Type: kind, Host: "blog.customer.com", Tenant: "acme", By: "admin", At: now.Add(-time.Duration(n) * time.Hour), Data: []byte(`{"message":"the validation failed: 403 from 203.0.113.7","not_after":"2027-02-01T00:00:00Z"}`)}))
	}
	hook := admin.addHook("http://127.0.0.1:1/hooks/with/a/rather/long/path/for/an/address", "description", "tickets of the support")
	paths := map[string]string{
		"certificates": "certificates", "drill": "certificates?drill", "day": "certificates/" + now.UTC().AddDate(0, 0, 1).Format(time.DateOnly),
		"overview": "", "domains": "domains", "domains-none": "domains?text=nothing", "new": "domains/new", "domain": "domains/moved.customer.com", "domain-long": "domains/" + long,
		"edit": "domains/blog.customer.com/edit", "delete": "domains/blog.customer.com/delete", "revoke-links": "domains/blog.customer.com/setup/revoke",
		"edges": "edges", "webhooks": "webhooks", "webhook": hook, "deletehook": hook + "/delete",
		"tokens": "tokens", "revoke": "tokens/" + admin.token.ID + "/revoke", "events": "events", "missing": "nowhere",
		"jobs": "jobs", "newjob": "jobs/new",
	}
	lines := "a.example.com\nb.example.com\nlocalhost\n192.0.2.1\n" + strings.Repeat("c.example.com\n", 200)
	paths["job"] = admin.madeJob(admin.post("jobs", "kind", "create", "lines", lines))
	paths["job-lines"] = paths["job"] + "?lines"
	ctx, stop := context.WithCancel(s.t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.jobs.Run(ctx) }()
	admin.awaitJob(paths["job"])
	stop()
	<-ended
	paths["job-waits"] = admin.madeJob(admin.post("jobs", "kind", "delete", "lines", "a.example.com\nb.example.com", "confirm", "2"))
	return paths
}
