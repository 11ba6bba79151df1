package main

import (
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle/internal/api"
)

func TestCertsCalendar_BarsADay(t *testing.T) {
	var out strings.Builder
	err := printCalendar(&out, api.Calendar{Due: 2000, More: true, Days: []api.CalendarDay{
		{Day: "2026-12-01", Renewals: 10, New: 2}, {Day: "2026-12-02"}, {Day: "2026-12-03", Renewals: 1},
		{Day: "2026-12-04", Renewals: 4999, New: 1, Estimated: true, Over: true}, {Day: "2026-12-05", Renewals: 2500, Estimated: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := `about 7510 renewals planned in 5 days; 2000 or more due already (shingle certs queue)

DAY (UTC)       RENEWALS     NEW
Tue 2026-12-01        10       2  #
Wed 2026-12-02         0       0
Thu 2026-12-03         1       0  #
Fri 2026-12-04     ~4999      ~1  ########################################  more than the CA's budget for a day
Sat 2026-12-05     ~2500      ~0  ####################
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
