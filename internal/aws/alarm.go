package aws

// controlAlarms tell the operator what the function and its log know.
func (d *Deployment) controlAlarms(s *Stack) {
	s.Template.Resources["Alarms"] = topic(d)
	s.output("Alarms", "Topic of the alarms", ref("Alarms"))
	function := []props{{"Name": "FunctionName", "Value": ref("Control")}}
	s.Template.Resources["ControlFails"] = alarm("Control fails: renewals and checks may stand still", props{
		"Namespace": "AWS/Lambda", "MetricName": "Errors", "Dimensions": function, "Statistic": "Sum",
		"Period": 300, "EvaluationPeriods": 3, "Threshold": 1, "ComparisonOperator": "GreaterThanOrEqualToThreshold",
		"TreatMissingData": "notBreaching",
	})
	// Each domain is checked once a day, so that a day's least is that of all.
	s.Template.Resources["CertificateNearExpiry"] = d.alarmOf("A certificate has less than 7 days left", metricDaysLeft, "Minimum", "<", 7, props{
		"Period": 3600, "EvaluationPeriods": 24, "DatapointsToAlarm": 1, "TreatMissingData": "notBreaching",
	})
	// These are told by turns: one an hour at least, one in ten minutes while something is
	// due. So one alarm watches the queue and whoever works it off.
	s.Template.Resources["QueueStandsStill"] = d.alarmOf("A name waits for its certificate for over an hour, or control has done no turn for two", metricQueue, "Maximum", ">", 3600, props{
		"Period": 3600, "EvaluationPeriods": 2, "TreatMissingData": "breaching",
	})
	s.Template.Resources["BudgetIsLow"] = d.alarmOf("Less than a tenth of the CA's new orders is left", metricBudget, "Minimum", "<", 0.1, props{
		"Period": 900, "EvaluationPeriods": 1, "TreatMissingData": "ignore",
	})
}

// The metrics that the processes tell (internal/cloudwatch).
const (
	metricNamespace = "Shingle"
	metricDaysLeft  = "CertificateDaysLeft"
	metricQueue     = "QueueSeconds"
	metricBudget    = "BudgetLeft"
	metricServing   = "Serving"
	metricErrors    = "ErrorPercent"

	controlMetrics = 3 // of a stage
	edgeMetrics    = 2 // of a region
)

// alarmOf is an alarm about a metric of ours.
func (d *Deployment) alarmOf(what, metric, statistic, than string, threshold float64, p props) Resource {
	p["Namespace"], p["MetricName"], p["Statistic"], p["Threshold"] = metricNamespace, metric, statistic, threshold
	p["Dimensions"] = []props{{"Name": "Stage", "Value": d.Stage}}
	p["ComparisonOperator"] = map[string]string{"<": "LessThanThreshold", ">": "GreaterThanThreshold"}[than]
	return alarm(what, p)
}

func topic(d *Deployment) Resource {
	return Resource{
		Type: "AWS::SNS::Topic",
		Properties: props{
			"TopicName": d.name("alarms"), "Tags": d.tags(),
			"Subscription": []props{{"Protocol": "email", "Endpoint": d.Email}},
		},
	}
}

func alarm(what string, p props) Resource {
	p["AlarmDescription"] = what
	p["AlarmActions"], p["OKActions"] = []any{ref("Alarms")}, []any{ref("Alarms")}
	return Resource{Type: "AWS::CloudWatch::Alarm", Properties: p}
}

// edgeAlarms tell the operator of a region whose edges do not all serve, or serve errors.
func (d *Deployment) edgeAlarms(s *Stack, r Region) {
	s.Template.Resources["Alarms"] = topic(d)
	// Each edge tells once a minute that it serves: five times, of which two may be lost.
	s.Template.Resources["EdgeNotServing"] = d.alarmOf("An edge of "+r.Name+" has not served for 10 minutes", metricServing, "Sum", "<", float64(5*r.Edges-2), props{
		"Period": 300, "EvaluationPeriods": 2, "TreatMissingData": "breaching",
	})
	s.Template.Resources["Errors"] = d.alarmOf("Of the answers in "+r.Name+", 5 % are errors of the product or of Shingle (5xx)", metricErrors, "Average", ">", 5, props{
		"Period": 300, "EvaluationPeriods": 2, "TreatMissingData": "notBreaching",
	})
}
