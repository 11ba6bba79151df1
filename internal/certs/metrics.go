package certs

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shingle-proxy/shingle"
)

// tally counts how the issuances at one CA ended.
type tally struct {
	issued, renewed                                   atomic.Uint64
	validation, limited, outage, account, ours, other atomic.Uint64
}

func (t *tally) failed(f *failure) {
	switch {
	case f.ours:
		t.ours.Add(1)
	case f.account:
		t.account.Add(1)
	case f.limited:
		t.limited.Add(1)
	case f.outage:
		t.outage.Add(1)
	case f.validation:
		t.validation.Add(1)
	default:
		t.other.Add(1)
	}
}

// stops counts the hosts whose attempts were given up, by who must act.
type stops struct {
	customer, operator, other atomic.Uint64
}

func (s *stops) count(who string) {
	switch who {
	case shingle.WhoCustomer:
		s.customer.Add(1)
	case shingle.WhoOperator:
		s.operator.Add(1)
	default:
		s.other.Add(1)
	}
}

// survey is a look at the queue that is not older than surveyEvery.
type survey struct {
	mu sync.Mutex
	at time.Time
	is shingle.IssuanceQueue

	stopped [len(stoppedBy)]int
	tidied  string // the last of those that were compared with their plans
}

// Bounds of a survey.
const (
	surveyEvery    = time.Minute
	surveyHosts    = 1000 // looked at for what is overdue
	renewalOverdue = time.Hour
)

// Metrics returns what this process has done about certificates, and how it is.
// The worker of the fleet, and it alone, tells of the queue and the budgets too,
// for which it reads the store once a minute at most.
func (m *Manager) Metrics(ctx context.Context, now time.Time) []shingle.Metric {
	entries, bytes := m.cache.size()
	list := []shingle.Metric{
		{Name: "shingle_certs_issued_total", Help: "Certificates obtained.", Values: m.tallies(func(t *tally) []shingle.MetricValue {
			return []shingle.MetricValue{one(&t.issued, "kind", "new"), one(&t.renewed, "kind", "renewal")}
		})},
		{Name: "shingle_certs_issuance_failures_total", Help: "Issuances that came to nothing at a CA.", Values: m.tallies(func(t *tally) []shingle.MetricValue {
			return []shingle.MetricValue{
				one(&t.validation, "reason", "validation"), one(&t.limited, "reason", "limited"), one(&t.outage, "reason", "outage"),
				one(&t.account, "reason", "account"), one(&t.ours, "reason", "store"), one(&t.other, "reason", "other"),
			}
		})},
		{Name: "shingle_certs_cache_misses_total", Help: "Handshakes whose certificate was not in memory.", Values: []shingle.MetricValue{one(&m.visitors.waits)}},
		{Name: "shingle_certs_visits_refused_total", Help: "Handshakes refused by a budget for strangers.", Values: []shingle.MetricValue{
			one(&m.visitors.loadsRefused, "budget", "network_loads"), one(&m.visitors.networksRefused, "budget", "network_issuances"),
			one(&m.visitors.domainsRefused, "budget", "domain_issuances"),
		}},
		{Name: "shingle_certs_stopped_total", Help: "Hosts whose attempts were given up until somebody acts.", Values: []shingle.MetricValue{
			one(&m.stops.customer, "who", shingle.WhoCustomer), one(&m.stops.operator, "who", shingle.WhoOperator), one(&m.stops.other, "who", "other"),
		}},
		{Name: "shingle_certs_issuing", Help: "Issuances that run now.", Values: shingle.One(float64(len(m.turns)))},
		{Name: "shingle_certs_issuances_waiting", Help: "Issuances of this process that run or wait for their turn.", Values: shingle.One(float64(m.issues.len()))},
		{Name: "shingle_certs_cached", Help: "Certificates in memory.", Values: shingle.One(float64(entries))},
		{Name: "shingle_certs_cached_bytes", Help: "Bytes of the certificates in memory.", Values: shingle.One(float64(bytes))},
		{Name: "shingle_certs_leases_held", Help: "Leases that this process holds.", Values: shingle.One(float64(m.leases.running.Load() + m.leads.running.Load()))},
		{Name: "shingle_certs_worker", Help: "1 for the process that is the fleet's worker.", Values: shingle.One(float64(m.working.Load()))},
	}
	if first := m.cache.expiry(now); !first.IsZero() {
		list = append(list, shingle.Metric{
			Name: "shingle_certs_earliest_expiry_timestamp_seconds", Help: "When the first of the valid certificates in memory expires.",
			Values: shingle.One(float64(first.Unix())),
		})
	}
	if m.working.Load() == 1 {
		list = append(list, m.queueMetrics(ctx, now)...)
	}
	return list
}

