package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/shingle-proxy/shingle"
)

// adopt has the deployment take up what an earlier life of the stage left: its zone,
// to which the registrar delegates, and its KMS key, without which no private key in
// the table can be read. CloudFormation itself takes up the table alone, for only a
// table has a name of our choice. It returns what the stage was deployed as, and the
// regions in which something of it may be.
func (x *Deployer) adopt(ctx context.Context) (before *Deployment, regions []string, err error) {
	d := x.Deployment
	if before, err = x.Before(ctx); err != nil {
		return nil, nil, err
	}
	if regions, err = x.regions(ctx, before); err != nil {
		return nil, nil, err
	}
	if before != nil { // what was adopted then is no part of the stacks now
		if d.ZoneID == "" && d.Zone == before.Zone {
			d.ZoneID = before.ZoneID
		}
		if d.MasterKey == before.MasterKey {
			d.MasterKeyARN = before.MasterKeyARN
		}
	} else if err := errors.Join(x.adoptZone(ctx), x.adoptKey(ctx)); err != nil {
		return nil, nil, err
	}
	return before, regions, x.adoptReplicas(ctx)
}

func (x *Deployer) adoptZone(ctx context.Context) error {
	d := x.Deployment
	if d.ZoneID != "" || d.Zone == "" {
		return nil
	}
	made, err := x.made(ctx, kindFront, d.Home(), "Zone")
	if err == nil && !made {
		d.ZoneID, err = x.keptZone(ctx)
	}
	return err
}

func (x *Deployer) adoptKey(ctx context.Context) error {
	if x.Deployment.MasterKey != MasterKeyKMS {
		return nil
	}
	made, err := x.made(ctx, kindData, x.Deployment.Home(), "MasterKey")
	if err == nil && !made {
		x.Deployment.MasterKeyARN, err = x.keptKey(ctx)
	}
	return err
}

// made reports whether a stack is there, with a resource: one that a deployment made
// that may have been cut short.
func (x *Deployer) made(ctx context.Context, kind, region, resource string) (bool, error) {
	s := x.Deployment.newStack(kind, region, "")
	r := x.run(&s)
	is, err := r.look(ctx, s.Name)
	if err == nil && is.busy() { // an earlier run has begun it
		is, err = r.settle(ctx, is)
	}
	if errors.Is(err, errNoStack) || err == nil && (is.stillborn() || strings.HasPrefix(string(is.status), "DELETE")) {
		return false, nil // what stays of it is found by its name
	}
	if err != nil {
		return false, err
	}
	body, err := r.template(ctx)
	if err != nil {
		return false, err
	}
	var t struct{ Resources map[string]struct{} }
	if err := json.Unmarshal(body, &t); err != nil {
		return false, fmt.Errorf("read template of stack %s: %w", s.ID(), err)
	}
	_, made := t.Resources[resource]
	return made, nil
}

// keptZone returns the ID of the zone that a stage of this name once made, or "".
func (x *Deployer) keptZone(ctx context.Context) (string, error) {
	zone, err := x.stageZone(ctx)
	if err != nil || zone == nil {
		return "", err
	}
	return strings.TrimPrefix(aws.ToString(zone.Id), "/hostedzone/"), nil
}

// keptKey returns the ARN of the KMS key that a stage of this name once made, or "".
// Records without their key are an error: a new one would open nothing.
func (x *Deployer) keptKey(ctx context.Context) (string, error) {
	d := x.Deployment
	is, err := x.stageKey(ctx)
	switch {
	case err != nil:
		return "", err
	case is == nil:
		return "", x.noData(ctx, "the key "+d.keyAlias())
	case is.DeletionDate != nil || is.KeyState == kmstypes.KeyStatePendingReplicaDeletion:
		return "", shingle.Errorf(shingle.CodeConflict, "the key %[1]s is about to be deleted: finish that with shingle remove --delete-data, or, to have it and its table again, call it back with aws kms cancel-key-deletion --region %[2]s --key-id %[3]s and aws kms enable-key --region %[2]s --key-id %[3]s; then deploy again", d.keyAlias(), d.Home(), keyID(aws.ToString(is.Arn)))
	}
	return aws.ToString(is.Arn), nil
}

// stageKey returns the KMS key that a stage of this name has made, or nil.
func (x *Deployer) stageKey(ctx context.Context) (*kmstypes.KeyMetadata, error) {
	alias, home := x.Deployment.keyAlias(), x.Deployment.Home()
	out, err := x.kms(home).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &alias})
	if _, none := errors.AsType[*kmstypes.NotFoundException](err); none {
		return nil, nil //nolint:nilnil // there is none, which is no error
	}
	if err != nil {
		return nil, fmt.Errorf("look for the key %s: %w", alias, err)
	}
	return out.KeyMetadata, nil
}
