package app

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

var started = time.Now()

// serveMetrics answers with all that this process tells of itself, in the text
// format of Prometheus, version 0.0.4.
func (a *App) serveMetrics(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	list := processMetrics(a.cfg.Version)
	if a.edge != nil {
		list = append(list, a.edge.Metrics(now)...)
	}
	if a.asking != nil {
		list = append(list, a.asking.metrics()...)
	}
	list = append(list, a.certs.Metrics(r.Context(), now)...)
	list = append(list, a.cfg.unreadable.Metrics()...)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_ = writeMetrics(w, list) // a scraper that has gone will come again
}

// metricsServer serves /metrics and nothing else.
func (a *App) metricsServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", a.serveMetrics)
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
}

func (s *askingStore) metrics() []shingle.Metric {
	value := func(result string, n uint64) shingle.MetricValue {
		return shingle.MetricValue{Labels: []string{"result", result}, Value: float64(n)}
	}
	return []shingle.Metric{{
		Name: "shingle_ask_total", Help: "Names that the ask service was to be asked about.", Values: []shingle.MetricValue{
			value("allowed", s.allowed.Load()), value("denied", s.denied.Load()), value("failed", s.failed.Load()), value("limited", s.limited.Load()),
		},
	}}
}

// writeMetrics writes metrics in Prometheus' text format.
func writeMetrics(w io.Writer, list []shingle.Metric) error {
	b := bufio.NewWriter(w) // Flush tells of an error
	for _, m := range list {
		kind := "gauge"
		if strings.HasSuffix(m.Name, "_total") {
			kind = "counter"
		}
		_, _ = fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", m.Name, helpEscaper.Replace(m.Help), m.Name, kind)
		for _, v := range m.Values {
			_, _ = fmt.Fprintf(b, "%s%s %s\n", m.Name, labels(v.Labels), strconv.FormatFloat(v.Value, 'g', -1, 64))
		}
	}
	return b.Flush()
}

// labels returns the labels of a value, in braces; empty for none.
func labels(pairs []string) string {
	var list []string
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, pairs[i]+`="`+labelEscaper.Replace(pairs[i+1])+`"`)
	}
	if len(list) == 0 {
		return ""
	}
	return "{" + strings.Join(list, ",") + "}"
}

var (
	helpEscaper  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	labelEscaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// processMetrics are the usual ones of a process, under their usual names. What
// the operating system does not tell is left out.
func processMetrics(version string) []shingle.Metric {
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/cpu/classes/gc/total:cpu-seconds"}}
	metrics.Read(samples)
	list := []shingle.Metric{
		{Name: "shingle_build_info", Help: "The version that runs.", Values: []shingle.MetricValue{{Labels: []string{"version", version, "go", runtime.Version()}, Value: 1}}},
		{Name: "process_start_time_seconds", Help: "When the process began.", Values: shingle.One(float64(started.Unix()))},
		{Name: "go_goroutines", Help: "Goroutines now.", Values: shingle.One(float64(runtime.NumGoroutine()))},
		{Name: "go_memstats_heap_alloc_bytes", Help: "Bytes of heap objects.", Values: shingle.One(float64(samples[0].Value.Uint64()))},
		{Name: "go_memstats_sys_bytes", Help: "Bytes taken from the system by Go.", Values: shingle.One(float64(samples[1].Value.Uint64()))},
		{Name: "go_gc_cpu_seconds_total", Help: "Processor time of the garbage collector.", Values: shingle.One(samples[2].Value.Float64())},
	}
	if cpu, rss, ok := procStat(); ok {
		list = append(list,
			shingle.Metric{Name: "process_cpu_seconds_total", Help: "Processor time.", Values: shingle.One(cpu)},
			shingle.Metric{Name: "process_resident_memory_bytes", Help: "Memory that the process holds.", Values: shingle.One(rss)})
	}
	if files, err := os.ReadDir("/proc/self/fd"); err == nil {
		list = append(list, shingle.Metric{Name: "process_open_fds", Help: "Open file descriptors.", Values: shingle.One(float64(len(files)))})
	}
	return list
}

// procStat reads processor seconds and resident bytes from Linux' /proc. The
// clock ticks at 100 Hz on every architecture that Go knows.
func procStat() (cpu, rss float64, ok bool) {
	data, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, 0, false
	}
	_, after, ok := strings.Cut(string(data), ") ") // behind the command, which may hold anything
	field := strings.Fields(after)
	if !ok || len(field) < 22 {
		return 0, 0, false
	}
	number := func(i int) float64 { n, _ := strconv.ParseFloat(field[i], 64); return n }
	return (number(11) + number(12)) / 100, number(21) * float64(os.Getpagesize()), true
}
