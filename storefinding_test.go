package shingle_test

import (
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

func TestClockFinding(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 3, 0, 0, 400e6, time.UTC)
	for _, tt := range []struct {
		server time.Time
		trip   time.Duration
		want   shingle.Severity
		says   string
	}{
		{now.Truncate(time.Second), 20 * time.Millisecond, shingle.SeverityOK, "agrees"},
		{now.Truncate(time.Second), 2 * time.Second, shingle.SeverityOK, "agrees"}, // the answer may have been long on its way
		{now.Add(-3400 * time.Millisecond), 0, shingle.SeverityOK, "2.9s ahead of"},
		{now.Add(time.Minute), 0, shingle.SeverityWarning, "1m0.5s behind"},
		{now.Add(-time.Hour), 0, shingle.SeverityFailed, "ahead of"},
		{time.Time{}, 0, shingle.SeverityUnknown, "tells no time"},
	} {
		f := shingle.ClockFinding(now, now.Add(tt.trip), tt.server)
		bad := tt.want == shingle.SeverityWarning || tt.want == shingle.SeverityFailed
		if f.Severity != tt.want || !strings.Contains(f.Message, tt.says) || (f.Do != "") != bad {
			t.Errorf("%s: %+v", tt.server, f)
		}
	}
}
