package aws

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/shingle-proxy/shingle"
)

// ensureMasterKey makes the parameter with the master key, which CloudFormation
// cannot, the same in each region. One that is there stays as it is.
func (x *Deployer) ensureMasterKey(ctx context.Context) error {
	if x.Deployment.MasterKey != MasterKeyParameter {
		return nil
	}
	name, text, from := x.Deployment.keyParameter(), "", ""
	var missing []string
	for _, r := range x.Deployment.Regions {
		there, err := x.parameter(ctx, r.Name, name)
		switch {
		case err != nil:
			return err
		case there == "":
			missing = append(missing, r.Name)
		case text == "":
			text, from = there, r.Name
		case !shareKey(text, there):
			return x.otherKey(from, r.Name)
		}
	}
	fresh := text == ""
	if fresh {
		if err := x.noData(ctx, "the parameter "+name); err != nil {
			return err
		}
		key := make([]byte, shingle.MasterKeySize)
		_, _ = rand.Read(key) // never fails
		text, from = shingle.FormatMasterKeys([][]byte{key}), x.Deployment.Home()
	}
	for _, region := range missing {
		there, err := x.createParameter(ctx, region, name, text, "protects the private keys in the table. Without it they are lost.")
		switch {
		case err != nil:
			return err
		case fresh && region == x.Deployment.Home(): // of two deployments at once, who is first at home decides
			text = there
		case !shareKey(text, there):
			return x.otherKey(from, region)
		}
	}
	return nil
}

// dropKeyCopies deletes the copies of the master key in regions that are not wanted any
// more. One with a key that is not at home may be the last that has it: it stays, and its
// region is among those that are returned.
func (x *Deployer) dropKeyCopies(ctx context.Context, regions []string) (kept []string, err error) {
	if len(regions) == 0 {
		return nil, nil
	}
	name := x.Deployment.keyParameter()
	home, err := x.parameter(ctx, x.Deployment.Home(), name)
	if err != nil {
		return nil, err
	}
	for _, region := range regions {
		copied, err := x.parameter(ctx, region, name)
		switch {
		case err != nil:
			return nil, err
		case copied == "":
			continue
		case len(without(strings.Fields(copied), strings.Fields(home))) > 0:
			x.report(Event{At: time.Now(), Stack: region, Resource: name, Type: parameterType, Status: "stays", Reason: "it has a master key that the home region has not"})
			kept = append(kept, region)
		default:
			if err := x.deleteParameter(ctx, region, name); err != nil {
				return nil, err
			}
		}
	}
	return kept, nil
}

// shareKey reports whether two texts of master keys have one in common, as they have also
// while a rotation goes from region to region.
func shareKey(a, b string) bool {
	lines := strings.Fields(b)
	return slices.ContainsFunc(strings.Fields(a), func(key string) bool { return slices.Contains(lines, key) })
}

func (x *Deployer) otherKey(region, other string) error {
	name := x.Deployment.keyParameter()
	return shingle.Errorf(shingle.CodeConflict, "the parameter %[1]s has other master keys in %[3]s than in %[2]s, so that what one region seals the other cannot read: find out which of the two opens the table's records (your backup tells), delete the other (aws ssm delete-parameter --name %[1]s --region REGION), then deploy again: it is copied", name, region, other)
}

// noData returns an error when the table has records: a new master key would open
// nothing in them. key names the one that is missing. An empty table is what a first
// deployment that failed may leave, for its protection outlives a rollback.
func (x *Deployer) noData(ctx context.Context, key string) error {
	table := x.Deployment.table()
	out, err := x.dynamodb(x.Deployment.Home()).Scan(ctx, &dynamodb.ScanInput{
		TableName: &table, Limit: aws.Int32(1), ConsistentRead: aws.Bool(true), Select: ddbtypes.SelectCount,
	})
	if _, none := errors.AsType[*ddbtypes.ResourceNotFoundException](err); none || err == nil && out.Count == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look into table %s: %w", table, err)
	}
	return shingle.Errorf(shingle.CodeConflict, "the table %s has records, but %s, its master key, is not there, without which no private key in it can be read: put it back. If it is lost: delete the table with shingle remove --delete-data, and begin anew", table, key)
}
