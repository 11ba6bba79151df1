package kit_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// TestConnect_LeadsBackToOnesOwnLink: what a check found is shown to all who have a link to
// the domain, and must not tell one of them another's link.
func TestConnect_LeadsBackToOnesOwnLink(t *testing.T) {
	d, _ := connect(t)
	row := d.add(host, "acme")
	long := d.link(row)
	path, err := d.kit.SetupPath(t.Context(), row, d.clock().Add(time.Hour))
	check(t, err)
	short := d.url + path
	d.checker.finds(shingle.StatePending, shingle.Finding{Reason: shingle.ReasonPointsElsewhere}, away)
	back := func(method, link string) string {
		t.Helper()
		u, err := url.Parse(offered(d.shows(method, link, 200)))
		check(t, err)
		return u.Query().Get("redirect_uri")
	}
	if got := back("POST", long); got != long {
		t.Errorf("leads to %s", got)
	}
	if got := back("GET", short); got != "" {
		t.Errorf("the short link's page leads to %s", got)
	}
	if got := back("POST", short); got != short {
		t.Errorf("after a check of its own it leads to %s", got)
	}
}
