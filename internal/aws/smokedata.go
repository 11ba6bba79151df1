package aws

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// smokeTable looks at the table, and whether its records could be had again.
func (x *Deployer) smokeTable(ctx context.Context) (string, error) {
	var wrong reasons
	for _, r := range x.Deployment.Regions {
		if err := x.tableIn(ctx, r.Name, &wrong); err != nil {
			return "", err
		}
	}
	return "in " + plural(len(x.Deployment.Regions), "region", "regions") + ", protected from deletion, recoverable to any second of 35 days",
		wrong.fault("shingle deploy sets it again where the template changes; otherwise set it by hand: aws dynamodb update-table --deletion-protection-enabled, aws dynamodb update-continuous-backups")
}

func (x *Deployer) tableIn(ctx context.Context, region string, wrong *reasons) error {
	name := x.Deployment.table()
	is, err := x.lookAtTable(ctx, region)
	if err != nil {
		return err
	}
	if is == nil {
		wrong.add("in %s there is no table %s", region, name)
		return nil
	}
	if is.TableStatus != ddbtypes.TableStatusActive && is.TableStatus != ddbtypes.TableStatusUpdating {
		wrong.add("in %s it is %s", region, is.TableStatus)
	}
	if !aws.ToBool(is.DeletionProtectionEnabled) {
		wrong.add("in %s it is not protected from deletion", region)
	}
	backups, err := x.dynamodb(region).DescribeContinuousBackups(ctx, &dynamodb.DescribeContinuousBackupsInput{TableName: &name})
	if err != nil {
		return fmt.Errorf("look at the backups of table %s in %s: %w", name, region, err)
	}
	recovery := backups.ContinuousBackupsDescription
	if recovery == nil || recovery.PointInTimeRecoveryDescription == nil || recovery.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus != ddbtypes.PointInTimeRecoveryStatusEnabled {
		wrong.add("in %s point-in-time recovery is off", region)
	}
	return nil
}

// smokeMasterKey looks whether the key is there without which no private key can be read,
// and reads it nowhere.
func (x *Deployer) smokeMasterKey(ctx context.Context) (string, error) {
	var wrong reasons
	d := x.Deployment
	id, err := "", error(nil)
	if d.MasterKey == MasterKeyKMS {
		if id, err = x.masterKeyID(ctx, d); err != nil {
			return "", err
		}
	}
	for _, r := range d.Regions {
		if d.MasterKey == MasterKeyKMS {
			err = x.kmsKeyIn(ctx, r.Name, id, &wrong)
		} else {
			err = x.keyParameterIn(ctx, r.Name, &wrong)
		}
		if err != nil {
			return "", err
		}
	}
	what := "the encrypted parameter " + d.keyParameter()
	if d.MasterKey == MasterKeyKMS {
		what = "the KMS key " + id
	}
	return what + " in " + plural(len(d.Regions), "region", "regions"),
		wrong.fault("without it no private key in the table can be read: put the parameter back from your backup, or enable the key, before anything else")
}

func (x *Deployer) keyParameterIn(ctx context.Context, region string, wrong *reasons) error {
	name := x.Deployment.keyParameter()
	_, err := x.Account.ssm(region).GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
	if _, none := errors.AsType[*ssmtypes.ParameterNotFound](err); none {
		wrong.add("in %s there is no parameter %s", region, name)
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for parameter %s in %s: %w", name, region, err)
	}
	return nil
}

func (x *Deployer) kmsKeyIn(ctx context.Context, region, id string, wrong *reasons) error {
	is, err := x.key(ctx, region, id)
	if _, none := errors.AsType[*kmstypes.NotFoundException](err); none {
		wrong.add("in %s there is no key %s", region, id)
		return nil
	}
	if err != nil {
		return err
	}
	if is.KeyState != kmstypes.KeyStateEnabled {
		wrong.add("in %s the key %s is %s", region, id, is.KeyState)
	}
	return nil
}
