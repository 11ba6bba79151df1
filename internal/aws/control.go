package aws

import "encoding/json"

// control is the stack of the API and of what is done by schedule: one function,
// which is the same binary.
func (d *Deployment) control() Stack {
	s := d.newStack(kindControl, d.Home(), "API and scheduled work")
	base, data := d.newStack(kindBase, d.Home(), ""), d.newStack(kindData, d.Home(), "")
	bucket := s.input("Bucket", "bucket with the binary", &base, "Bucket")
	table := s.input("TableArn", "ARN of the table", &data, "TableArn")
	s.Template.Parameters["Code"] = text("Key of the function's code in the bucket: control/SHA256.zip")
	d.controlRole(&s, table)
	d.function(&s, bucket)
	d.schedule(&s)
	d.controlAlarms(&s)
	s.Template.Resources["Deployment"] = d.record()
	return s
}

// record is a parameter that tells the next deployment what there is. It is a
// resource, because CloudFormation takes no change of a template's metadata alone.
func (d *Deployment) record() Resource {
	return Resource{Type: "AWS::SSM::Parameter", Properties: props{
		"Name": "/shingle/" + d.Stage + "/deployment", "Type": "String", "Value": d.recorded(),
		"Description": "What Shingle's stage " + d.Stage + " was deployed as; written by shingle deploy",
	}}
}

// recorded is the deployment as text.
func (d *Deployment) recorded() string {
	value, err := json.Marshal(d)
	if err != nil {
		panic(err) // strings and numbers
	}
	return string(value)
}

func (d *Deployment) controlRole(s *Stack, table any) {
	statements := append(d.tableRights(table),
		statement([]string{"logs:CreateLogStream", "logs:PutLogEvents"}, attr("Log", "Arn")),
		d.masterKeyRights(s))
	statements = append(statements, d.clientSecretRights()...)
	statements = append(statements, dns01Rights(d.Settings.Control)...)
	s.Template.Resources["Log"] = d.log("/shingle/" + d.Stage + "/control")
	s.Template.Resources["Role"] = Resource{
		Type: "AWS::IAM::Role",
		Properties: props{
			"AssumeRolePolicyDocument": trust("lambda.amazonaws.com"),
			"Policies":                 []props{{"PolicyName": "control", "PolicyDocument": policy(statements...)}},
			"Tags":                     d.tags(),
		},
	}
}

// log is a group that forgets after a month.
func (d *Deployment) log(name string) Resource {
	return Resource{
		Type:           "AWS::Logs::LogGroup",
		DeletionPolicy: "Delete", UpdateReplacePolicy: "Delete",
		Properties: props{"LogGroupName": name, "RetentionInDays": 30, "Tags": d.tags()},
	}
}

func (d *Deployment) function(s *Stack, bucket any) {
	r := s.Template.Resources
	environment := props{}
	for name, value := range d.functionEnvironment() {
		environment[name] = value
	}
	if d.MasterKey == MasterKeyKMS {
		environment["SHINGLE_MASTER_KEY"] = sub("kms:${MasterKeyArn}")
	}
	r["Control"] = Resource{
		Type: "AWS::Lambda::Function",
		Properties: props{
			"FunctionName": d.name("control"), "Runtime": "provided.al2023", "Handler": "bootstrap",
			"Architectures": []string{"arm64"}, "MemorySize": controlMemory, "Timeout": 60,
			"Role": attr("Role", "Arn"), "Code": props{"S3Bucket": bucket, "S3Key": ref("Code")},
			"LoggingConfig": props{"LogGroup": ref("Log"), "LogFormat": "Text"},
			"Environment":   props{"Variables": environment},
			"Tags":          d.tags(),
		},
	}
	r["URL"] = Resource{
		Type:       "AWS::Lambda::Url",
		Properties: props{"TargetFunctionArn": attr("Control", "Arn"), "AuthType": "NONE"}, // the API demands a token
	}
	r["MayInvokeURL"] = Resource{
		Type: "AWS::Lambda::Permission",
		Properties: props{
			"FunctionName": attr("Control", "Arn"), "Principal": "*", "Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "NONE",
		},
	}
	r["MayInvokeByURL"] = Resource{
		Type: "AWS::Lambda::Permission",
		Properties: props{
			"FunctionName": attr("Control", "Arn"), "Principal": "*", "Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": true,
		},
	}
	s.output("URL", "Address of the API", attr("URL", "FunctionUrl"))
}

// environment is that of each process of the stage that runs in a region.
func (d *Deployment) environment(region string) map[string]string {
	e := map[string]string{
		"SHINGLE_AWS_STAGE": d.Stage,
		"SHINGLE_TABLE":     d.table(), "SHINGLE_TABLE_REGION": region, "SHINGLE_HOME_REGION": d.Home(),
		"SHINGLE_TARGET": d.Target, "SHINGLE_EMAIL": d.Email, "SHINGLE_AGREE_TERMS": "true",
		"SHINGLE_CNAME_TARGET": d.Name, "SHINGLE_MASTER_KEY": "parameter:" + d.keyParameter(),
	}
	if d.MasterKey == MasterKeyKMS {
		delete(e, "SHINGLE_MASTER_KEY") // the stack knows the key's ARN
	}
	return e
}

func (d *Deployment) schedule(s *Stack) {
	s.Template.Resources["ScheduleRole"] = Resource{
		Type: "AWS::IAM::Role",
		Properties: props{
			"AssumeRolePolicyDocument": trust("scheduler.amazonaws.com"),
			"Policies": []props{{"PolicyName": "invoke", "PolicyDocument": policy(
				statement([]string{"lambda:InvokeFunction"}, attr("Control", "Arn")))}},
			"Tags": d.tags(),
		},
	}
	s.Template.Resources["Schedule"] = Resource{
		Type: "AWS::Scheduler::Schedule",
		Properties: props{
			"Name": d.name("work"), "Description": "Renewals, checks and events of Shingle, stage " + d.Stage,
			"ScheduleExpression": "rate(1 minute)", "FlexibleTimeWindow": props{"Mode": "OFF"},
			"Target": props{
				"Arn": attr("Control", "Arn"), "RoleArn": attr("ScheduleRole", "Arn"), "Input": `{"shingle":"work"}`,
				"RetryPolicy": props{"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}, // the next minute is the retry
			},
		},
	}
}

// tableRights are those on the table and its replicas that the processes use.
func (d *Deployment) tableRights(table any) []props {
	return []props{statement(
		[]string{"dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"},
		table, sub("arn:${AWS::Partition}:dynamodb:*:${AWS::AccountId}:table/"+d.table()))}
}
