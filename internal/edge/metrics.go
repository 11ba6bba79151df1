package edge

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/shingle-proxy/shingle"
)

var lookupNames = [lookupResults]string{
	lookupFound: "found", lookupAbsent: "absent", lookupFailed: "failed", lookupRemembered: "remembered",
	lookupNetworkLimited: "refused_network", lookupDomainLimited: "refused_domain", lookupLimited: "refused_all",
}

// requestClasses are the classes of answers: by the status' first digit, and
// last those that were cut off before they began.
var requestClasses = [...]string{"aborted", "1xx", "2xx", "3xx", "4xx", "5xx"}

// originErrors count the exchanges that failed before their answer began.
type originErrors struct{ failed, timeout, busy, left atomic.Uint64 }

// Metrics returns what the edge has done since it began, and how it is.
func (e *Edge) Metrics(now time.Time) []shingle.Metric {
	s := e.State()
	age := -1.0
	if !s.Synced.IsZero() {
		age = now.Sub(s.Synced).Seconds()
	}
	settings, withheld := e.table.book.sizes()
	return []shingle.Metric{
		{Name: "shingle_edge_connections_total", Help: "Client connections that were accepted.", Values: byListener(float64(e.https.accepted.Load()), float64(e.http.accepted.Load()))},
		{Name: "shingle_edge_connections_refused_total", Help: "Client connections closed at once, because their network held its share.", Values: byListener(float64(e.https.refused.Load()), float64(e.http.refused.Load()))},
		{Name: "shingle_edge_connections", Help: "Client connections now, one for the next included.", Values: byListener(float64(len(e.https.slots)), float64(len(e.http.slots)))},
		{Name: "shingle_edge_connections_max", Help: "Client connections that each listener takes at once.", Values: shingle.One(float64(e.cfg.MaxConns))},
		{Name: "shingle_edge_handshakes_total", Help: "TLS handshakes by how they ended.", Values: counted("result", outcomeNames[1:], e.gate.counts[1:])},
		{Name: "shingle_edge_requests_total", Help: "Requests by the class of their answer.", Values: append(
			counted("code", requestClasses[:], e.secure.classes[:], "listener", "https"), counted("code", requestClasses[:], e.plain.classes[:], "listener", "http")...)},
		{Name: "shingle_edge_origin_errors_total", Help: "Requests that got no answer of their origin.", Values: []shingle.MetricValue{
			{Labels: []string{"reason", "failed"}, Value: float64(e.origins.errors.failed.Load())},
			{Labels: []string{"reason", "timeout"}, Value: float64(e.origins.errors.timeout.Load())},
			{Labels: []string{"reason", "busy"}, Value: float64(e.origins.errors.busy.Load())},
			{Labels: []string{"reason", "client_left"}, Value: float64(e.origins.errors.left.Load())},
		}},
		{Name: "shingle_edge_origin_requests", Help: "Requests under way to origins.", Values: shingle.One(float64(len(e.origins.slots)))},
		{Name: "shingle_edge_lookups_total", Help: "Names that the domain table did not know, by what became of the look-up.", Values: counted("result", lookupNames[:], e.sites.lookups.counts[:])},
		{Name: "shingle_edge_domains", Help: "Domains in the table.", Values: shingle.One(float64(s.Domains))},
		{Name: "shingle_edge_rate_limited_total", Help: "Requests refused because of their domain's rate_limit.", Values: shingle.One(float64(e.limits.refused.Load()))},
		{Name: "shingle_edge_settings_bytes", Help: "Memory for the settings of domains, equal ones once, about.", Values: shingle.One(float64(settings))},
		{Name: "shingle_edge_settings_withheld_total", Help: "Settings for which there was no room, so that their domains are not served.", Values: shingle.One(float64(withheld))},
		{Name: "shingle_edge_table_age_seconds", Help: "Time since the domain table was in step with the store; -1: not since the start.", Values: shingle.One(age)},
	}
}

func byListener(https, http float64) []shingle.MetricValue {
	return []shingle.MetricValue{{Labels: []string{"listener", "https"}, Value: https}, {Labels: []string{"listener", "http"}, Value: http}}
}

// counted returns a value for each counter; more are labels of all.
func counted(label string, names []string, counters []atomic.Uint64, more ...string) []shingle.MetricValue {
	list := make([]shingle.MetricValue, len(names))
	for i, name := range names {
		list[i] = shingle.MetricValue{Labels: append([]string{label, name}, more...), Value: float64(counters[i].Load())}
	}
	return list
}

func (o *originErrors) count(err error) {
	switch {
	case errors.Is(err, shingle.ErrLimited):
		o.busy.Add(1)
	case isTimeout(err):
		o.timeout.Add(1)
	default:
		o.failed.Add(1)
	}
}
