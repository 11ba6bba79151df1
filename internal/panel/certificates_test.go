package panel_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// busyShelf has something of everything that the pages of certificates show.
func busyShelf(now time.Time) *shelf {
	today := now.UTC().Truncate(24 * time.Hour)
	s := &shelf{planned: map[string][]shingle.PlannedRenewal{}}
	s.queue = shingle.IssuanceQueue{
		CAs: []shingle.CABudget{
			{Directory: "https://acme-v02.api.letsencrypt.org/directory", Orders: shingle.Budget{Left: 12.4, Count: 300, Per: 3 * time.Hour}, Renewals: shingle.Budget{Left: 3500, Count: 3600, Per: time.Hour}},
			{Directory: "https://acme.zerossl.com/v2/DV90", Orders: shingle.Budget{Left: 300, Count: 300, Per: 3 * time.Hour}, Renewals: shingle.Budget{Left: 3600, Count: 3600, Per: time.Hour}, NotBefore: now.Add(20 * time.Minute)},
		},
		New: 37, Renew: 2, Waiting: []shingle.WaitingCertificate{
			{Host: "blog.customer.com", Since: now.Add(-2 * time.Minute), ETA: now},
			{Host: "a-rather-long-name-of-a-shop.customer-with-a-long-name.example", New: true, Since: now.Add(-3 * time.Hour), ETA: now.Add(25 * time.Minute)},
		},
	}
	s.calendar = shingle.RenewalCalendar{At: now.Add(-time.Minute), Due: 39, Days: make([]shingle.RenewalDay, 90)}
	for n := range s.calendar.Days {
		d := &s.calendar.Days[n]
		d.Day = today.AddDate(0, 0, n)
		switch {
		case n == 0:
			d.Renewals, d.New = 14, 3
		case n == 40:
			d.Renewals, d.Orders, d.Estimated, d.Over = 12_345, 12_345, true, true
		case n%9 == 4:
		default:
			d.Renewals = 40 + 37*n%1900
		}
	}
	for n := range 150 {
		day := today.AddDate(0, 0, 1).Format(time.DateOnly)
		s.planned[day] = append(s.planned[day], shingle.PlannedRenewal{Host: fmt.Sprintf("host%03d.example.com", n), At: today.AddDate(0, 0, 1).Add(time.Duration(n) * time.Minute), New: n == 1, Order: n%10 == 1})
	}
	return s
}

func TestCertificates_QueueBudgetsAndCalendar(t *testing.T) {
	s := open(t)
	now := time.Now()
	*s.certs = *busyShelf(now)
	v := s.as(shingle.RoleRead, "")
	a := v.see("certificates",
		"Let's Encrypt", "12 of 300 left", "It wants no order before", // budgets
		"37 new, 2 to renew", "its first certificate", "in 25 minutes", // the queue
		"in 90 days", "On one day more are planned", "14 renewals and 3 attempts for a first certificate", "about 12,345 renewals, more than the budget of a day", ">~12k<", ">1.4k<", "3600 more every hour")
	if n := strings.Count(a.text, "<caption>"); n < 3 || n > 5 {
		t.Errorf("%d months for 90 days", n)
	}
	for n := range 90 {
		day := now.UTC().AddDate(0, 0, n).Format(time.DateOnly)
		if leads := strings.Contains(a.text, `href="/panel/certificates/`+day+`"`); leads == (n%9 == 4 && n != 40) {
			t.Errorf("day %d (%s) leads to its domains: %t", n, day, leads)
		}
	}
	a = v.see("certificates?drill", "This is a drill", "4711 to renew")
	v.saysNot(a, "Planned renewals", "Show up to 1000")
	for n := range 30 {
		s.certs.queue.Waiting = append(s.certs.queue.Waiting, shingle.WaitingCertificate{Host: fmt.Sprintf("waits%02d.example.com", n), Since: now, ETA: now.Add(time.Hour)})
	}
	v.saysNot(v.see("certificates", "waits17.example.com", "Show up to 1000"), "waits18")
	v.saysNot(v.see("certificates?all", "waits29.example.com"), "Show up to 1000")

	// Of a store that takes too long, the rest is there.
	s.certs.fail = shingle.Errorf(shingle.CodeUnavailable, "the certificate store does not answer")
	v.see("certificates", "37 new", "They could not be counted now. The certificate store does not answer.")
}

func TestCertificates_ADayLeadsToItsDomains(t *testing.T) {
	s := open(t)
	now := time.Now()
	*s.certs = *busyShelf(now)
	v := s.as(shingle.RoleRead, "")
	day := now.UTC().AddDate(0, 0, 1).Format(time.DateOnly)
	a := v.see("certificates/"+day, `href="/panel/domains/host000.example.com"`, "00:01:00", "its first certificate", "a renewal, which counts as an order", "Next page")
	v.saysNot(a, "host100.example.com")
	_, next, _ := strings.Cut(a.text, `href="?after=`)
	next, _, _ = strings.Cut(next, `"`)
	a = v.see("certificates/"+day+"?after="+next, "host100.example.com", "host149.example.com", "First page")
	v.saysNot(a, "Next page", "host099.example.com")
	v.see("certificates/"+now.UTC().AddDate(0, 0, 5).Format(time.DateOnly), "Nothing is planned for this day.")
	v.see("certificates/2020-01-01", "This day is over.")
	for _, none := range []string{"2026-02-30", "tomorrow", "2026-12-01T00:00"} {
		v.says(v.want(404, v.get("certificates/"+none)), "There is no such day.")
	}
	acme := s.as(shingle.RoleTenant, "acme")
	acme.want(404, acme.get("certificates/"+day))
	acme.want(404, acme.get("certificates"))
}
