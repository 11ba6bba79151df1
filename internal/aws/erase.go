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
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
)

// DeleteData deletes what Remove keeps, but the zone: the table, which is every domain and
// every certificate, and what protects it: the master key (a KMS key in 30 days, as KMS
// has it) and the secret of the sign-in. It cannot be undone.
func (x *Deployer) DeleteData(ctx context.Context) error {
	home := x.Deployment.Home()
	regions, err := x.dataRegions(ctx)
	if err != nil {
		return err
	}
	for _, region := range slices.Backward(regions) { // home the last
		if err := x.deleteTable(ctx, region); err != nil {
			return err
		}
	}
	for _, region := range regions {
		if err := x.deleteParameter(ctx, region, x.Deployment.keyParameter()); err != nil {
			return err
		}
	}
	if err := x.deleteParameter(ctx, home, x.Deployment.clientSecretParameter()); err != nil {
		return err
	}
	if err := x.deleteStageKey(ctx); err != nil {
		return err
	}
	return x.deleteParameter(ctx, home, x.Deployment.regionsParameter())
}

// dataRegions are those in which data are or may be, home the first: those that were noted,
// and those that the table itself names. They are noted before the table, which knows them,
// is gone.
func (x *Deployer) dataRegions(ctx context.Context) ([]string, error) {
	home := x.Deployment.Home()
	regions, err := x.Regions(ctx)
	if err != nil {
		return nil, err
	}
	regions = union([]string{home}, regions)
	is, err := x.lookAtTable(ctx, home)
	if err != nil || is == nil {
		return regions, err
	}
	regions = withReplicas(regions, is)
	return regions, x.noteRegions(ctx, regions)
}

// withReplicas returns regions, and those of a table's replicas that are not among them.
func withReplicas(regions []string, table *ddbtypes.TableDescription) []string {
	for _, r := range table.Replicas {
		regions = union(regions, []string{aws.ToString(r.RegionName)})
	}
	return regions
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

// keyWindow is for how many days the KMS key of a stage whose data were deleted can be called
// back: the most, as AWS keeps a backup of the table for about as long.
const keyWindow = 30

// deleteStageKey has the KMS key that the stage has made be deleted, in some days, and takes
// its name away, by which the next life of the stage would find it.
func (x *Deployer) deleteStageKey(ctx context.Context) error {
	is, err := x.stageKey(ctx)
	if err != nil || is == nil {
		return err
	}
	home, alias, id := x.Deployment.Home(), x.Deployment.keyAlias(), keyID(aws.ToString(is.Arn))
	if aws.ToString(is.Description) != x.Deployment.keyDescription() {
		x.report(Event{At: time.Now(), Stack: home, Resource: alias, Type: keyType, Status: "stays", Reason: "it is not one that a stage has made"})
		return nil
	}
	if err := x.scheduleKey(ctx, home, id, keyWindow); err != nil {
		return fmt.Errorf("delete the key %s: %w", alias, err)
	}
	_, err = x.kms(home).DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: &alias})
	if _, none := errors.AsType[*kmstypes.NotFoundException](err); !none && err != nil {
		return fmt.Errorf("delete the name %s of the key: %w", alias, err)
	}
	x.report(Event{
		At: time.Now(), Stack: home, Resource: id, Type: keyType, Status: "to be deleted",
		Reason: fmt.Sprintf("in %d days, from when its last replica is gone, and costs nothing until then; aws kms cancel-key-deletion --region %s --key-id %s calls it back", keyWindow, home, id),
	})
	return nil
}

const keyType = "AWS::KMS::Key"
