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
	"github.com/aws/aws-sdk-go-v2/service/route53"
)

// adopt has the deployment take up what an earlier life of the stage left: its zone,
// to which the registrar delegates, and its KMS key, without which no private key in
// the table can be read. CloudFormation itself takes up the table alone, for only a
// table has a name of our choice.
func (x *Deployer) adopt(ctx context.Context) error {
	d := x.Deployment
	before, err := x.Before(ctx)
	if err != nil {
		return err
	}
	if before != nil { // what was adopted then is no part of the stacks now
		if d.ZoneID == "" && d.Zone == before.Zone {
			d.ZoneID = before.ZoneID
		}
		if d.MasterKey == before.MasterKey {
			d.MasterKeyARN = before.MasterKeyARN
		}
	} else if err := errors.Join(x.adoptZone(ctx), x.adoptKey(ctx)); err != nil {
		return err
	}
	return x.adoptReplicas(ctx)
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
	d := x.Deployment
	out, err := route53.NewFromConfig(x.Account.in(d.Home())).ListHostedZonesByName(ctx, &route53.ListHostedZonesByNameInput{DNSName: &d.Zone})
	if err != nil {
		return "", fmt.Errorf("look for the zone %s: %w", d.Zone, err)
	}
	for _, z := range out.HostedZones {
		if strings.TrimSuffix(aws.ToString(z.Name), ".") == d.Zone && z.Config != nil && aws.ToString(z.Config.Comment) == d.zoneComment() {
			return strings.TrimPrefix(aws.ToString(z.Id), "/hostedzone/"), nil
		}
	}
	return "", nil
}

// keptKey returns the ARN of the KMS key that a stage of this name once made, or "".
// Records without their key are an error: a new one would open nothing.
func (x *Deployer) keptKey(ctx context.Context) (string, error) {
	d := x.Deployment
	out, err := kms.NewFromConfig(x.Account.in(d.Home())).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(d.keyAlias())})
	if _, none := errors.AsType[*kmstypes.NotFoundException](err); none {
		return "", x.noData(ctx, "the key "+d.keyAlias())
	}
	if err != nil {
		return "", fmt.Errorf("look for the key %s: %w", d.keyAlias(), err)
	}
	return aws.ToString(out.KeyMetadata.Arn), nil
}
