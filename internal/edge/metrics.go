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
type originErrors struct{ failed, timeout, busy, left, revoked atomic.Uint64 }

// Metrics returns what the edge has done since it began, and how it is.
func (e *Edge) Metrics(now time.Time) []shingle.Metric {
	s := e.State()
	age := -1.0
	if !s.Synced.IsZero() {
		age = now.Sub(s.Synced).Seconds()
	}
	settings, withheld := e.table.book.sizes()
	var retried uint64
	if e.quic != nil {
		retried = e.quic.retried.Load()
	}
	return []shingle.Metric{
		{Name: "shingle_edge_connections_total", Help: "Client connections that were accepted.", Values: e.byListener(func(l *limitListener) float64 { return float64(l.accepted.Load()) }, func(q *quicServer) float64 { return float64(q.accepted.Load()) })},
		{Name: "shingle_edge_connections_refused_total", Help: "Client connections closed at once, because their network held its share, or all of QUIC's places were taken.", Values: e.byListener(func(l *limitListener) float64 { return float64(l.refused.Load()) }, func(q *quicServer) float64 { return float64(q.refused.Load()) })},
		{Name: "shingle_edge_connections", Help: "Client connections now; of TCP one for the next included.", Values: e.byListener(func(l *limitListener) float64 { return float64(len(l.slots)) }, func(q *quicServer) float64 { return float64(len(q.slots)) })},
		{Name: "shingle_edge_connections_max", Help: "Client connections that each listener takes at once.", Values: shingle.One(float64(e.cfg.MaxConns))},
		{Name: "shingle_edge_handshakes_total", Help: "TLS handshakes by how they ended.", Values: e.handshakes()},
		{Name: "shingle_edge_quic_retries_total", Help: "First packets of QUIC that were answered by Retry, as too many came from addresses that are not proven.", Values: shingle.One(float64(retried))},
		{Name: "shingle_edge_requests_total", Help: "Requests by the class of their answer and the version of HTTP.", Values: e.requests()},
		{Name: "shingle_edge_origin_errors_total", Help: "Requests that got no answer of their origin.", Values: []shingle.MetricValue{
			{Labels: []string{"reason", "failed"}, Value: float64(e.origins.errors.failed.Load())},
			{Labels: []string{"reason", "timeout"}, Value: float64(e.origins.errors.timeout.Load())},
			{Labels: []string{"reason", "busy"}, Value: float64(e.origins.errors.busy.Load())},
			{Labels: []string{"reason", "client_left"}, Value: float64(e.origins.errors.left.Load())},
			{Labels: []string{"reason", "revoked"}, Value: float64(e.origins.errors.revoked.Load())},
		}},
		{Name: "shingle_edge_origin_requests", Help: "Requests under way to origins.", Values: shingle.One(float64(len(e.origins.slots)))},
		{Name: "shingle_edge_lookups_total", Help: "Names that the domain table did not know, by what became of the look-up.", Values: counted("result", lookupNames[:], e.sites.lookups.counts[:])},
		{Name: "shingle_edge_domains", Help: "Domains in the table.", Values: shingle.One(float64(s.Domains))},
		{Name: "shingle_edge_rate_limited_total", Help: "Requests refused because of their domain's rate_limit.", Values: shingle.One(float64(e.limits.refused.Load()))},
		{Name: "shingle_edge_traffic_uncounted_total", Help: "Requests that are missing in the traffic of their domains, as too many domains had visitors at once.", Values: shingle.One(float64(e.traffic.left.Load()))},
		{Name: "shingle_edge_settings_bytes", Help: "Memory for the settings of domains, equal ones once, about.", Values: shingle.One(float64(settings))},
		{Name: "shingle_edge_settings_withheld_total", Help: "Settings for which there was no room, so that their domains are not served.", Values: shingle.One(float64(withheld))},
		{Name: "shingle_edge_table_age_seconds", Help: "Time since the domain table was in step with the store; -1: not since the start.", Values: shingle.One(age)},
	}
}

// byListener returns a value for each listener that there is.
func (e *Edge) byListener(tcp func(*limitListener) float64, quic func(*quicServer) float64) []shingle.MetricValue {
	values := []shingle.MetricValue{{Labels: []string{"listener", "https"}, Value: tcp(e.https)}, {Labels: []string{"listener", "http"}, Value: tcp(e.http)}}
	if e.quic != nil {
		values = append(values, shingle.MetricValue{Labels: []string{"listener", "quic"}, Value: quic(e.quic)})
	}
	return values
}

func (e *Edge) handshakes() []shingle.MetricValue {
	values := counted("result", outcomeNames[1:], e.gate.counts[overTCP][1:], "transport", "tcp")
	if e.quic != nil {
		values = append(values, counted("result", outcomeNames[1:], e.gate.counts[overQUIC][1:], "transport", "quic")...)
	}
	return values
}

func (e *Edge) requests() []shingle.MetricValue {
	values := counted("code", requestClasses[:], e.plain.classes[0][:], "listener", "http", "protocol", "1")
	for i, protocol := range []string{"1", "2"} {
		values = append(values, counted("code", requestClasses[:], e.secure.classes[i][:], "listener", "https", "protocol", protocol)...)
	}
	if e.quic != nil {
		values = append(values, counted("code", requestClasses[:], e.quic.classes[:], "listener", "quic", "protocol", "3")...)
	}
	return values
}

// Answers returns how many requests over TLS and QUIC were answered since the edge
// began, and how many of them with a status of 5xx.
func (e *Edge) Answers() (all, failed uint64) {
	listeners := [][]atomic.Uint64{e.secure.classes[0][:], e.secure.classes[1][:]}
	if e.quic != nil {
		listeners = append(listeners, e.quic.classes[:])
	}
	for _, classes := range listeners {
		for i := 1; i < len(classes); i++ { // without those that were cut off
			all += classes[i].Load()
		}
		failed += classes[5].Load()
	}
	return all, failed
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
