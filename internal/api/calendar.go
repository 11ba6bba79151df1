package api

import (
	"context"
	"encoding/base64"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shingle-proxy/shingle"
)

// Calendar is what is planned for certificates, by day.
type Calendar struct {
	At   time.Time     `json:"at" doc:"When it was counted, at most five minutes ago"`
	Due  int           `json:"due" doc:"Hosts that are due already, and wait for their turn: the queue has them"`
	More bool          `json:"more,omitempty" doc:"There are more of those than were counted"`
	Days []CalendarDay `json:"days" nullable:"false" doc:"From today on; of today, what is still to become due"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// CalendarDay is what is due on a day.
type CalendarDay struct {
	Day       string `json:"day" format:"date" example:"2026-12-01" doc:"In UTC"`
	Renewals  int    `json:"renewals" doc:"Certificates that are to be renewed, and reminders of the end of one that is kept"`
	Orders    int    `json:"orders" doc:"Of the renewals: those that count as orders at the first CA, as it does not exempt them from its limits"`
	New       int    `json:"new" doc:"Attempts for hosts without a valid certificate"`
	Estimated bool   `json:"estimated,omitempty" doc:"There were more than 2000, and the numbers are an estimate from samples of the day, mostly within some percent"`
	Over      bool   `json:"over,omitempty" doc:"More than the budgets of the first CA allow in a day: some wait for a later one"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// Planned is a host that is due at a time.
type Planned struct {
	Host  string    `json:"host"`
	At    time.Time `json:"at"`
	New   bool      `json:"new" doc:"It has no valid certificate then"`
	Order bool      `json:"order" doc:"It counts as an order at the first CA"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// PlannedList is a page of what is due on a day, in the order of its time.
type PlannedList struct {
	Planned []Planned `json:"planned" nullable:"false"`
	Next    string    `json:"next,omitempty" doc:"Send it as after for the next page; absent at the end"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// dayForm is how a day is written.
const dayForm = time.DateOnly

type (
	calendarAnswer struct{ Body Calendar }
	plannedAnswer  struct{ Body PlannedList }
	plannedInput   struct {
		Day   string `path:"day" format:"date" maxLength:"10" doc:"In UTC" example:"2026-12-01"`
		After string `query:"after" maxLength:"512" doc:"The next of the page before"`
		Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	}
)

func (s *server) calendarRoutes(a huma.API) {
	const path = "/v1/certificates/calendar"
	all := operation("get-calendar", http.MethodGet, path, "Show how many certificates are to be renewed on each of the next 90 days")
	all.Description = "Of each host the next renewal alone, as it is planned now; a CA may wish for another time any day. Up to 2000 a day are counted one by one, more are estimated, so that it costs the same however many there are."
	register(s, a, all, s.getCalendar)
	day := operation("list-planned", http.MethodGet, path+"/{day}", "List what is due on a day")
	day.Description = "In the order of its time; of today, what is still to become due."
	register(s, a, day, s.listPlanned)
}

func (s *server) getCalendar(ctx context.Context, _ *struct{}) (*calendarAnswer, error) {
	c, err := s.Certificates.Calendar(ctx)
	if err != nil {
		return nil, err
	}
	out := Calendar{At: c.At, Due: c.Due, More: c.More, Days: make([]CalendarDay, len(c.Days))}
	for i, d := range c.Days {
		out.Days[i] = CalendarDay{Day: d.Day.Format(dayForm), Renewals: d.Renewals, Orders: d.Orders, New: d.New, Estimated: d.Estimated, Over: d.Over}
	}
	return &calendarAnswer{out}, nil
}

func (s *server) listPlanned(ctx context.Context, in *plannedInput) (*plannedAnswer, error) {
	day, err := time.Parse(dayForm, in.Day)
	if err != nil {
		return nil, at("path.day", shingle.Errorf(shingle.CodeInvalid, "a day looks like 2026-12-01"))
	}
	after, err := base64.RawURLEncoding.DecodeString(in.After)
	if err != nil {
		return nil, at("query.after", errCursor)
	}
	list, next, err := s.Certificates.Planned(ctx, day, string(after), in.Limit)
	if shingle.CodeOf(err) == shingle.CodeInvalid {
		return nil, at("query.after", errCursor)
	}
	if err != nil {
		return nil, err
	}
	out := PlannedList{Planned: make([]Planned, len(list)), Next: base64.RawURLEncoding.EncodeToString([]byte(next))}
	for i, p := range list {
		out.Planned[i] = Planned{Host: p.Host, At: p.At, New: p.New, Order: p.Order}
	}
	return &plannedAnswer{out}, nil
}

// Calendar returns how many certificates are to be renewed on each of the next days.
func (c *Client) Calendar(ctx context.Context) (out Calendar, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/certificates/calendar", nil, &out)
}

// Planned returns what is due on a day, such as 2026-12-01, in the order of its time, page
// by page. It ends with the first error.
func (c *Client) Planned(ctx context.Context, day string) iter.Seq2[Planned, error] {
	return pages(ctx, c, plannedPath(day)+"?limit=1000", func(l PlannedList) ([]Planned, string) { return l.Planned, l.Next })
}

// PlannedPage returns one page of what is due on a day.
func (c *Client) PlannedPage(ctx context.Context, day, after string, limit int) (out PlannedList, err error) {
	return out, c.call(ctx, http.MethodGet, pagePath(plannedPath(day), after, limit), nil, &out)
}

// plannedPath keeps what is no day from turning into another path.
func plannedPath(day string) string {
	if _, err := time.Parse(dayForm, day); err != nil {
		day = "none" // which the server refuses
	}
	return "/v1/certificates/calendar/" + url.PathEscape(day)
}
