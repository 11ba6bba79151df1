package app

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

var (
	familyLine = regexp.MustCompile(`^# (HELP [a-z_:]+ \S.*|TYPE [a-z_:]+ (counter|gauge))$`)
	sampleLine = regexp.MustCompile(`^([a-z_:]+)(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? (\S+)$`)
)

// scrape returns the samples of a process, by name and labels.
func scrape(t *testing.T, addr string) map[string]float64 {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("%s, %v, %v", resp.Status, resp.Header, err)
	}
	samples := map[string]float64{}
	for line := range strings.Lines(string(body)) {
		line = strings.TrimSuffix(line, "\n")
		if familyLine.MatchString(line) {
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("not a line of Prometheus: %q", line)
		}
		v, err := strconv.ParseFloat(m[4], 64)
		if _, twice := samples[m[1]+m[2]]; err != nil || twice {
			t.Errorf("%q: %v, twice: %t", line, err, twice)
		}
		samples[m[1]+m[2]] = v
	}
	return samples
}

// TestMetrics_CountWhatHappens visits a whole Shingle in several ways.
func TestMetrics_CountWhatHappens(t *testing.T) {
	r := runDev(t, Config{Metrics: "127.0.0.1:0"})
	c := r.client(true)
	visit(t, c, ExampleHost, 2)
	for range 3 {
		if resp, err := c.Get("https://never.customer.localhost/"); err == nil {
			t.Errorf("got %s", resp.Status)
		}
	}
	if resp, err := http.Get("http://" + r.HTTP + "/health"); err != nil || resp.Body.Close() != nil {
		t.Fatal(err)
	}
	var got map[string]float64
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) { // the worker has to have its lease
		if got = scrape(t, r.Metrics); got[`shingle_certs_worker`] == 1 || time.Now().After(deadline) {
			break
		}
	}
	ca := `ca="` + r.CA + `"`
	for name, least := range map[string]float64{
		`shingle_edge_connections_total{listener="https"}`:                      4,
		`shingle_edge_handshakes_total{result="done",transport="tcp"}`:          1,
		`shingle_edge_handshakes_total{result="unknown_name",transport="tcp"}`:  3,
		`shingle_edge_requests_total{code="2xx",listener="https",protocol="2"}`: 1,
		`shingle_edge_requests_total{code="2xx",listener="http",protocol="1"}`:  1,
		`shingle_edge_lookups_total{result="absent"}`:                           1,
		`shingle_edge_domains`:                                  1,
		`shingle_certs_issued_total{kind="new",` + ca + `}`:     1,
		`shingle_certs_cached`:                                  1,
		`shingle_certs_cached_bytes`:                            1000,
		`shingle_certs_earliest_expiry_timestamp_seconds`:       float64(time.Now().Unix()),
		`shingle_certs_worker`:                                  1,
		`shingle_certs_leases_held`:                             1,
		`shingle_certs_budget_left{` + ca + `,budget="orders"}`: 100,
		`shingle_edge_connections{listener="http"}`:             1,
		`go_goroutines`:                                         10,
		`process_start_time_seconds`:                            1.7e9,
	} {
		if got[name] < least {
			t.Errorf("%s is %v, want %v at least", name, got[name], least)
		}
	}
	if n := len(got); n > 150 {
		t.Errorf("%d series", n)
	}
	for name := range got {
		if strings.Contains(name, ".customer.localhost") {
			t.Errorf("a host is in %s", name)
		}
	}
	if resp, err := http.Get("http://" + r.Metrics + "/v1/domains"); err != nil || resp.Body.Close() != nil || resp.StatusCode != 404 {
		t.Errorf("elsewhere: %v, %v", resp, err)
	}
}

func TestWriteMetrics_Escapes(t *testing.T) {
	var b strings.Builder
	err := writeMetrics(&b, []shingle.Metric{{Name: "x_total", Help: "one\\two\nthree", Values: []shingle.MetricValue{{Labels: []string{"a", "\"\\\n", "b", "c"}, Value: 1.5}}}})
	if want := "# HELP x_total one\\\\two\\nthree\n# TYPE x_total counter\nx_total{a=\"\\\"\\\\\\n\",b=\"c\"} 1.5\n"; err != nil || b.String() != want {
		t.Errorf("got %q, %v", b.String(), err)
	}
}

// TestMetrics_AreDocumented holds docs/metrics.md to what a process says.
func TestMetrics_AreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	r := runDev(t, Config{Metrics: "127.0.0.1:0", AskURL: "http://127.0.0.1:1"})
	for name := range scrape(t, r.Metrics) {
		name, _, _ = strings.Cut(name, "{")
		last := name[strings.LastIndex(name, "_"):] // "..._max" stands behind the name that it continues
		known := strings.Contains(string(doc), "`"+name) || strings.Contains(string(doc), "`..."+last+"`") || strings.Contains(string(doc), "`..._refused_total`") && strings.HasSuffix(name, "_refused_total")
		if strings.HasPrefix(name, "shingle_") && !known {
			t.Errorf("%s is not in docs/metrics.md", name)
		}
	}
}
