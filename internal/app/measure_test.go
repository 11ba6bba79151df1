package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/aws"
)

// told is what CloudWatch makes of lines in its embedded metric format: values by
// namespace, metric, dimension and its value.
func told(t *testing.T, lines []byte) map[[4]string]float64 {
	t.Helper()
	values := map[[4]string]float64{}
	for line := range bytes.Lines(lines) {
		var record map[string]json.RawMessage
		var head struct {
			Timestamp         int64
			CloudWatchMetrics []struct {
				Namespace  string
				Dimensions [][]string
				Metrics    []struct{ Name string }
			}
		}
		if err := errors.Join(json.Unmarshal(line, &record), json.Unmarshal(record["_aws"], &head)); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if at := time.UnixMilli(head.Timestamp); time.Since(at).Abs() > time.Hour {
			t.Errorf("it is of %s", at)
		}
		for _, d := range head.CloudWatchMetrics {
			for _, m := range d.Metrics {
				dimension, of, value := d.Dimensions[0][0], "", math.NaN()
				if err := errors.Join(json.Unmarshal(record[dimension], &of), json.Unmarshal(record[m.Name], &value)); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				values[[4]string{d.Namespace, m.Name, dimension, of}] = value
			}
		}
	}
	return values
}

func TestMeasures_OfTheFunction(t *testing.T) {
	t.Parallel() // a turn of three seconds
	a, _ := newFunction(t)
	var out bytes.Buffer
	a.cfg.Measures, a.cfg.Stage = &out, "prd"
	a.expiries.note(&shingle.CheckResult{CertifiedUntil: time.Now().Add(50 * 24 * time.Hour)})
	a.expiries.note(&shingle.CheckResult{CertifiedUntil: time.Now().Add(5 * 24 * time.Hour)})
	a.expiries.note(&shingle.CheckResult{})
	if err := a.turn(t.Context()); err != nil {
		t.Fatal(err)
	}
	days := told(t, out.Bytes())[[4]string{"Shingle", "CertificateDaysLeft", "Stage", "prd"}]
	if math.Abs(days-5) > 0.1 {
		t.Errorf("%.2f days are left: %s", days, out.Bytes())
	}
	out.Reset()
	now := time.Now()
	if err := a.measure(t.Context(), now, now.Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	values := told(t, out.Bytes())
	if _, again := values[[4]string{"Shingle", "CertificateDaysLeft", "Stage", "prd"}]; again {
		t.Error("what was told is told again")
	}
	if got := values[[4]string{"Shingle", "QueueSeconds", "Stage", "prd"}]; got != 60 {
		t.Errorf("a certificate that is due for a minute has waited %v s", got)
	}
	if got := values[[4]string{"Shingle", "BudgetLeft", "Stage", "prd"}]; got != 1 {
		t.Errorf("of an untouched budget %v is left", got)
	}
}

func TestMeasures_OfAnEdge(t *testing.T) {
	var sick error
	var all, failed uint64
	measure := edgeMeasures("prd", func() error { return sick }, func() (uint64, uint64) { return all, failed })
	value := func(metric string) float64 {
		t.Helper()
		v, ok := told(t, measure(time.Now()))[[4]string{"Shingle", metric, "Stage", "prd"}]
		if !ok {
			return -1
		}
		return v
	}
	all, failed = fewAnswers-1, fewAnswers-1
	if got := value("ErrorPercent"); got != -1 {
		t.Errorf("of few answers: %v %%", got)
	}
	all, failed = all+200, failed+50
	if got := value("ErrorPercent"); got != 25 {
		t.Errorf("50 of 200 answers failed: %v %%", got)
	}
	if got := value("Serving"); got != 1 {
		t.Errorf("serving: %v", got)
	}
	if sick = errors.New("no"); value("Serving") != 0 {
		t.Error("a sick edge tells that it serves")
	}
}

// TestAlarms_WatchWhatIsTold holds the alarms of all stacks against what the code
// tells, and against what Lambda does.
func TestAlarms_WatchWhatIsTold(t *testing.T) {
	t.Parallel()
	a, _ := newFunction(t)
	var out bytes.Buffer
	a.cfg.Measures, a.cfg.Stage = &out, "prd"
	a.expiries.note(&shingle.CheckResult{CertifiedUntil: time.Now()})
	if err := a.measure(t.Context(), time.Now(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	out.Write(edgeMeasures("prd", func() error { return nil }, func() (uint64, uint64) { return fewAnswers, 0 })(time.Now()))
	known := told(t, out.Bytes())
	unwatched := map[[4]string]bool{}
	for id := range known {
		unwatched[id] = true
	}
	ofAWS := [3]string{"AWS/Lambda", "Errors", "FunctionName"} // as its documentation has it
	d := aws.Deployment{
		Stage: "prd", Regions: []aws.Region{{Name: "us-east-1", Edges: 1}, {Name: "eu-west-1", Edges: 2}}, InstanceType: "t4g.nano",
		Front: aws.FrontRoute53, MasterKey: aws.MasterKeyParameter, Zone: "example.com", Name: "edge.example.com", Target: "app.example.com", Email: "ops@example.com",
	}
	alarms := 0
	for _, s := range d.Stacks() {
		var template struct {
			Resources map[string]struct {
				Type       string
				Properties struct {
					Namespace, MetricName string
					Dimensions            []struct {
						Name  string
						Value any
					}
				}
			}
		}
		if err := json.Unmarshal(s.Template.JSON(), &template); err != nil {
			t.Fatal(err)
		}
		for id, r := range template.Resources {
			if r.Type != "AWS::CloudWatch::Alarm" {
				continue
			}
			alarms++
			p := r.Properties
			of, _ := p.Dimensions[0].Value.(string)
			metric := [4]string{p.Namespace, p.MetricName, p.Dimensions[0].Name, of}
			delete(unwatched, metric)
			if _, told := known[metric]; !told && [3]string(metric[:3]) != ofAWS || len(p.Dimensions) != 1 {
				t.Errorf("%s of %s watches %v, which nobody tells", id, s.ID(), metric)
			}
		}
	}
	if alarms != 4+2*2 || len(unwatched) > 0 {
		t.Errorf("%d alarms; nobody watches %v", alarms, unwatched)
	}
}
