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
	s.Template.Resources["ControlStandsStill"] = alarm("Control has not run for 15 minutes: nothing is renewed", props{
		"Namespace": "AWS/Lambda", "MetricName": "Invocations", "Dimensions": function, "Statistic": "Sum",
		"Period": 300, "EvaluationPeriods": 3, "Threshold": 1, "ComparisonOperator": "LessThanThreshold",
		"TreatMissingData": "breaching",
	})
	stage := []props{{"Name": "Stage", "Value": d.Stage}}
	for id, a := range map[string]struct {
		metric, what, than string
		threshold          float64
	}{
		"CertificateNearExpiry": {"CertificateDaysLeft", "A certificate has less than 7 days left", "LessThanThreshold", 7},
		"QueueIsOld":            {"QueueSeconds", "A name has waited for its certificate for an hour", "GreaterThanThreshold", 3600},
		"BudgetIsLow":           {"BudgetLeft", "Less than a tenth of the CA's new orders is left", "LessThanThreshold", 0.1},
	} {
		s.Template.Resources[id] = alarm(a.what, props{
			"Namespace": "Shingle", "MetricName": a.metric, "Dimensions": stage,
			"Statistic": map[bool]string{true: "Minimum", false: "Maximum"}[a.than == "LessThanThreshold"],
			"Period":    300, "EvaluationPeriods": 2, "Threshold": a.threshold, "ComparisonOperator": a.than,
			"TreatMissingData": "notBreaching",
		})
	}
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

// edgeAlarms tell the operator of a region whose edges are not all in service.
func (d *Deployment) edgeAlarms(s *Stack, r Region) {
	s.Template.Resources["Alarms"] = topic(d)
	group := []props{{"Name": "AutoScalingGroupName", "Value": ref("Edges")}}
	s.Template.Resources["EdgeMissing"] = alarm("An edge of "+r.Name+" has been out of service for 10 minutes", props{
		"Namespace": "AWS/AutoScaling", "MetricName": "GroupInServiceInstances", "Dimensions": group, "Statistic": "Minimum",
		"Period": 300, "EvaluationPeriods": 2, "Threshold": r.Edges, "ComparisonOperator": "LessThanThreshold",
		"TreatMissingData": "breaching",
	})
}
