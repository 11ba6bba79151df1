package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// A replica that goes with its region, or its stage, is there for days after that,
// and as long KMS makes no other. So one that is needed again is called back. It is in no
// stack then, and goes by the Deployer's own hand.

// adoptReplicas finds replicas of the master key that no stack has made.
func (x *Deployer) adoptReplicas(ctx context.Context) error {
	d := x.Deployment
	d.KeptReplicas = nil
	if d.MasterKey != MasterKeyKMS || len(d.Regions) == 1 {
		return nil
	}
	id, err := x.masterKeyID(ctx, d)
	if err != nil || id == "" {
		return err
	}
	for _, r := range d.Regions[1:] {
		made, err := x.made(ctx, kindKey, r.Name, "Replica")
		if err != nil {
			return err
		}
		if made {
			continue
		}
		_, err = x.key(ctx, r.Name, id)
		if _, none := errors.AsType[*kmstypes.NotFoundException](err); none {
			continue
		}
		if err != nil {
			return err
		}
		d.KeptReplicas = append(d.KeptReplicas, r.Name)
	}
	return nil
}

// masterKeyID returns the ID of the KMS key, which is the same in each region, or "" when
// there is none yet.
func (x *Deployer) masterKeyID(ctx context.Context, d *Deployment) (string, error) {
	arn := d.MasterKeyARN
	if arn == "" {
		data := d.newStack(kindData, d.Home(), "")
		is, err := x.run(&data).look(ctx, data.Name)
		if err != nil && !errors.Is(err, errNoStack) {
			return "", err
		}
		arn = is.outputs["MasterKeyArn"]
	}
	return keyID(arn), nil
}

// keyID is the ID in a key's ARN: the same for all replicas.
func keyID(arn string) string { return arn[strings.LastIndex(arn, "/")+1:] }

func (x *Deployer) kms(region string) *kms.Client { return kms.NewFromConfig(x.Account.in(region)) }

func (x *Deployer) key(ctx context.Context, region, id string) (*kmstypes.KeyMetadata, error) {
	out, err := x.kms(region).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})
	if err != nil {
		return nil, fmt.Errorf("look for the master key in %s: %w", region, err)
	}
	return out.KeyMetadata, nil
}

// callBackReplicas has the replicas that no stack has made stay, and be of use.
func (x *Deployer) callBackReplicas(ctx context.Context) error {
	if len(x.Deployment.KeptReplicas) == 0 {
		return nil
	}
	id, err := x.masterKeyID(ctx, x.Deployment)
	if err != nil {
		return err
	}
	for _, region := range x.Deployment.KeptReplicas {
		if err := x.stepKey(ctx, region, id, callBackStep); err != nil {
			return fmt.Errorf("have the master key in %s stay: %w", region, err)
		}
	}
	return nil
}

// callBackStep is the next step of a key that is to be of use.
func callBackStep(ctx context.Context, c *kms.Client, id string, is kmstypes.KeyState) (done bool, err error) {
	switch is {
	case kmstypes.KeyStatePendingDeletion:
		_, err = c.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: &id})
		return false, err // it is disabled then
	case kmstypes.KeyStateDisabled:
		_, err = c.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &id})
	}
	return true, err
}

// maxKeySteps bounds the looks at a key, which another look may see as it was before.
const maxKeySteps = 10

// stepKey takes the steps of a key. One that KMS refuses because of the key's state may have
// been taken by an attempt whose reply was lost: so the key is looked at again.
func (x *Deployer) stepKey(ctx context.Context, region, id string, step func(context.Context, *kms.Client, string, kmstypes.KeyState) (bool, error)) error {
	for n := 1; ; n++ {
		is, err := x.key(ctx, region, id)
		if err != nil {
			return err
		}
		done, err := step(ctx, x.kms(region), id, is.KeyState)
		_, state := errors.AsType[*kmstypes.KMSInvalidStateException](err)
		if err == nil && done || err != nil && !state || n == maxKeySteps {
			return err
		}
		if err := x.pause(ctx); err != nil {
			return err
		}
	}
}

// staleReplicas are the regions in which a replica that no stack has made is not wanted.
func (x *Deployer) staleReplicas(regions []string) []string {
	if x.Deployment.MasterKey == MasterKeyKMS {
		return without(regions, x.Deployment.regionNames())
	}
	return without(regions, []string{x.Deployment.Home()})
}

// dropReplicas has the replicas of the stage's key in regions deleted, in some days.
func (x *Deployer) dropReplicas(ctx context.Context, regions []string) error {
	if len(regions) == 0 {
		return nil
	}
	is, err := x.stageKey(ctx)
	if err != nil || is == nil {
		return err
	}
	id := keyID(aws.ToString(is.Arn))
	for _, region := range regions {
		err := x.scheduleKey(ctx, region, id, replicaWindow)
		if _, none := errors.AsType[*kmstypes.NotFoundException](err); !none && err != nil {
			return fmt.Errorf("delete the master key's replica in %s: %w", region, err)
		}
	}
	return nil
}

// scheduleKey has a key deleted in some days.
func (x *Deployer) scheduleKey(ctx context.Context, region, id string, days int32) error {
	return x.stepKey(ctx, region, id, func(ctx context.Context, c *kms.Client, id string, is kmstypes.KeyState) (done bool, err error) {
		if is == kmstypes.KeyStatePendingDeletion || is == kmstypes.KeyStatePendingReplicaDeletion {
			return true, nil
		}
		_, err = c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: &days})
		return true, err
	})
}
