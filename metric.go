package shingle

// Metric is what a process tells its operator under one name, in the terms of
// Prometheus: a counter, whose name ends in _total, or else a gauge.
type Metric struct {
	Name   string
	Help   string // one line
	Values []MetricValue
}

// MetricValue is one value of a [Metric]. Its labels take few values, all known
// beforehand: never a host, a tenant or an address.
type MetricValue struct {
	Labels []string // name, value, name, value
	Value  float64
}

// One is the value of a metric without labels.
func One(v float64) []MetricValue { return []MetricValue{{Value: v}} }
