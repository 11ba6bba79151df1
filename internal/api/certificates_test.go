package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

// shelf is an [api.Certificates] with a fixed content.
type shelf struct {
	list      []shingle.Certificate
	renewed   []string
	uploads   []shingle.Upload
	limit     int
	drill     bool
	discarded []string
	retired   []string // what was revoked and dropped, in order
	fail      error
}

func (s *shelf) Revoke(_ context.Context, host string) error {
	s.retired = append(s.retired, "revoke "+host)
	return s.fail
}

func (s *shelf) Drop(_ context.Context, host string) error {
	s.retired = append(s.retired, "drop "+host)
	return s.fail
}

func (s *shelf) Info(_ context.Context, host string) (shingle.Certificate, error) {
	for _, c := range s.list {
		if c.Host == host {
			c.Limits = []shingle.NameLimits{{Directory: "https://ca.example/dir", Failures: shingle.Budget{Left: 0.5, Count: 5, Per: time.Hour}, NotBefore: clock}}
			return c, nil
		}
	}
	return shingle.Certificate{}, shingle.Errorf(shingle.CodeNotFound, "there is no certificate for %s", host)
}

func (s *shelf) List(_ context.Context, after string, limit int) ([]shingle.Certificate, error) {
	i := slices.IndexFunc(s.list, func(c shingle.Certificate) bool { return c.Host > after })
	if i < 0 {
		return nil, nil
	}
	return s.list[i:min(i+limit, len(s.list))], nil
}

func (s *shelf) Delegation(_ context.Context, domain, tenant string) (shingle.Delegation, error) {
	if tenant == "" {
		return shingle.Delegation{}, shingle.ErrNotFound
	}
	return shingle.Delegation{Name: "_acme-challenge." + strings.TrimPrefix(domain, "*."), Target: tenant + ".acme.example.com"}, nil
}

func (s *shelf) Upload(ctx context.Context, host string, u shingle.Upload) (shingle.Certificate, error) {
	s.uploads = append(s.uploads, u)
	if !strings.Contains(u.Key, "PRIVATE KEY") {
		return shingle.Certificate{}, &shingle.Error{Code: shingle.CodeInvalid, Field: "key", Message: "there is no private key in it"}
	}
	if u.IfNewer {
		return shingle.Certificate{}, shingle.Errorf(shingle.CodeExists, "one that was issued later is there")
	}
	c, err := s.Info(ctx, host)
	c.Uploaded, c.Keep, c.Warnings = true, u.Keep, []string{"nobody trusts it"}
	return c, err
}

func (s *shelf) Renew(ctx context.Context, host string) error {
	_, err := s.Info(ctx, host)
	if err == nil {
		s.renewed = append(s.renewed, host)
	}
	return err
}

func (s *shelf) Discard(ctx context.Context, host string) error {
	_, err := s.Info(ctx, host)
	if err == nil {
		s.discarded = append(s.discarded, host)
	}
	return err
}

func (s *shelf) Queue(_ context.Context, limit int) (shingle.IssuanceQueue, error) {
	s.limit = limit
	return shingle.IssuanceQueue{
		CAs:     []shingle.CABudget{{Directory: "https://ca.example/dir", Orders: shingle.Budget{Left: 2.5, Count: 300, Per: 3 * time.Hour}}},
		Waiting: []shingle.WaitingCertificate{{Host: "a.example.com", New: true, Since: clock, ETA: clock.Add(time.Hour)}}, New: 1,
	}, nil
}

func (s *shelf) Drill(ctx context.Context, limit int) (shingle.IssuanceQueue, error) {
	s.drill = true
	return s.Queue(ctx, limit)
}

func (s *shelf) Calendar(context.Context) (shingle.RenewalCalendar, error) {
	day := clock.UTC().Truncate(24 * time.Hour)
	return shingle.RenewalCalendar{At: clock, Due: 3, More: true, Days: []shingle.RenewalDay{
		{Day: day, Renewals: 2, Orders: 1, New: 1}, {Day: day.AddDate(0, 0, 1), Renewals: 5000, Estimated: true, Over: true},
	}}, s.fail
}

func (s *shelf) Planned(_ context.Context, day time.Time, after string, limit int) ([]shingle.PlannedRenewal, string, error) {
	s.limit = limit
	switch after {
	case "":
		return []shingle.PlannedRenewal{{Host: "a.example.com", At: day.Add(time.Hour)}}, "a/b", nil
	case "a/b":
		return []shingle.PlannedRenewal{{Host: "b.example.com", At: day.Add(2 * time.Hour), New: true, Order: true}}, "", nil
	}
	return nil, "", shingle.ErrInvalid
}

func startWithShelf(t *testing.T) (*fixture, *shelf) {
	t.Helper()
	s := &shelf{list: []shingle.Certificate{
		{Host: "a.example.com", Tenant: "acme", State: shingle.CertificateValid, Serial: "0a", NotBefore: clock, NotAfter: clock.AddDate(0, 3, 0)},
		{Host: "b.example.com", State: shingle.CertificateStopped, Failures: 1, Failed: &shingle.CertificateFailure{
			Code: shingle.CodeUnavailable, Message: "CAA forbids it", Who: shingle.WhoCustomer, At: clock,
		}},
	}}
	return start(t, func(cfg *api.Config) { cfg.Certificates = s }), s
}

