package panel

import (
	"testing"
	"time"

	"github.com/shingle-proxy/shingle/internal/api"
)

func TestTraffic_Sparkline(t *testing.T) {
	at := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	is := &traffic{Traffic: api.Traffic{
		Hours: []api.TrafficHour{
			{Hour: at}, {Hour: at.Add(time.Hour), TrafficCounts: api.TrafficCounts{Requests: 1}},
			{Hour: at.Add(2 * time.Hour), TrafficCounts: api.TrafficCounts{Requests: 1203, OriginErrors: 2, Origin5xx: 1}},
		},
		Total: api.TrafficCounts{Requests: 1204, OriginErrors: 2, Origin5xx: 1},
	}}
	if text := is.Text(); text != "1,204 requests in 3 h, 3 errors of the origin; 1,203 in the busiest hour" {
		t.Error(text)
	}
	if box := is.Box(); box != "0 0 30 40" {
		t.Error(box)
	}
	for i, want := range []bar{
		{X: 1, Width: 8, Y: 40, ErrorY: 40},
		{X: 11, Width: 8, Y: 38, Height: 2, ErrorY: 40, Requests: 1},
		{X: 21, Width: 8, Height: 40, ErrorY: 38, ErrorTop: 2, Requests: 1203, Errors: 3},
	} {
		if got := is.Bars()[i]; !got.Hour.Equal(at.Add(time.Duration(i)*time.Hour)) || got.withoutHour() != want {
			t.Errorf("%+v, not %+v", got, want)
		}
	}
	none := &traffic{Traffic: api.Traffic{Hours: make([]api.TrafficHour, 24)}}
	if text := none.Text(); text != "0 requests in 24 h, 0 errors of the origin" {
		t.Error(text)
	}
}

func (b bar) withoutHour() bar { b.Hour = time.Time{}; return b }

func TestNumbers(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is %s", n, got)
		}
	}
}
