package dynamo_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/dynamo"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// inspect returns the findings by what was looked at.
func inspect(t *testing.T, s *dynamo.Store) map[string]shingle.StoreFinding {
	t.Helper()
	list := map[string]shingle.StoreFinding{}
	for _, f := range s.Inspect(t.Context()) {
		list[f.Check] = f
	}
	return list
}

func TestInspect_AdvisesAndLeavesNothing(t *testing.T) {
	for _, server := range servers {
		t.Run(server, func(t *testing.T) {
			cfg := config(t, server)
			s := newStore(t, cfg)
			list := inspect(t, s)
			for what, want := range map[string]shingle.Severity{
				"clock": shingle.SeverityOK, "transactions": shingle.SeverityOK, "key": shingle.SeverityOK, "billing": shingle.SeverityOK,
				"encryption at rest": shingle.SeverityOK, "TTL": shingle.SeverityOK,
				"deletion protection": shingle.SeverityWarning, "point-in-time recovery": shingle.SeverityWarning,
			} {
				f := list[what]
				if f.Severity == shingle.SeverityUnknown && server == storetest.DynamoDB {
					continue // it knows no backups
				}
				if f.Severity != want || (f.Do != "") != (want == shingle.SeverityWarning) {
					t.Errorf("%s: %+v", what, f)
				}
			}
			out, err := raw(cfg).Query(t.Context(), &dynamodb.QueryInput{
				TableName: &cfg.Table, KeyConditionExpression: aws.String("pk = :p"),
				ExpressionAttributeValues: map[string]types.AttributeValue{":p": &types.AttributeValueMemberS{Value: "check"}},
			})
			check(t, err)
			if len(out.Items) > 0 {
				t.Errorf("left behind: %v", out.Items)
			}
			follow(t, raw(cfg), cfg.Table, list)
			for what, f := range inspect(t, s) {
				if f.Severity != shingle.SeverityOK && f.Severity != shingle.SeverityUnknown {
					t.Errorf("after what was advised: %s: %+v", what, f)
				}
			}
		})
	}
}

// follow does what was advised.
func follow(t *testing.T, c *dynamodb.Client, table string, list map[string]shingle.StoreFinding) {
	t.Helper()
	if !strings.Contains(list["deletion protection"].Do, "update-table --region eu-central-1 --table-name "+table+" --deletion-protection-enabled") {
		t.Errorf("%+v", list["deletion protection"])
	}
	_, err := c.UpdateTable(t.Context(), &dynamodb.UpdateTableInput{TableName: &table, DeletionProtectionEnabled: aws.Bool(true)})
	check(t, err)
	if list["point-in-time recovery"].Severity == shingle.SeverityUnknown {
		return
	}
	_, err = c.UpdateContinuousBackups(t.Context(), &dynamodb.UpdateContinuousBackupsInput{
		TableName: &table, PointInTimeRecoverySpecification: &types.PointInTimeRecoverySpecification{PointInTimeRecoveryEnabled: aws.Bool(true)},
	})
	check(t, err)
}

// In a region that is not home a write is looked for in the replica.
func TestInspect_Replication(t *testing.T) {
	r := newRegions(t, nil)
	if f := inspect(t, r.far)["replication"]; f.Severity != shingle.SeverityOK || !strings.Contains(f.Message, "from eu-central-1 to us-west-2") {
		t.Errorf("%+v", f)
	}
	r.Settle()
	r.Cut()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for _, f := range r.far.Inspect(ctx) {
		if f.Check == "replication" && (f.Severity != shingle.SeverityFailed || !strings.Contains(f.Do, "is a replica of")) {
			t.Errorf("%+v", f)
		}
	}
}

// A permission that only the inspection needs is no failure; one that writes of
// domains need is, and is named.
func TestInspect_NamesTheMissingAction(t *testing.T) {
	t.Parallel()
	denied := []string{"DescribeTable", "DescribeTimeToLive", "DescribeContinuousBackups", "TransactWriteItems"}
	s := open(t, dynamo.Config{
		Table: "t", Region: "eu-central-1", Endpoint: "http://127.0.0.1:1", Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		Middleware: func(o *dynamodb.Options) {
			o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
				return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("deny",
					func(ctx context.Context, _ middleware.InitializeInput, _ middleware.InitializeHandler) (out middleware.InitializeOutput, m middleware.Metadata, err error) {
						operation := middleware.GetOperationName(ctx)
						action := strings.Replace(operation, "TransactWriteItems", "PutItem", 1)
						if slices.Contains(denied, operation) {
							err = &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "User: x is not authorized to perform: dynamodb:" + action + " on resource: y"}
						} else {
							err = &smithy.GenericAPIError{Code: "AccessDeniedException"}
						}
						return out, m, err
					}), middleware.Before)
			})
		},
	})
	list := inspect(t, s)
	for what, want := range map[string]struct {
		severity shingle.Severity
		action   string
	}{
		"settings":               {shingle.SeverityUnknown, "dynamodb:DescribeTable "},
		"TTL":                    {shingle.SeverityUnknown, "dynamodb:DescribeTimeToLive "},
		"point-in-time recovery": {shingle.SeverityUnknown, "dynamodb:DescribeContinuousBackups "},
		"transactions":           {shingle.SeverityFailed, "dynamodb:PutItem "},
		"clock":                  {shingle.SeverityFailed, "dynamodb:Query "},
	} {
		if f := list[what]; f.Severity != want.severity || !strings.Contains(f.Message, want.action) {
			t.Errorf("%s: %+v", what, f)
		}
	}
}
