package aws

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// ownActions are what a Deployer asks of AWS itself, as actions of IAM.
var ownActions = []string{
	"autoscaling:DescribeAutoScalingGroups",
	"cloudformation:ContinueUpdateRollback", "cloudformation:CreateChangeSet", "cloudformation:DeleteChangeSet", "cloudformation:DeleteStack",
	"cloudformation:DescribeChangeSet", "cloudformation:DescribeStackDriftDetectionStatus", "cloudformation:DescribeStackEvents",
	"cloudformation:DescribeStackResourceDrifts", "cloudformation:DescribeStacks",
	"cloudformation:DetectStackDrift", "cloudformation:ExecuteChangeSet", "cloudformation:GetTemplate", "cloudformation:ListStackResources",
	"cloudwatch:DescribeAlarms",
	"dynamodb:DeleteTable", "dynamodb:DescribeContinuousBackups", "dynamodb:DescribeTable", "dynamodb:Scan", "dynamodb:UpdateTable",
	"globalaccelerator:DescribeAccelerator", "globalaccelerator:DescribeEndpointGroup",
	"kms:CancelKeyDeletion", "kms:DeleteAlias", "kms:DescribeKey", "kms:EnableKey", "kms:ScheduleKeyDeletion", "lambda:InvokeFunction",
	"route53:ChangeResourceRecordSets", "route53:GetChange", "route53:GetHealthCheckStatus", "route53:ListHostedZonesByName", "route53:ListResourceRecordSets",
	"s3:DeleteObject", "s3:GetObject", "s3:ListBucket", "s3:PutObject",
	"sns:GetTopicAttributes",
	"ssm:DeleteParameter", "ssm:GetParameter", "ssm:PutParameter",
	"sts:GetCallerIdentity",
}

// impliedActions are those that AWS asks for beside the ones that are called.
var impliedActions = []string{
	"cloudformation:DetectStackResourceDrift", // of a stack's each resource
	"cloudformation:TagResource",              // the stacks have tags
	"ssm:AddTagsToResource",                   // the master key's parameter has one
	"ssm:GetParameters",                       // CloudFormation looks up the machine image
}

// DeployerPolicy is an IAM policy for whoever deploys and removes d. CloudFormation
// makes the resources by that person's rights, and which of a service's actions it
// takes for a type is AWS's affair: so these services are allowed as a whole.
func (d *Deployment) DeployerPolicy() []byte {
	services := map[string]bool{}
	for _, s := range d.Stacks() {
		for _, r := range s.Template.Resources {
			services[strings.ToLower(strings.Split(r.Type, "::")[1])+":*"] = true
		}
	}
	out, err := json.MarshalIndent(policy(
		statement(slices.Sorted(slices.Values(append(impliedActions, ownActions...))), "*"),
		statement(slices.Sorted(maps.Keys(services)), "*"),
	), "", "  ")
	if err != nil {
		panic(err) // maps and strings
	}
	return append(out, '\n')
}
