package panel_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/browsertest"
)

// looks are those with which every page is looked at.
func looks() map[string]browsertest.Look {
	day, small := browsertest.Desktop, browsertest.Phone
	day.Height, small.Height = 1700, 3000 // to see all of a page
	dark, night := day, small
	dark.Dark, night.Dark = true, true
	return map[string]browsertest.Look{"desktop": day, "desktop-dark": dark, "phone": small, "phone-dark": night}
}

// TestLook_EveryPage looks at pages with a lot on them, in a browser: axe finds nothing,
// none is wider than its window, and nothing is asked of other hosts.
func TestLook_EveryPage(t *testing.T) {
	t.Parallel()
	b := browsertest.Start(t)
	s := open(t)
	now := time.Now()
	*s.certs = *busyShelf(now)
	admin := s.as(shingle.RoleAdmin, "")
	lines := "a.example.com\nb.example.com\nlocalhost\n192.0.2.1\n" + strings.Repeat("c.example.com\n", 200)
	done := admin.madeJob(admin.post("jobs", "kind", "create", "lines", lines))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.jobs.Run(ctx) }()
	admin.awaitJob(done)
	stop()
	<-ended
	waits := admin.madeJob(admin.post("jobs", "kind", "delete", "lines", "a.example.com\nb.example.com", "confirm", "2"))
	for name, look := range looks() {
		p := b.Page(t, look)
		p.Open(s.url + "/panel/")
		p.Type("#token", admin.text)
		p.Follow("main button")
		for page, path := range map[string]string{
			"certificates": "certificates", "day": "certificates/" + now.UTC().AddDate(0, 0, 1).Format(time.DateOnly),
			"jobs": "jobs", "job": done, "job-waits": waits, "job-lines": done + "?lines", "newjob": "jobs/new?kind=delete",
		} {
			p.Open(s.url + "/panel/" + path)
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
