package api_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// meter is an [api.TrafficLog] with the same in each hour.
type meter struct {
	each  shingle.Traffic
	asked []string
	fail  error
}

func (m *meter) Report(_ context.Context, domain string, hours int) (r shingle.TrafficReport, err error) {
	m.asked = append(m.asked, domain)
	for i := range hours {
		at := time.Now().UTC().Truncate(time.Hour).Add(-time.Duration(hours-1-i) * time.Hour)
		r.Hours = append(r.Hours, shingle.TrafficHour{Hour: at, Traffic: m.each})
	}
	return r, m.fail
}

func TestTraffic_ByTheHour(t *testing.T) {
	log := &meter{each: shingle.Traffic{Answers: [6]uint64{1, 2, 30, 4, 5, 6}, Origin5xx: 3, OriginErrors: 2, Refused: 1, BytesIn: 7, BytesOut: 8}}
	created := time.Now()
	now := func() time.Time { return created }
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Traffic, c.Now = log, func() time.Time { return now() } })
	s.want(201, s.do("POST", "/v1/domains", `{"host":"blog.example.com","tenant":"acme"}`))

	is, err := s.client().Traffic(t.Context(), "BLOG.example.com", 3)
	check(t, err)
	if len(is.Hours) != 3 || is.Hours[0].Requests != 0 || is.Hours[2].Requests != 48 || is.Total.Requests != 48 {
		t.Errorf("hours before the domain was added are not its own: %+v", is)
	}
	now = func() time.Time { return created.Add(-30 * 24 * time.Hour) }
	s.want(201, s.do("POST", "/v1/domains", `{"host":"*.example.com","tenant":"acme"}`))
	is, err = s.client().Traffic(t.Context(), "*.example.com", 168)
	check(t, err)
	if len(is.Hours) != 168 || is.Total.Requests != 168*48 || log.asked[1] != "*.example.com" {
		t.Errorf("%d hours with %d requests of %v", len(is.Hours), is.Total.Requests, log.asked)
	}
	one, err := json.Marshal(is.Hours[0].TrafficCounts)
	check(t, err)
	if string(one) != `{"requests":48,"answers":{"1xx":2,"2xx":30,"3xx":4,"4xx":5,"5xx":6,"none":1},"origin_5xx":3,"origin_errors":2,"refused":1,"bytes_in":7,"bytes_out":8}` {
		t.Errorf("%s", one)
	}
	r := s.want(200, s.do("GET", "/v1/domains/*.example.com/traffic", ""))
	if n := strings.Count(r.text, `"hour":`); n != 24 {
		t.Errorf("a day has %d hours", n)
	}
	for _, query := range []string{"hours=0", "hours=169", "hours=x", "days=2"} {
		s.want(422, s.do("GET", "/v1/domains/blog.example.com/traffic?"+query, ""))
	}
	s.want(404, s.do("GET", "/v1/domains/never.example.com/traffic", ""))
	s.want(200, s.as(shingle.RoleTenant, "acme").do("GET", "/v1/domains/blog.example.com/traffic", ""))
	s.want(404, s.as(shingle.RoleTenant, "rival").do("GET", "/v1/domains/blog.example.com/traffic", ""))
	log.fail = shingle.ErrUnavailable
	s.want(503, s.do("GET", "/v1/domains/blog.example.com/traffic", ""))
}
