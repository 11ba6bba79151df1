package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shingle-proxy/shingle"
)

// TrafficLog has what visitors asked of domains.
type TrafficLog interface {
	// Report returns the traffic of a domain in so many hours (1 to
	// [shingle.MaxTrafficHours]) until now, the present one included.
	Report(ctx context.Context, domain string, hours int) (shingle.TrafficReport, error)
}

// Traffic is what visitors asked of a domain over HTTPS.
type Traffic struct {
	Host    string        `json:"host"`
	Total   TrafficCounts `json:"total" doc:"Of these hours"`
	Hours   []TrafficHour `json:"hours" nullable:"false" doc:"Oldest first, without a gap; the last one is the present"`
	Partial bool          `json:"partial,omitempty" doc:"More was counted than could be read"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// TrafficHour is the traffic of an hour.
type TrafficHour struct {
	Hour time.Time `json:"hour" doc:"Its begin"`
	TrafficCounts
}

// TrafficCounts are requests, those that ended in some time, and their bytes.
type TrafficCounts struct {
	Requests     uint64         `json:"requests" doc:"All, by the time at which they ended"`
	Answers      TrafficAnswers `json:"answers" doc:"All of them, by the status that was sent"`
	Origin5xx    uint64         `json:"origin_5xx" doc:"Of 5xx: those that the origin answered"`
	OriginErrors uint64         `json:"origin_errors" doc:"Of 5xx: the edge's own 502, 503 and 504, because the origin did not answer, or not properly. What is left of 5xx is a domain in maintenance"`
	Refused      uint64         `json:"refused" doc:"Of 4xx: the edge's own, by the domain's settings, such as rate_limit; the origin did not hear of them"`
	BytesIn      uint64         `json:"bytes_in" doc:"Of the bodies of requests, and by WebSockets"`
	BytesOut     uint64         `json:"bytes_out" doc:"Of the bodies of answers, and by WebSockets"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// TrafficAnswers are requests by what was answered.
type TrafficAnswers struct {
	Informational uint64 `json:"1xx" doc:"WebSockets and the like"`
	Success       uint64 `json:"2xx"`
	Redirection   uint64 `json:"3xx"`
	ClientError   uint64 `json:"4xx"`
	ServerError   uint64 `json:"5xx"`
	None          uint64 `json:"none" doc:"Cut off before the answer began, mostly by the visitor"`

	_ struct{} `additionalProperties:"true"` // more will come
}

type (
	trafficInput struct {
		HostInput
		Hours int `query:"hours" minimum:"1" maximum:"168" default:"24" doc:"How many, the present one included"`
	}
	trafficAnswer struct{ Body Traffic }
)

func (s *server) trafficRoutes(a huma.API) {
	op := operation("get-traffic", http.MethodGet, "/v1/domains/{host}/traffic", "Show what visitors asked of a domain", http.StatusNotFound)
	op.Description = "By the hour, of the last seven days. A wildcard has what was asked of the hosts that it covers and that are no domains themselves. " +
		"Each edge writes what it counted every quarter of an hour (--traffic), of many domains at once each hour: what it has not written yet is missing, and the answer may be a minute old."
	register(s, a, op, s.traffic)
}

func (s *server) traffic(ctx context.Context, in *trafficInput) (*trafficAnswer, error) {
	d, err := s.find(ctx, in.Host)
	if err != nil {
		return nil, err
	}
	r, err := s.Traffic.Report(ctx, d.Host, in.Hours)
	if err != nil {
		return nil, err
	}
	out := Traffic{Host: d.Host, Hours: make([]TrafficHour, len(r.Hours)), Partial: r.Partial}
	var total shingle.Traffic
	since := d.CreatedAt.Truncate(time.Hour) // what was before is whoever had the name then's
	for i := range r.Hours {
		is := &r.Hours[i]
		if is.Hour.Before(since) {
			is.Traffic = shingle.Traffic{}
		}
		total.Add(&is.Traffic)
		out.Hours[i] = TrafficHour{is.Hour, countsOf(&is.Traffic)}
	}
	out.Total = countsOf(&total)
	return &trafficAnswer{out}, nil
}

func countsOf(t *shingle.Traffic) TrafficCounts {
	return TrafficCounts{
		Requests: t.Requests(),
		Answers: TrafficAnswers{
			None: t.Answers[0], Informational: t.Answers[1], Success: t.Answers[2], Redirection: t.Answers[3], ClientError: t.Answers[4], ServerError: t.Answers[5],
		},
		Origin5xx: t.Origin5xx, OriginErrors: t.OriginErrors, Refused: t.Refused, BytesIn: t.BytesIn, BytesOut: t.BytesOut,
	}
}

// Traffic returns what visitors asked of a domain in the last hours, 1 to 168, or
// [shingle.ErrNotFound].
func (c *Client) Traffic(ctx context.Context, host string, hours int) (out Traffic, err error) {
	path, err := domainPath(host)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, http.MethodGet, fmt.Sprintf("%s/traffic?hours=%d", path, hours), nil, &out)
}
