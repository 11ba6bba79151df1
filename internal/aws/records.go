package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	r53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
)

// Records sets CNAME records in the zone of a stage.
type Records struct {
	stage    *Deployer
	client   *route53.Client
	id, name string
}

// recordTTL is short: what is set is soon removed again.
const recordTTL = 60 // seconds

// Records returns the records of the stage's zone, or nil when it has none.
func (x *Deployer) Records(ctx context.Context) (*Records, error) {
	d := x.Deployment
	if d.Zone == "" {
		return nil, nil //nolint:nilnil // there is none, which is no error
	}
	id := d.ZoneID
	if id == "" {
		front := d.front()
		ids, err := x.resources(ctx, &front, "AWS::Route53::HostedZone")
		if err != nil {
			return nil, err
		}
		if id = ids["Zone"]; id == "" {
			return nil, fmt.Errorf("the zone %s is not there", d.Zone)
		}
	}
	return &Records{x, route53.NewFromConfig(x.Account.in(d.Home())), id, d.Zone}, nil
}

// Name returns the zone's.
func (r *Records) Name() string { return r.name }

// SetCNAME makes a CNAME record, and returns when all name servers have it.
func (r *Records) SetCNAME(ctx context.Context, name, target string) error {
	set := &r53types.ResourceRecordSet{
		Name: aws.String(name + "."), Type: r53types.RRTypeCname, TTL: aws.Int64(recordTTL), ResourceRecords: []r53types.ResourceRecord{{Value: aws.String(target + ".")}},
	}
	id, err := r.change(ctx, r53types.ChangeActionUpsert, set)
	if err != nil {
		return fmt.Errorf("set the CNAME record %s: %w", name, err)
	}
	for {
		out, err := r.client.GetChange(ctx, &route53.GetChangeInput{Id: &id})
		if err != nil {
			return fmt.Errorf("ask whether the CNAME record %s is at all name servers: %w", name, err)
		}
		if out.ChangeInfo.Status == r53types.ChangeStatusInsync {
			return nil
		}
		if err := r.stage.pause(ctx); err != nil {
			return fmt.Errorf("the CNAME record %s is not at all name servers yet: %w", name, err)
		}
	}
}

// RemoveCNAME removes the CNAME record of a name, if there is one.
func (r *Records) RemoveCNAME(ctx context.Context, name string) error {
	out, err := r.client.ListResourceRecordSets(ctx, &route53.ListResourceRecordSetsInput{
		HostedZoneId: &r.id, StartRecordName: aws.String(name + "."), StartRecordType: r53types.RRTypeCname, MaxItems: aws.Int32(1),
	})
	if err != nil {
		return fmt.Errorf("look for the CNAME record %s: %w", name, err)
	}
	for _, set := range out.ResourceRecordSets {
		if strings.TrimSuffix(aws.ToString(set.Name), ".") != name || set.Type != r53types.RRTypeCname {
			continue
		}
		_, err := r.change(ctx, r53types.ChangeActionDelete, &set)
		if e, gone := errors.AsType[*r53types.InvalidChangeBatch](err); gone && strings.Contains(fmt.Sprint(e.ErrorMessage(), e.Messages), "not found") {
			return nil // by another, or by this call, whose reply was lost
		}
		if err != nil {
			return fmt.Errorf("remove the CNAME record %s: %w", name, err)
		}
	}
	return nil
}

// change returns the ID of a change.
func (r *Records) change(ctx context.Context, action r53types.ChangeAction, set *r53types.ResourceRecordSet) (id string, err error) {
	out, err := r.client.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{
		HostedZoneId: &r.id, ChangeBatch: &r53types.ChangeBatch{Comment: aws.String("shingle smoke"), Changes: []r53types.Change{{Action: action, ResourceRecordSet: set}}},
	})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.ChangeInfo.Id), nil
}
