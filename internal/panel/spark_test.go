package panel_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/browsertest"
)

// day is an [api.TrafficLog]: what visitors ask in the course of a day.
type day struct {
	busy  uint64 // requests of the hour with the most
	fails int    // in every such hour some fail
	err   error
}

func (d *day) Report(_ context.Context, _ string, hours int) (r shingle.TrafficReport, err error) {
	now := time.Date(2026, 11, 25, 16, 0, 0, 0, time.UTC)
	for i := range hours {
		x := shingle.TrafficHour{Hour: now.Add(-time.Duration(hours-1-i) * time.Hour)}
		n := uint64(float64(d.busy) * math.Pow(math.Sin(float64(i)/float64(hours)*math.Pi), 2))
		if x.Answers[2], x.BytesOut = n, 11_700*n; d.fails > 0 && i%d.fails == 0 {
			x.Answers[2], x.Answers[4], x.Answers[5] = n-n/5, n/40, n/5-n/40
			x.OriginErrors, x.Origin5xx = x.Answers[5]/2, x.Answers[5]-x.Answers[5]/2
		}
		r.Hours = append(r.Hours, x)
	}
	return r, d.err
}

// oldDomain adds a domain that has been there for long.
func (s *site) oldDomain(host string) {
	s.t.Helper()
	_, err := s.store.CreateDomain(s.t.Context(), shingle.Domain{Host: host}, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	check(s.t, err)
}

func TestTraffic_OnADomainsPage(t *testing.T) {
	s := open(t)
	s.oldDomain("blog.example.com")
	v := s.as(shingle.RoleRead, "")
	for _, x := range []struct {
		is    day
		says  []string
		lacks string
	}{
		{day{}, []string{`aria-label="0 requests in 24 h, 0 errors of the origin"`, "<strong>0 requests</strong>"}, "<rect class=\"requests\""},
		{day{busy: 5000}, []string{`aria-label="59,988 requests in 24 h, 0 errors of the origin; 5,000 in the busiest hour"`, "No error of the origin", "702 MB sent"}, "class=\"errors\""},
		{day{busy: 5000, fails: 5}, []string{"errors, as the origin did not answer", "errors that the origin answered", "class=\"errors\""}, "No error"},
		{day{err: shingle.ErrUnavailable}, []string{"cannot be told now"}, "<svg viewBox=\"0 0 240"},
	} {
		s.traffic = x.is
		for _, path := range []string{"domains/blog.example.com", "domains/blog.example.com/live"} {
			text := v.want(200, v.get(path)).text
			for _, says := range x.says {
				if !strings.Contains(text, says) {
					t.Errorf("%s with %+v does not say %s:\n%s", path, x.is, says, text)
				}
			}
			if strings.Contains(text, x.lacks) || strings.Contains(text, "style=") {
				t.Errorf("%s with %+v:\n%s", path, x.is, text)
			}
		}
	}
}

// TestTraffic_InABrowser looks at a busy day, by day and by night, and on a phone.
func TestTraffic_InABrowser(t *testing.T) {
	b := browsertest.Start(t)
	s := open(t)
	s.oldDomain("blog.example.com")
	s.traffic = day{busy: 5000, fails: 7}
	text, _, err := s.keeper.CreateToken(t.Context(), shingle.Token{Name: "reader", Role: shingle.RoleRead})
	check(t, err)
	dark, phone := browsertest.Desktop, browsertest.Phone
	dark.Dark, phone.Dark = true, true
	for name, look := range map[string]browsertest.Look{"panel-traffic": browsertest.Desktop, "panel-traffic-dark": dark, "panel-traffic-phone": phone} {
		p := b.Page(t, look)
		p.Open(s.url + "/panel/domains/blog.example.com")
		p.Type("#token", text)
		p.Follow("main button")
		p.Await("#traffic", "in the busiest hour")
		p.IsAccessible()
		browsertest.Eval[bool](p, `document.getElementById("traffic").scrollIntoView({block: "center"}), true`)
		p.Screenshot(name)
		p.StaysAt(s.url)
	}
}
