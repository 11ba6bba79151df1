// Package cloudwatch tells Amazon CloudWatch how a stage is, by its embedded metric
// format: a line in a log, out of which CloudWatch makes metrics. No call is paid for
// but the line.
package cloudwatch

import (
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// Namespace and Dimension are those of all metrics; the dimension's value is the stage.
const (
	Namespace = "Shingle"
	Dimension = "Stage"
)

// The metrics of the control plane, in the home region.
const (
	CertificateDaysLeft = "CertificateDaysLeft" // the least of the domains that were just checked, each daily
	QueueSeconds        = "QueueSeconds"        // for which the first of the certificates that are due has waited
	BudgetLeft          = "BudgetLeft"          // of the first CA's new orders, 0 to 1
)

// The metrics of each edge, in its region, once a minute.
const (
	Serving      = "Serving"      // 1 when it can serve, else 0
	ErrorPercent = "ErrorPercent" // of its answers over HTTPS, those with a status of 5xx; not told of few answers
)

// Line returns the line that tells of values, by the names of their metrics. There
// must be one at least; it ends with a newline.
func Line(stage string, at time.Time, values map[string]float64) []byte {
	type name struct{ Name string }
	type directive struct {
		Namespace  string
		Dimensions [][]string
		Metrics    []name
	}
	var metrics []name
	record := map[string]any{Dimension: stage}
	for _, n := range slices.Sorted(maps.Keys(values)) {
		metrics = append(metrics, name{n})
		record[n] = values[n]
	}
	record["_aws"] = map[string]any{
		"Timestamp":         at.UnixMilli(),
		"CloudWatchMetrics": []directive{{Namespace, [][]string{{Dimension}}, metrics}},
	}
	line, err := json.Marshal(record)
	if err != nil {
		panic(err) // strings, and numbers that are finite
	}
	return append(line, '\n')
}