// queueMetrics are those of the survey; none when the store does not answer.
func (m *Manager) queueMetrics(ctx context.Context, now time.Time) []shingle.Metric {
	q, given, err := m.look(ctx, now)
	if err != nil {
		m.log.Debug("no metrics of the queue", "error", err)
		return nil
	}
	var stopped []shingle.MetricValue
	for i, n := range given {
		stopped = append(stopped, shingle.MetricValue{Labels: []string{"who", stoppedBy[i]}, Value: float64(n)})
	}
	overdue := 0
	for _, w := range q.Waiting {
		if !w.New && now.Sub(w.Since) > renewalOverdue {
			overdue++
		}
	}
	var left, pause []shingle.MetricValue
	for _, ca := range q.CAs {
		left = append(left, shingle.MetricValue{Labels: []string{"ca", ca.Directory, "budget", "orders"}, Value: ca.Orders.Left},
			shingle.MetricValue{Labels: []string{"ca", ca.Directory, "budget", "renewals"}, Value: ca.Renewals.Left})
		pause = append(pause, shingle.MetricValue{Labels: []string{"ca", ca.Directory}, Value: max(0, ca.NotBefore.Sub(now).Seconds())})
	}
	return []shingle.Metric{
		{Name: "shingle_certs_queue", Help: "Hosts that are due in the fleet.", Values: []shingle.MetricValue{
			{Labels: []string{"kind", "new"}, Value: float64(q.New)}, {Labels: []string{"kind", "renewal"}, Value: float64(q.Renew)},
		}},
		{Name: "shingle_certs_renewals_overdue", Help: "Of the first 1000 in the queue, those due for renewal for over an hour.", Values: shingle.One(float64(overdue))},
		{Name: "shingle_certs_stopped", Help: "Hosts of the fleet that are given up until somebody acts, at most 1000 of each.", Values: stopped},
		{Name: "shingle_certs_budget_left", Help: "Orders that a CA's limits leave.", Values: left},
		{Name: "shingle_certs_ca_pause_seconds", Help: "How long a CA wants no order.", Values: pause},
	}
}

// look returns the queue, and how many hosts are given up, as it was a minute ago at most.
func (m *Manager) look(ctx context.Context, now time.Time) (shingle.IssuanceQueue, [len(stoppedBy)]int, error) {
	s := &m.survey
	s.mu.Lock()
	defer s.mu.Unlock()
	if age := now.Sub(s.at); age >= 0 && age < surveyEvery {
		return s.is, s.stopped, nil
	}
	q, err := m.Queue(ctx, surveyHosts)
	if err != nil {
		return q, s.stopped, err
	}
	stopped, err := m.stopped(ctx, &s.tidied)
	if err != nil {
		return q, stopped, err
	}
	s.at, s.is, s.stopped = now, q, stopped
	return q, stopped, nil
}

// tallies returns the values of all CAs.
func (m *Manager) tallies(of func(*tally) []shingle.MetricValue) []shingle.MetricValue {
	var list []shingle.MetricValue
	for _, ca := range m.cas {
		for _, v := range of(&ca.tally) {
			v.Labels = append(v.Labels, "ca", ca.Directory)
			list = append(list, v)
		}
	}
	return list
}

func one(n *atomic.Uint64, labels ...string) shingle.MetricValue {
	return shingle.MetricValue{Labels: labels, Value: float64(n.Load())}
}

// expiry returns when the first of the valid entries expires; zero: there is none.
func (c *cache) expiry(now time.Time) (first time.Time) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		for _, e := range s.entries {
			if e.valid(now) && (first.IsZero() || e.notAfter.Before(first)) {
				first = e.notAfter
			}
		}
		s.mu.RUnlock()
	}
	return first
}

// len returns how many flights there are.
func (g *flights) len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.running)
}
