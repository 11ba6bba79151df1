package aws

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/shingle-proxy/shingle"
)

// TestDeploy_Moto brings a stage to another implementation of CloudFormation, which
// makes its resources, and looks at them by their own APIs. What moto does not know
// it leaves out; its updates, rollbacks and removals are not AWS's.
func TestDeploy_Moto(t *testing.T) {
	endpoint := os.Getenv("SHINGLE_TEST_MOTO")
	if endpoint == "" {
		t.Skip("SHINGLE_TEST_MOTO is not set: run `make test`, or `go run ./scripts/servers -only moto go test ./internal/aws`")
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "deploy")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "deploy")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	account, err := OpenAccount(t.Context(), endpoint)
	if err != nil {
		t.Fatal(err)
	}
	d := deployment(FrontRoute53, usEast)
	d.Stage = "moto"
	artifacts, err := newArtifacts([]byte("the binary"))
	if err != nil {
		t.Fatal(err)
	}
	x := &Deployer{Account: account, Deployment: d, Artifacts: artifacts, Poll: 50 * time.Millisecond}
	if err := x.Deploy(t.Context(), Plan{}); err != nil {
		t.Fatal(err)
	}
	lookAt(t, x, usEast)
	plan, err := x.Plan(t.Context())
	if err != nil || len(plan.Changes) != 0 {
		t.Errorf("a second deployment would change %v, %v", plan.Changes, err)
	}
	d.Regions = append(d.Regions, euWest)
	if err := x.Deploy(t.Context(), Plan{}); err != nil {
		t.Fatal(err)
	}
	lookAt(t, x, euWest)
}

// lookAt looks at the resources of a region.
func lookAt(t *testing.T, x *Deployer, r Region) {
	t.Helper()
	ctx, in := t.Context(), x.Account.in(r.Name)
	bucket := "shingle-moto-" + accountID(ctx, t, x) + "-" + r.Name
	objects, err := x.Account.s3(r.Name).ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket})
	if err != nil || len(objects.Contents) != 2 {
		t.Errorf("%s: artifacts %v, %v", r.Name, objects, err)
	}
	parameter, err := ssm.NewFromConfig(in).GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/shingle/moto/master-key"), WithDecryption: aws.Bool(true)})
	if err != nil {
		t.Errorf("%s: %v", r.Name, err)
	} else if _, err := shingle.ParseMasterKeys(*parameter.Parameter.Value); err != nil || parameter.Parameter.Type != "SecureString" {
		t.Errorf("%s: master key: %s, %v", r.Name, parameter.Parameter.Type, err)
	}
	groups, err := autoscaling.NewFromConfig(in).DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{"shingle-moto-edges"}})
	if err != nil || len(groups.AutoScalingGroups) != 1 || len(groups.AutoScalingGroups[0].Instances) != r.Edges {
		t.Errorf("%s: edges %+v, %v", r.Name, groups, err)
	}
	if r.Name != x.Deployment.Home() {
		return
	}
	table, err := dynamodb.NewFromConfig(in).DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String("shingle-moto")})
	if err != nil || len(table.Table.KeySchema) != 2 || table.Table.BillingModeSummary.BillingMode != "PAY_PER_REQUEST" {
		t.Errorf("table %+v, %v", table, err)
	}
	zones, err := route53.NewFromConfig(in).ListHostedZones(ctx, &route53.ListHostedZonesInput{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(zones.HostedZones, func(z types.HostedZone) bool { return strings.TrimSuffix(*z.Name, ".") == "example.com" }) {
		t.Errorf("zones %+v", zones.HostedZones)
	}
}

func accountID(ctx context.Context, t *testing.T, x *Deployer) string {
	t.Helper()
	id, err := x.Account.ID(ctx, x.Deployment.Home())
	if err != nil {
		t.Fatal(err)
	}
	return id
}
