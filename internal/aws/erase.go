package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
)

// DeleteData deletes the table of a stage whose stacks were removed: every domain
// and every certificate. It cannot be undone.
func (x *Deployer) DeleteData(ctx context.Context) error {
	regions, err := x.tableRegions(ctx)
	if err != nil {
		return err
	}
	for _, region := range regions {
		if err := x.deleteTable(ctx, region); err != nil {
			return err
		}
	}
	return nil
}

// tableRegions are those in which the table is or may be, home the last: those of the
// deployment, and those that the table itself names. For the record of a deployment is
// gone with its stacks, and the data may be deleted later.
func (x *Deployer) tableRegions(ctx context.Context) ([]string, error) {
	home := x.Deployment.Home()
	var regions []string
	for _, r := range x.Deployment.Regions[1:] {
		regions = append(regions, r.Name)
	}
	is, err := x.lookAtTable(ctx, home)
	if err != nil {
		return nil, err
	}
	if is != nil {
		for _, r := range is.Replicas {
			if name := aws.ToString(r.RegionName); name != home && !slices.Contains(regions, name) {
				regions = append(regions, name)
			}
		}
	}
	return append(regions, home), nil
}

// lookAtTable returns nil when the table is not there.
func (x *Deployer) lookAtTable(ctx context.Context, region string) (*ddbtypes.TableDescription, error) {
	table := x.Deployment.table()
	out, err := x.dynamodb(region).DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &table})
	if _, missing := errors.AsType[*ddbtypes.ResourceNotFoundException](err); missing {
		return nil, nil //nolint:nilnil // there is none, which is no error
	}
	if err != nil {
		return nil, fmt.Errorf("look for table %s in %s: %w", table, region, err)
	}
	return out.Table, nil
}

func (x *Deployer) dynamodb(region string) *dynamodb.Client {
	return dynamodb.NewFromConfig(x.Account.in(region))
}

// tableWait bounds how long a replica or a table may take to go.
const tableWait = 30 * time.Minute

// maxTableRefusals is how often in a row a step with a table may be refused while nothing is
// under way with it.
const maxTableRefusals = 3

// deleteTable deletes the table, or its replica, in a region. Before each step it looks how
// far it is: the step may have been taken by a run that was cut short, or by an attempt whose
// reply was lost, so that the next one was refused.
func (x *Deployer) deleteTable(ctx context.Context, region string) error {
	table := x.Deployment.table()
	ctx, cancel := context.WithTimeout(ctx, tableWait)
	defer cancel()
	for refused := 0; ; {
		is, err := x.lookAtTable(ctx, region)
		if err != nil || is == nil {
			return err
		}
		switch {
		case is.TableStatus != ddbtypes.TableStatusActive:
			refused = 0 // something is under way
		default:
			if err := x.stepTable(ctx, region, is); err != nil {
				if refused++; refused == maxTableRefusals || !refusal(err) {
					return fmt.Errorf("delete table %s in %s: %w", table, region, err)
				}
			}
		}
		if err := x.pause(ctx); err != nil {
			return fmt.Errorf("wait until table %s in %s is gone: %w", table, region, err)
		}
	}
}

// stepTable takes the next step of a table that is to go.
func (x *Deployer) stepTable(ctx context.Context, region string, is *ddbtypes.TableDescription) (err error) {
	table, home := x.Deployment.table(), x.Deployment.Home()
	switch {
	case aws.ToBool(is.DeletionProtectionEnabled):
		_, err = x.dynamodb(region).UpdateTable(ctx, &dynamodb.UpdateTableInput{TableName: &table, DeletionProtectionEnabled: aws.Bool(false)})
	case region == home:
		_, err = x.dynamodb(region).DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: &table})
	default:
		_, err = x.dynamodb(home).UpdateTable(ctx, &dynamodb.UpdateTableInput{TableName: &table, ReplicaUpdates: []ddbtypes.ReplicationGroupUpdate{
			{Delete: &ddbtypes.DeleteReplicationGroupMemberAction{RegionName: &region}},
		}})
	}
	return err
}

// refusal reports that DynamoDB refuses a step because of what the table is at this moment.
func refusal(err error) bool {
	e, ok := errors.AsType[smithy.APIError](err)
	return ok && slices.Contains([]string{"ResourceInUseException", "ResourceNotFoundException", "ValidationException"}, e.ErrorCode())
}