func TestCertificates_ShownAndRenewed(t *testing.T) {
	f, shelf := startWithShelf(t)
	c, err := f.client.Certificate(t.Context(), "A.example.com.")
	if err != nil || c.State != "valid" || c.Tenant != "acme" || !c.NotAfter.Equal(clock.AddDate(0, 3, 0)) || c.Failed != nil {
		t.Errorf("got %+v, %v", c, err)
	}
	if len(c.Limits) != 1 || c.Limits[0].Failures != (api.Budget{Left: 0.5, Count: 5, Seconds: 3600}) || !c.Limits[0].NotBefore.Equal(clock) {
		t.Errorf("limits %+v", c.Limits)
	}
	c, err = f.client.RenewCertificate(t.Context(), "b.example.com")
	if err != nil || c.State != "stopped" || c.Failed == nil || c.Failed.Who != "customer" || c.Failed.Message != "CAA forbids it" {
		t.Errorf("got %+v, %v", c, err)
	}
	if fmt.Sprint(shelf.renewed) != "[b.example.com]" {
		t.Errorf("renewed %v", shelf.renewed)
	}
	var hosts []string
	for c, err := range f.client.Certificates(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, c.Host)
	}
	if fmt.Sprint(hosts) != "[a.example.com b.example.com]" {
		t.Errorf("listed %v", hosts)
	}
	if _, err := f.client.Certificate(t.Context(), "c.example.com"); !errors.Is(err, shingle.ErrNotFound) || !strings.Contains(err.Error(), "c.example.com") {
		t.Errorf("unknown: %v", err)
	}
	if _, err := f.client.RenewCertificate(t.Context(), "c.example.com"); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
}

func TestCertificates_PagesAndQueue(t *testing.T) {
	f, shelf := startWithShelf(t)
	resp, body := f.do(t, "GET", "/v1/certificates?limit=1", "")
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"next":"`) || strings.Contains(body, "b.example.com") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, body = f.do(t, "GET", "/v1/certificates?after=%21", ""); resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	q, err := f.client.Queue(t.Context(), 7, false)
	if err != nil || q.New != 1 || q.CAs[0].Orders.Left != 2.5 || q.CAs[0].Orders.Seconds != 10800 || !q.Waiting[0].ETA.Equal(clock.Add(time.Hour)) {
		t.Errorf("got %+v, %v", q, err)
	}
	if shelf.limit != 7 || shelf.drill {
		t.Errorf("limit %d, drill %v", shelf.limit, shelf.drill)
	}
	if _, err := f.client.Queue(t.Context(), 7, true); err != nil || !shelf.drill {
		t.Errorf("drill: %v", err)
	}
}

func TestCertificates_Calendar(t *testing.T) {
	f, shelf := startWithShelf(t)
	c, err := f.client.Calendar(t.Context())
	if err != nil || c.Due != 3 || !c.More || !c.At.Equal(clock) || len(c.Days) != 2 {
		t.Fatalf("got %+v, %v", c, err)
	}
	today, tomorrow := clock.UTC().Format("2006-01-02"), clock.UTC().AddDate(0, 0, 1).Format("2006-01-02")
	same(t, c.Days[0], api.CalendarDay{Day: today, Renewals: 2, Orders: 1, New: 1})
	same(t, c.Days[1], api.CalendarDay{Day: tomorrow, Renewals: 5000, Estimated: true, Over: true})
	var hosts []string
	for p, err := range f.client.Planned(t.Context(), tomorrow) {
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, fmt.Sprint(p.Host, p.At.Format(" 02T15 "), p.New, p.Order))
	}
	want := fmt.Sprintf("[a.example.com %[1]sT01 false false b.example.com %[1]sT02 true true]", tomorrow[8:])
	if fmt.Sprint(hosts) != want || shelf.limit != 1000 {
		t.Errorf("planned %v, want %s", hosts, want)
	}
	for path, says := range map[string]string{
		"yesterday": "day", "2026-02-30": "day", today + "?after=%21": "after takes the next", today + "?after=eA": "after takes the next", today + "?limit=1001": "limit",
	} {
		if resp, text := f.do(t, "GET", "/v1/certificates/calendar/"+path, ""); resp.StatusCode != 422 || !strings.Contains(text, says) {
			t.Errorf("%s: %s %s", path, resp.Status, text)
		}
	}
	if _, err := f.client.PlannedPage(t.Context(), "../../domains", "", 1); !errors.Is(err, shingle.ErrInvalid) {
		t.Errorf("another path: %v", err)
	}
	shelf.fail = errors.New("fault")
	if _, err := f.client.Calendar(t.Context()); err == nil {
		t.Error("a fault is no calendar")
	}
}
